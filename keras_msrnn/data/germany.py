"""Rain over Germany, `RYDL.hdf5`."""

from __future__ import annotations

import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import h5py
import numpy as np

from keras_msrnn.data.rain_frames import RainFrames, naming_errors, open_file
from keras_msrnn.data.splits import split_in_time
from keras_msrnn.data.units import Reflectivity
from keras_msrnn.data.windows import Windows


class Germany(RainFrames):
    """Rain over Germany every 5 minutes, `RYDL.hdf5` (RADOLAN RY, 900 x 900 km), as mm/h.

    Args:
        path: The file.
        years: Years to read, such as `(2016, 2017)`; by default all.
        units: How `Windows` turns mm/h into pixels; by default those of the paper.

    Raises:
        ValueError: If the file is corrupt or lacks a year.

    Reference:
        Ayzel et al., "RainNet v1.0", 2020; file at https://doi.org/10.5281/zenodo.3629951
    """

    def __init__(
        self,
        path: str | os.PathLike,
        years: Sequence[int] | None = None,
        units: Any | None = None,
    ) -> None:
        self.path = pathlib.Path(path).absolute()
        with open_file(self.path) as file:
            names = sorted(name for name in file if re.fullmatch(r"\d{12}", name))
            if not names:
                raise ValueError("it has no data set that is named YYYYMMDDHHMM")
            if years is not None:
                lacking = {int(year) for year in years} - {int(name[:4]) for name in names}
                if lacking:
                    raise ValueError(f"it lacks {_list_years(lacking)}")
                names = [name for name in names if int(name[:4]) in years]
            stamps = [f"{n[:4]}-{n[4:6]}-{n[6:8]}T{n[8:10]}:{n[10:]}" for n in names]
            size = file[names[0]].shape
            super().__init__(
                np.array(stamps, "datetime64[m]"),
                size,
                Reflectivity("germany") if units is None else units,
            )
        self._names = np.array(names)
        self._file, self._process = None, None

    def _read(self, number: int) -> np.ndarray:
        name = str(self._names[number])
        with naming_errors(self.path):
            if self._process != os.getpid():
                self._file, self._process = h5py.File(self.path, "r"), os.getpid()
            rain = self._file[name][:].astype("float32") * 12
            if rain.shape != self.shape[1:]:
                raise ValueError(f"{name} has the shape {rain.shape}, not {self.shape[1:]}")
        return rain

    def __getstate__(self):
        return {**vars(self), "_file": None, "_process": None}


def read_germany(
    path: str | os.PathLike, context: int = 5, horizon: int = 5, *, stride: int = 10, **options: Any
) -> tuple[Windows, Windows, Windows]:
    """The paper's training, validation and test windows of Germany, from `RYDL.hdf5`.

    2006 to 2014 are for training, 2015 for validation and 2016 and 2017 for the test. Pixels are
    linear in dBZ, by the Z-R relation of the German weather service.

    Args:
        path: The file.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast.
        stride: Frames from the start of a window to the start of the next.
        **options: Other arguments of `split_in_time`, such as `crop` and `resize`.

    Returns:
        Three `Windows`: training, validation and test.

    Raises:
        ValueError: If the file is corrupt, or has no year of a part.

    Notes:
        Years that the file lacks are named in a warning. Windows of the released code may cross
        gaps; these do not.
    """
    protocol = {
        "training": range(2006, 2015),
        "validation": range(2015, 2016),
        "test": range(2016, 2018),
    }
    frames = Germany(path)
    present = set(np.unique(frames.times.astype("datetime64[Y]")).astype(int) + 1970)
    for part, years in protocol.items():
        if not present & set(years):
            raise ValueError(
                f"{path}: it has no frame of {_list_years(years)}, the {part} part. Split what it "
                "has with `split_in_time(Germany(path), ...)`."
            )
    wanted = {year for years in protocol.values() for year in years}
    if wanted - present:
        warnings.warn(
            f"{path} lacks {_list_years(wanted - present)}, which the paper's protocol has.",
            stacklevel=2,
        )
    if present - wanted:
        frames = Germany(path, years=wanted & present)
    options = {"interval": np.timedelta64(5, "m"), "at": ("2015-01-01", "2016-01-01"), **options}
    return split_in_time(frames, context, horizon, stride=stride, **options)


def _list_years(years: Iterable[int]) -> str:
    return "the year(s) " + ", ".join(map(str, sorted(years)))
