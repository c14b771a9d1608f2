"""Frames of rain that are read when they are asked for, and one file to keep them in."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import h5py
import keras
import numpy as np

from keras_msrnn.data.checks import check_crop, check_resize
from keras_msrnn.data.sources import HDF5Frames, resize_frames

_CACHE = "keras_msrnn rain"


class RainFrames:
    """Frames of rain that are read when they are asked for: the base of the readers.

    `frames[i]` and `frames[i:j]` read one or several; no data and negative values are NaN.

    Attributes:
        shape: `(time, height, width)`.
        dtype: `float32`.
        times: `datetime64` of each frame, rising.
        units: How `Windows` turns these rain rates into pixels.
    """

    dtype = np.dtype("float32")

    def __init__(self, times: np.ndarray, size: tuple[int, int], units: Any) -> None:
        self.times, self.units, self.shape = times, units, (len(times), *size)

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        if not isinstance(index, slice):
            return self._rain(range(len(self))[index])
        return np.array(
            [self._rain(number) for number in range(len(self))[index]], "float32"
        ).reshape(-1, *self.shape[1:])

    def _rain(self, number: int) -> np.ndarray:
        """Frame `number` in mm/h."""
        rain = np.asarray(self._read(number), "float32")
        with np.errstate(invalid="ignore"):
            rain[rain < 0] = np.nan
        return rain

    def _read(self, number: int) -> np.ndarray:
        raise NotImplementedError


class _Cache(RainFrames):
    """Frames that `save_rain` wrote."""

    def __init__(self, path: pathlib.Path) -> None:
        with open_file(path) as file:
            if file.attrs.get("format") != _CACHE:
                raise ValueError("`save_rain` did not write it")
            times = file["times"][:].astype("datetime64[s]")
            units = keras.saving.deserialize_keras_object(json.loads(file.attrs["units"]))
            self._source = HDF5Frames(file["rain"])
        super().__init__(times, self._source.shape[1:], units)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        return self._source[(index,)]


def save_rain(
    frames: RainFrames,
    path: str | os.PathLike,
    *,
    crop: tuple[int, int, int, int] | None = None,
    resize: tuple[int, int] | None = None,
) -> RainFrames:
    """Writes frames once into one HDF5 file that is read faster than the original.

    The file appears under its name when it is complete.

    Args:
        frames: What a reader such as `KNMI` gives.
        path: File to write, which must not exist.
        crop: `(top, left, height, width)`, as for `Windows`.
        resize: `(height, width)`, as for `Windows`.

    Returns:
        The frames of the file, as from `load_rain`.

    Raises:
        FileExistsError: If `path` exists.
        ValueError: If a frame cannot be read.

    Example:

        radar = save_rain(KNMI("RAD_NL25_RAP_5min"), "knmi.h5", resize=(153, 140))
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists. Read it with `load_rain`, or choose another name.")
    cut = tuple(check_crop(crop, *frames.shape[1:]).values())
    resize = check_resize(resize)
    handle, part = tempfile.mkstemp(suffix=".part", prefix=path.name, dir=path.parent)
    os.close(handle)
    try:
        with h5py.File(part, "w") as file:
            file.attrs["format"] = _CACHE
            file.attrs["units"] = json.dumps(keras.saving.serialize_keras_object(frames.units))
            file["times"] = frames.times.astype("datetime64[s]").astype("int64")
            for number in range(len(frames)):
                rain = frames[number][cut][None, ..., None]
                rain = (rain if resize is None else resize_frames(rain, resize))[..., 0]
                if number == 0:
                    shape = (len(frames), *rain.shape[1:])
                    file.create_dataset(
                        "rain", shape, "float32", chunks=rain.shape, compression="lzf", shuffle=True
                    )
                file["rain"][number] = rain[0]
        os.replace(part, path)
    finally:
        pathlib.Path(part).unlink(missing_ok=True)
    return load_rain(path)


def load_rain(path: str | os.PathLike) -> RainFrames:
    """Reads frames that `save_rain` wrote, with their times and units.

    Args:
        path: The file.

    Returns:
        Frames for `Windows`.

    Raises:
        ValueError: If the file is not whole, or not such a file.
    """
    return _Cache(pathlib.Path(path))


@contextlib.contextmanager
def naming_errors(path: str | os.PathLike) -> Iterator[None]:
    """Names the file in every error."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        problem = error.args[0] if error.args else type(error).__name__
        raise ValueError(
            f"{path} cannot be read: {problem}. Fetch it again, or leave it out."
        ) from error


@contextlib.contextmanager
def open_file(path: str | os.PathLike) -> Iterator[h5py.File]:
    with naming_errors(path), h5py.File(path, "r") as file:
        yield file
