"""Checks of the arguments of `Windows`."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

_AXES = {3: "thw", 4: "thwc", 5: "nthwc"}


def check_positive(**arguments: int) -> None:
    for name, value in arguments.items():
        try:
            positive = operator.index(value) > 0
        except TypeError:
            positive = False
        if not positive:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: {name}={value!r}. Pass 1 or more."
            )


def check_axes(shape: tuple[int, ...], axes: str | None) -> str:
    given, axes = axes, _AXES.get(len(shape), "") if axes is None else axes
    known = isinstance(axes, str) and set("thw") <= set(axes) <= set("nthwc")
    if not known or not len(axes) == len(set(axes)) == len(shape):
        raise ValueError(
            '`axes` must name each axis of the frames once: "t" time, "h" height, "w" width, and '
            f'perhaps "c" channels and "n" sequences. Received: axes={given!r} for frames of shape '
            f'{shape}. Pass such as "thw", "tchw" or "nthwc".'
        )
    if given is None and "c" in axes:
        axis, channels = axes.index("h"), shape[-1]
        first = axes[:axis] + "chw"
        if shape[axis] <= 4 < channels:
            raise ValueError(
                f"Axis {axis} seems to hold channels: it has {shape[axis]} values, and the last "
                f"axis {channels}. Received: shape={shape}. Pass `axes={first!r}` for channels "
                f"first, or `axes={axes!r}` if axis {axis} is the height."
            )
        if channels > 16:
            raise ValueError(
                f"Axis {len(shape) - 1}, the last, seems not to hold channels: it has {channels} "
                f"values. Received: shape={shape}. Pass `axes`: {first!r} for channels first, "
                f"{axes!r} if they are channels, or such as 'nthw' for grey sequences."
            )
    if not all(shape):
        raise ValueError(f"`frames` must not be empty. Received: shape={shape}.")
    return axes


def check_crop(crop: Any, height: int, width: int) -> dict[str, slice]:
    if crop is None:
        return {}
    try:
        top, left, rows, columns = (int(value) for value in crop)
        fits = 0 <= top < top + rows <= height and 0 <= left < left + columns <= width
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"`crop` must be (top, left, height, width) inside frames of {height} x {width}. "
            f"Received: crop={crop!r}."
        )
    return {"h": slice(top, top + rows), "w": slice(left, left + columns)}


def check_resize(resize: Any) -> tuple[int, int] | None:
    if resize is None:
        return None
    try:
        height, width = (int(value) for value in resize)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(f"`resize` must be (height, width). Received: resize={resize!r}.")
    return height, width


def check_times(times: Any, total: int) -> np.ndarray:
    times = np.asarray(times, dtype="datetime64").reshape(-1)
    if len(times) != total or np.isnat(times).any():
        raise ValueError(
            f"`times` must hold a time for each of {total} frames. Received: {len(times)} times, "
            f"{np.isnat(times).sum()} of them not a time."
        )
    return times


def check_interval(interval: Any, steps: np.ndarray) -> np.timedelta64:
    forward = steps[steps > np.timedelta64(0)]
    if interval is not None:
        if isinstance(interval, (int, float)) or not np.timedelta64(interval) > np.timedelta64(0):
            raise ValueError(
                "`interval` must be a positive `timedelta64`. Received: interval="
                f"{interval!r}. Pass such as `np.timedelta64(5, 'm')`."
            )
        return np.timedelta64(interval)
    if not len(forward):
        raise ValueError(
            "`times` must increase. Received: times without a step forward. Sort the frames."
        )
    values, counts = np.unique(forward, return_counts=True)
    return values[counts.argmax()]


def check_breaks(breaks: Any, total: int) -> np.ndarray:
    breaks = np.asarray(breaks)
    if not breaks.size:
        return np.zeros(0, int)
    if breaks.dtype.kind not in "iu" or breaks.min() < 0 or breaks.max() >= total:
        raise ValueError(
            f"`breaks` must be indices of frames, from 0 to {total - 1}. Received: {breaks}."
        )
    return breaks


def check_shard(shard: Any, windows: int) -> tuple[int, int]:
    try:
        index, count = (int(value) for value in shard)
        valid = 0 <= index < count <= windows
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            f"`shard` must be (index, count) with 0 <= index < count <= {windows}, the number of "
            f"windows. Received: shard={shard!r}."
        )
    return index, count


def check_range(scaling: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        low, high = (np.asarray(value, "float32") for value in scaling)
        valid = np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            "`scaling` must be `(low, high)`, with low below high, in values of the frames. "
            f"Received: scaling={scaling!r}."
        )
    return low, high
