"""Windows `(context, future)` over frames that need not fit into memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_msrnn.data.checks import (
    check_axes,
    check_breaks,
    check_crop,
    check_interval,
    check_positive,
    check_range,
    check_resize,
    check_shard,
    check_times,
)
from keras_msrnn.data.sources import open_frames, resize_frames

_BLOCK = 4_000_000  # values that `scaling="fit"` reads at a time


class Windows(keras.utils.PyDataset):
    """Batches `(context, future)` of windows that are cut from frames in order of time.

    Nothing is loaded as a whole: a batch reads its windows and no more. Frames are cropped, then
    resized, then scaled.

    Args:
        frames: A NumPy array, the path of an `.npy` file, an `h5py.Dataset`, a folder of images
            (in the numeric order of their names), a reader of `keras_msrnn.data.radar`, or any
            object with `shape`, `dtype` and slicing along its first axis.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast.
        batch_size: Windows per batch; the last batch may have fewer.
        stride: Frames from the start of a window to the start of the next.
        spacing: Frames from one frame in a window to the next.
        times: `datetime64` of each frame. No window crosses a gap or a step back. By default
            `frames.times`, where there is one.
        interval: `timedelta64` from frame to frame without a gap; by default the most common.
        breaks: Indices of frames at which a new recording begins; no window crosses one.
        axes: Order of the axes of `frames`: `"t"` time, `"h"` height, `"w"` width, `"c"`
            channels, `"n"` sequences, which no window leaves. By default `"thw"`, `"thwc"` or
            `"nthwc"`.
        crop: `(top, left, height, width)` in pixels of the frames.
        resize: `(height, width)`; areas are averaged when shrinking, and are missing where a
            part of them is; pixels are repeated when enlarging.
        scaling: How values become pixels. `(low, high)` is mapped to 0..1, each a number or one
            per channel; `"fit"` takes the lowest and highest value of the frames, and
            `"fit_channels"` those of each channel; `"rain"` takes values as mm/h and converts
            them by `units`; `None` keeps them. `"auto"` is `"rain"` for radar readers,
            `(0, 255)` for `uint8`, and `None` for floats.
        shuffle: Whether windows come in an order that depends on `seed` and the epoch.
        seed: Non-negative integer.
        shard: `(index, count)`: this is reader `index` of `count`. All have equally many
            windows, none in common; at most `count - 1` windows of an epoch are left out.
        units: What pixels mean, `Reflectivity` or `RainRate`; by default that of a radar reader.
        **kwargs: `workers`, `use_multiprocessing` and `max_queue_size` of
            `keras.utils.PyDataset`. Every process opens files anew.

    Attributes:
        starts: Index of the first frame of each window, before shuffling and sharding.
        times: Times of the frames of these windows `(windows, context + horizon)`, or `None`.
        epoch: What the order depends on beside `seed`. Keras moves it on with every pass over the
            data; set it to resume a training.
        scaling: `None`, `(low, high)` or `"rain"`, as it was resolved or fitted.
        units: What pixels mean, or `None`.

    Raises:
        ValueError: If an argument does not fit the frames, or no window fits into them.

    Example:

    >>> frames = np.random.default_rng(0).integers(256, size=(100, 32, 32), dtype="uint8")
    >>> data = Windows(frames, context=4, horizon=2, batch_size=8, shuffle=True)
    >>> context, future = data[0]
    >>> context.shape, future.shape, len(data)
    ((8, 4, 32, 32, 1), (8, 2, 32, 32, 1), 12)
    >>> bool(data.inverse(context).max() <= 255)
    True
    """

    def __init__(
        self,
        frames: Any,
        context: int = 10,
        horizon: int = 10,
        *,
        batch_size: int = 8,
        stride: int = 1,
        spacing: int = 1,
        times: Any | None = None,
        interval: Any | None = None,
        breaks: Sequence[int] | None = None,
        axes: str | None = None,
        crop: tuple[int, int, int, int] | None = None,
        resize: tuple[int, int] | None = None,
        scaling: str | tuple[Any, Any] | None = "auto",
        shuffle: bool = False,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        units: Any | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(
            context=context, horizon=horizon, batch_size=batch_size, stride=stride, spacing=spacing
        )
        self.context, self.horizon, self.spacing = context, horizon, spacing
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0
        self._source = open_frames(frames)
        self.axes = check_axes(self._source.shape, axes)
        sizes = dict(zip(self.axes, self._source.shape))
        self._length = sizes["t"]
        self._total = sizes.get("n", 1) * sizes["t"]
        self._crop = check_crop(crop, sizes["h"], sizes["w"])
        self.resize = check_resize(resize)
        self._extent = (context + horizon - 1) * spacing + 1
        times = getattr(frames, "times", None) if times is None else times
        self._times = None if times is None else check_times(times, self._total)
        self.starts = self._find_starts(stride, interval, breaks)
        self._order = None, None
        self.shard = check_shard(shard, len(self.starts))
        self.units = units
        self.scaling = self._resolve_scaling(scaling, getattr(frames, "units", None))
        if self.scaling in ("fit", "fit_channels"):
            self._fit()
        else:
            self._warn_if_constant()

    def __len__(self) -> int:
        return -(-(len(self.starts) // self.shard[1]) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(
                f"`index` must be from 0 to {len(self) - 1}. Received: index={index}. Each batch "
                f"has {self.batch_size} windows."
            )
        starts = self._epoch_starts()[index * self.batch_size :][: self.batch_size]
        batch = self._scale(np.stack([self._read_window(start) for start in starts]))
        return batch[:, : self.context], batch[:, self.context :]

    def on_epoch_end(self) -> None:
        """Moves on to the next order of the windows."""
        self.epoch += 1

    @property
    def times(self) -> np.ndarray | None:
        if self._times is None:
            return None
        return self._times[self.starts[:, None] + np.arange(0, self._extent, self.spacing)]

    def inverse(self, pixels: Any) -> np.ndarray:
        """Turns pixels, such as forecasts, back into values as in the frames.

        Args:
            pixels: `(..., height, width, channels)`, an array or a tensor of the backend.

        Returns:
            Array of the same shape: values of the frames, mm/h for rain.
        """
        pixels = keras.ops.convert_to_numpy(pixels)
        if self.scaling == "rain":
            return self.units.to_rain(pixels)
        if self.scaling is None:
            return pixels
        low, high = self.scaling
        return pixels * (high - low) + low

    def _epoch_starts(self) -> np.ndarray:
        key = self.seed, self.epoch
        made, starts = self._order
        if made != key:
            index, count = self.shard
            starts = self.starts
            if self.shuffle:
                starts = np.random.default_rng(key).permutation(starts)
            starts = starts[index::count][: len(starts) // count]
            self._order = key, starts
        return starts

    def _find_starts(self, stride: int, interval: Any, breaks: Any) -> np.ndarray:
        begins = np.zeros(self._total, bool)  # frames that do not follow the one before
        begins[:: self._length] = True
        if breaks is not None:
            begins[check_breaks(breaks, self._total)] = True
        if self._times is not None:
            steps = np.diff(self._times)
            begins[1:] |= steps != check_interval(interval, steps)
        elif interval is not None:
            raise ValueError(f"`interval` needs `times`. Received: interval={interval!r} alone.")
        begins = np.flatnonzero(begins)
        lengths = np.diff(begins, append=self._total)
        counts = np.maximum((lengths - self._extent) // stride + 1, 0)
        if not counts.sum():
            raise ValueError(
                "A window must fit into a stretch of frames without a gap. Received: windows of "
                f"{self._extent} frames (context={self.context}, horizon={self.horizon}, spacing="
                f"{self.spacing}), and the longest of {len(lengths)} stretches has "
                f"{lengths.max(initial=0)} of {self._total} frames. Shorten the window, or check "
                "`axes`, `times`, `interval` and `breaks`."
            )
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(begins, counts) + stride * number

    def _read_window(self, start: int) -> np.ndarray:
        return self._read(start, self._extent, self.spacing)

    def _read(self, start: int, count: int, step: int = 1) -> np.ndarray:
        """`count` frames from `start` on as `(time, height, width, channels)`, not scaled."""
        sequence, first = divmod(int(start), self._length)
        where = {"n": sequence, "t": slice(first, first + count, step), **self._crop}
        values = self._source[tuple(where.get(axis, slice(None)) for axis in self.axes)]
        left = self.axes.replace("n", "")
        values = np.asarray(values, "float32").transpose(
            [left.index(a) for a in "thwc" if a in left]
        )
        values = values if "c" in left else values[..., None]
        return values if self.resize is None else resize_frames(values, self.resize)

    def _resolve_scaling(self, scaling: Any, rain_units: Any | None = None) -> Any:
        """Checks `scaling`. With `rain_units` the frames are known to be mm/h."""
        dtype = np.dtype(self._source.dtype)
        if dtype.kind not in "fiub":
            raise TypeError(f"`frames` must hold numbers. Received: dtype={dtype}.")
        if scaling is not None and not isinstance(scaling, str):
            return check_range(scaling)
        if scaling == "auto":
            if rain_units is not None:
                scaling = "rain"
            elif dtype == np.uint8:
                return check_range((0, 255))
            elif dtype.kind in "iu" or self.units is not None:
                raise ValueError(
                    "`scaling` must be given for frames of integers other than `uint8`, and for "
                    f"floats with `units`. Received: dtype={dtype}, units={self.units!r}. Pass "
                    '`scaling="rain"` if they are mm/h, `None` if they are pixels, `"fit"`, or '
                    "`(low, high)`."
                )
            else:
                scaling = None
        if scaling not in (None, "fit", "fit_channels", "rain"):
            raise ValueError(
                '`scaling` must be "auto", "fit", "fit_channels", "rain", None or `(low, high)`. '
                f"Received: scaling={scaling!r}."
            )
        if scaling == "rain":
            self.units = rain_units if self.units is None else self.units
        if (scaling == "rain") != (self.units is not None) and scaling is not None:
            raise ValueError(
                '`scaling="rain"` needs `units`, and a fitted one has none. Received: scaling='
                f'{scaling!r}, units={self.units!r}. Pass such as `scaling="rain", '
                'units=Reflectivity("germany")`.'
            )
        return scaling

    def _scale(self, values: np.ndarray) -> np.ndarray:
        if self.scaling == "rain":
            return np.asarray(self.units.from_rain(values), "float32")
        if self.scaling is not None:
            low, high = self.scaling
            values -= low
            values /= high - low
        return values

    def _fit(self) -> None:
        """Sets `scaling` to the extremes of the frames in windows, of a few frames at a time."""
        edges = np.zeros(self._total + 1, int)
        np.add.at(edges, self.starts, 1)
        np.add.at(edges, self.starts + self._extent, -1)
        used = np.cumsum(edges)[:-1] > 0
        size = int(np.prod(self._source.shape)) // self._total
        count = max(1, _BLOCK // size)
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for sequence in range(0, self._total, self._length):
            for start in range(sequence, sequence + self._length, count):
                here = np.flatnonzero(used[start : min(start + count, sequence + self._length)])
                if here.size:
                    values = self._read(start + here[0], here[-1] - here[0] + 1)[here - here[0]]
                    low = np.fmin(low, np.fmin.reduce(values, (0, 1, 2)))
                    high = np.fmax(high, np.fmax.reduce(values, (0, 1, 2)))
        if self.scaling == "fit":
            low, high = low.min(), high.max()
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(
                "`scaling` can only be fitted to finite values that differ. Received: values from "
                f"{low} to {high}. Pass `(low, high)`, and mark missing data as NaN."
            )
        self.scaling = low, high

    def _part_of_frame(self, at: Any) -> np.ndarray:
        """0, 1 or 2 for each frame: training, validation or test."""
        try:
            first, second = at
            if isinstance(first, (int, float)):
                if 0 < first < second < 1:
                    unit = self._length if "n" in self.axes else 1  # sequences stay whole
                    places = [round(place * self._total / unit) * unit for place in at]
                    return np.digitize(np.arange(self._total), places)
            elif self._times is not None:
                first, second = (np.datetime64(place) for place in at)
                if first < second:
                    return (self._times >= first).astype(int) + (self._times >= second)
        except (TypeError, ValueError):
            pass
        raise ValueError(
            "`at` must be two fractions between 0 and 1, or two times if the frames have times, "
            f"the first below the second. Received: at={at!r}, times "
            f"{'not given' if self._times is None else 'given'}."
        )

    def _warn_if_constant(self) -> None:
        low, high = np.inf, -np.inf
        few = np.linspace(0, len(self.starts) - 1, min(8, len(self.starts))).astype(int)
        for start in self.starts[few]:
            values = self._read_window(start)
            low = min(low, np.fmin.reduce(values, None, initial=np.inf))
            high = max(high, np.fmax.reduce(values, None, initial=-np.inf))
            if low < high:
                return
        warnings.warn(
            f"`frames` hold nothing but {low if low == high else np.nan:g} in {len(few)} windows "
            "spread over them. A model learns nothing from constant data: check the file.",
            stacklevel=3,
        )
