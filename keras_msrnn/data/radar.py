"""Radar data: rain rates in mm/h from KNMI, ODIM and RADOLAN (Germany) HDF5 files."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np

from keras_msrnn.data.rain_frames import RainFrames, open_file
from keras_msrnn.data.units import Reflectivity

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


class _Files(RainFrames):
    """One file for each frame."""

    def __init__(self, files: str | os.PathLike | Iterable, units: Any) -> None:
        found = []
        for path in _list_files(files):
            with open_file(path) as file:
                found.append((self._time(file), path, self._data(file).shape))
        found.sort(key=lambda item: item[0])
        times, self.paths, sizes = zip(*found)
        for path, size in zip(self.paths, sizes):
            if size != sizes[0]:
                raise ValueError(
                    f"Frames must have one size. Received: {path} with {size}, and {self.paths[0]} "
                    f"with {sizes[0]}. Read them as two data sets."
                )
        same = np.flatnonzero(np.diff(times) == np.timedelta64(0))
        if len(same):
            raise ValueError(
                f"Files must have different times. Received: {self.paths[same[0]]} and "
                f"{self.paths[same[0] + 1]}, both of {times[same[0]]}. Leave one of them out."
            )
        super().__init__(np.array(times), sizes[0], units)

    def _read(self, number: int) -> np.ndarray:
        with open_file(self.paths[number]) as file:
            return self._convert(file)


class KNMI(_Files):
    """Accumulated precipitation from the HDF5 files of KNMI, one for each time.

    Each file says itself what a value is in mm, which values are no data, and the times between
    which it fell. Opening takes about a millisecond for each file.

    Args:
        files: A folder, of which all `.h5` files are read, or paths of files in any order.
        units: How `Windows` turns mm/h into pixels; by default `Reflectivity()`.

    Attributes:
        shape, dtype, units: As for `RainFrames`.
        times: End of the accumulation of each frame (UTC).

    Raises:
        ValueError: If a file is not such a file, corrupt, or does not go with the others.

    Example:

        radar = KNMI("RAD_NL25_RAP_5min")
        train, validation, test = split_in_time(radar, 10, 10, resize=(153, 140))

    Reference:
        KNMI, "HDF5 data format specification", version 3.5; data at https://dataplatform.knmi.nl
    """

    def __init__(self, files: str | os.PathLike | Iterable, units: Any | None = None) -> None:
        super().__init__(files, Reflectivity() if units is None else units)

    @staticmethod
    def _data(file: h5py.File) -> h5py.Dataset:
        return file["image1/image_data"]

    @staticmethod
    def _time(file: h5py.File) -> np.datetime64:
        return _knmi_time(file["overview"].attrs["product_datetime_end"])

    def _convert(self, file: h5py.File) -> np.ndarray:
        quantity = _text(file["image1"].attrs["image_geo_parameter"])
        if "PRECIPITATION" not in quantity or "MM" not in quantity:
            raise ValueError(f"it holds {quantity}, not accumulated precipitation in mm")
        calibration = file["image1/calibration"].attrs
        formula = _text(calibration["calibration_formulas"])
        match = re.fullmatch(r"GEO=([-+.\dEe]+)\*PV([-+.\dEe]+)", formula.replace(" ", ""))
        if not match:
            raise ValueError(f"its calibration is {formula!r}, not such as 'GEO=0.01*PV+0.0'")
        gain, offset = float(match[1]), float(match[2].replace("+-", "-"))
        start = _knmi_time(file["overview"].attrs["product_datetime_start"])
        hours = _hours(start, self._time(file))
        values = self._data(file)[:]
        rain = values * np.float32(gain / hours) + np.float32(offset / hours)
        for name in ("calibration_missing_data", "calibration_out_of_image"):
            rain[values == np.ravel(calibration[name])[0]] = np.nan
        return rain


class ODIM(_Files):
    """Composites in ODIM HDF5, as of OPERA and of many weather services, one for each time.

    Rain rates (`RATE`) are taken as they are, accumulations (`ACRR`) are divided by their time,
    and reflectivities (`DBZH`) are converted by the Z-R relation of `units`. What the radar saw
    and found dry (`undetect`) is 0; what it did not see (`nodata`) is NaN.

    Args:
        files: A folder, of which all `.h5` and `.hdf` files are read, or paths in any order.
        quantity: `"RATE"`, `"ACRR"` or `"DBZH"`; by default the first that a file holds.
        units: How `Windows` turns mm/h into pixels; by default `Reflectivity()`.

    Attributes:
        shape, dtype, units: As for `RainFrames`.
        times: Nominal time of each frame (UTC).

    Raises:
        ValueError: If a file is not such a file, corrupt, or does not go with the others.

    Reference:
        Michelson et al., "EUMETNET OPERA weather radar information model for implementation with
        the HDF5 file format", https://www.eumetnet.eu/opera
    """

    def __init__(
        self,
        files: str | os.PathLike | Iterable,
        quantity: str | None = None,
        units: Any | None = None,
    ) -> None:
        if quantity not in (None, "RATE", "ACRR", "DBZH"):
            raise ValueError(
                f'`quantity` must be "RATE", "ACRR" or "DBZH". Received: quantity={quantity!r}.'
            )
        self.quantity = quantity
        super().__init__(files, Reflectivity() if units is None else units)
        if self.quantity == "DBZH" and not hasattr(self.units, "dbz_to_rain"):
            raise ValueError(
                f"`units` must have a Z-R relation for DBZH. Received: units={self.units!r}. Pass "
                "a `Reflectivity`."
            )

    def _data(self, file: h5py.File) -> h5py.Dataset:
        return self._image(file)["data"]

    @staticmethod
    def _time(file: h5py.File) -> np.datetime64:
        what = file["what"].attrs
        return _odim_time(what["date"], what["time"])

    def _image(self, file: h5py.File) -> h5py.Group:
        """The first group such as `/dataset1/data1` with the quantity; fixes the quantity."""
        wanted = ("RATE", "ACRR", "DBZH") if self.quantity is None else (self.quantity,)
        found = []
        for dataset in _numbered(file, "dataset"):
            for image in _numbered(dataset, "data"):
                found.append(_text(_odim_attribute(image, "quantity")))
                if found[-1] in wanted:
                    self.quantity = found[-1]
                    return image
        raise ValueError(f"it holds {', '.join(found) or 'no data'}, not {' or '.join(wanted)}")

    def _convert(self, file: h5py.File) -> np.ndarray:
        image = self._image(file)
        gain, offset, nodata, undetect = (
            float(np.ravel(_odim_attribute(image, name))[0])
            for name in ("gain", "offset", "nodata", "undetect")
        )
        raw = image["data"][:]
        values = raw.astype("float64") * gain + offset
        if self.quantity == "DBZH":
            values = self.units.dbz_to_rain(values)
        elif self.quantity == "ACRR":
            start, end = (
                _odim_time(
                    _odim_attribute(image, f"{edge}date"), _odim_attribute(image, f"{edge}time")
                )
                for edge in ("start", "end")
            )
            values /= _hours(start, end)
        values[raw == undetect] = 0
        values[raw == nodata] = np.nan
        return values


def _list_files(files: str | os.PathLike | Iterable) -> list[pathlib.Path]:
    if isinstance(files, (str, os.PathLike)):
        path = pathlib.Path(files)
        if path.is_dir():
            files = [p for p in path.iterdir() if p.suffix in (".h5", ".hdf", ".hdf5")]
        else:
            files = [path]
    else:
        files, path = list(files), "no paths"
    if not files:
        raise ValueError(f"`files` must hold HDF5 files. Received: {path} without any.")
    return [pathlib.Path(file).absolute() for file in files]


def _text(value: Any) -> str:
    value = np.ravel(value)[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _hours(start: np.datetime64, end: np.datetime64) -> float:
    if not end > start:
        raise ValueError(f"its precipitation fell from {start} to {end}")
    return float((end - start) / np.timedelta64(1, "h"))


def _knmi_time(value: Any) -> np.datetime64:
    """Time of such as `26-AUG-2010;00:05:00.000`, whatever the locale."""
    match = re.match(r"(\d\d)-([A-Z]{3})-(\d{4});(\d\d:\d\d:\d\d)", _text(value).upper())
    if not match or match[2] not in _MONTHS:
        raise ValueError(f"its time is {_text(value)!r}, not such as '26-AUG-2010;00:05:00.000'")
    month = _MONTHS.index(match[2]) + 1
    return np.datetime64(f"{match[3]}-{month:02}-{match[1]}T{match[4]}", "s")


def _odim_time(date: Any, time: Any) -> np.datetime64:
    date, time = _text(date), _text(time)
    if not re.fullmatch(r"\d{8}", date) or not re.fullmatch(r"\d{6}", time):
        raise ValueError(f"its time is {date!r} {time!r}, not such as '20240131' '120500'")
    clock = f"{time[:2]}:{time[2:4]}:{time[4:]}"
    return np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock}", "s")


def _odim_attribute(image: h5py.Group, name: str) -> Any:
    """An attribute of `what`, from the image or else from what it belongs to."""
    for group in (image, image.parent, image.file):
        if "what" in group and name in group["what"].attrs:
            return group["what"].attrs[name]
    raise KeyError(f"{image.name}/what has no {name}")


def _numbered(group: h5py.Group, name: str) -> list[h5py.Group]:
    found = [key for key in group if re.fullmatch(name + r"\d+", key)]
    return [group[key] for key in sorted(found, key=lambda key: int(key[len(name) :]))]
