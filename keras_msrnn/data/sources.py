"""Where the frames of `Windows` come from.

All sources have `shape`, `dtype` and are indexed by one entry for each axis.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

import h5py
import numpy as np


def open_frames(frames: Any) -> Any:
    if isinstance(frames, h5py.Dataset):
        return HDF5Frames(frames)
    if isinstance(frames, (str, os.PathLike)):
        path = pathlib.Path(frames)
        if path.is_dir():
            return _AlongFirstAxis(_Images(path))
        if path.suffix == ".npy":
            return _Npy(path)
        raise ValueError(
            f"`frames` must be an `.npy` file or a folder of images. Received: frames={path}. Pass "
            "a data set of an HDF5 file as `h5py.File(path)[name]`."
        )
    if isinstance(frames, np.ndarray) or not hasattr(frames, "shape"):
        return np.asarray(frames)
    return _AlongFirstAxis(frames)


class _AlongFirstAxis:
    """Reads along the first axis only, and cuts what was read."""

    def __init__(self, frames: Any) -> None:
        self.frames, self.shape, self.dtype = frames, tuple(frames.shape), frames.dtype

    def __getitem__(self, index: tuple) -> np.ndarray:
        values = np.asarray(self.frames[index[0]])
        return values[index[1:] if isinstance(index[0], int) else (slice(None), *index[1:])]


class _Npy:
    """A memory-mapped file; another process maps it anew instead of getting a copy."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path.absolute()
        try:
            self.array = np.load(path, mmap_mode="r")
        except (EOFError, ValueError) as error:
            raise ValueError(f"{path} is not a whole `.npy` file of numbers: {error}") from error
        self.shape, self.dtype = self.array.shape, self.array.dtype

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.array[index]

    def __reduce__(self):
        return _Npy, (self.path,)


class HDF5Frames:
    """A data set of an HDF5 file, opened anew in another process or when it was closed."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.shape, self.dtype = dataset.shape, dataset.dtype
        self.path, self.name = os.path.abspath(dataset.file.filename), dataset.name
        self.dataset, self.process = dataset, os.getpid()

    def __getitem__(self, index: tuple) -> np.ndarray:
        dataset = self.dataset
        try:
            if not dataset or self.process != os.getpid():
                dataset = h5py.File(self.path, "r")[self.name]
                self.dataset, self.process = dataset, os.getpid()
            return dataset[index]
        except (OSError, KeyError) as error:
            raise OSError(f"{self.path} cannot be read at {self.name}: {error}") from error

    def __getstate__(self):
        return {**vars(self), "dataset": None}


class _Images:
    """Images of a folder in the numeric order of their names, `(time, height, width, ...)`."""

    def __init__(self, folder: pathlib.Path) -> None:
        from PIL import Image

        known = Image.registered_extensions()
        paths = [path for path in folder.iterdir() if path.suffix.lower() in known]
        self.paths = sorted(paths, key=lambda path: _natural(path.name))
        if not self.paths:
            raise ValueError(f"`frames` must hold images. Received: {folder} without any.")
        first = self._load(self.paths[0])
        self.shape, self.dtype = (len(self.paths), *first.shape), first.dtype
        kinds = [self._kind(path) for path in self.paths]
        for path, kind in zip(self.paths, kinds):
            if kind != kinds[0]:
                raise ValueError(
                    f"Images must have one size and mode. Received: {path} with {kind[0]} x "
                    f"{kind[1]} pixels of {kind[2]}, and {self.paths[0]} with {kinds[0][0]} x "
                    f"{kinds[0][1]} of {kinds[0][2]}. Keep sequences in folders of their own."
                )

    def __getitem__(self, index: slice) -> np.ndarray:
        return np.stack([self._load(path) for path in self.paths[index]])

    @staticmethod
    def _kind(path: pathlib.Path) -> tuple[int, int, str]:
        from PIL import Image

        try:
            with Image.open(path) as image:
                return *image.size, image.mode
        except OSError as error:
            raise ValueError(f"{path} is not an image that can be read: {error}") from error

    @staticmethod
    def _load(path: pathlib.Path) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB") if image.mode == "P" else image)
        except OSError as error:
            raise ValueError(f"{path} is not an image that can be read: {error}") from error


def _natural(name: str) -> list:
    parts = re.split(r"([0-9]+)", name)  # numbers are at the odd places
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    images = np.moveaxis(frames, -1, 1)
    resized = [
        np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))
        for image in images.reshape(-1, *images.shape[2:])
    ]
    return np.moveaxis(np.reshape(resized, (*images.shape[:2], *size)), 1, -1)
