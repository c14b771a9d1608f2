"""TaxiBJ: the flow of taxis into and out of the districts of Beijing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_msrnn.data.checks import check_positive
from keras_msrnn.data.windows import Windows

YEARS = (13, 14, 15, 16)
SLOTS = 48  # half hours of a day
PART_WINDOWS = SLOTS * 7 * 4  # of the test part, and of the validation part
HALF_HOUR = np.timedelta64(30, "m")


def read_taxibj(
    folder: str | os.PathLike,
    context: int = 4,
    horizon: int = 4,
    *,
    batch_size: int = 16,
    shuffle: bool = True,
    **options: Any,
) -> tuple[Windows, Windows, Windows]:
    """Reads TaxiBJ from its four original files, split as in the paper.

    A frame has two channels, inflow and outflow, in taxis per half hour. Days of which a half
    hour is missing are left out, and no window crosses a gap. Of all windows in order of time,
    the last 48 x 7 x 4 are the test part: on complete days, the windows that end in the last
    four weeks. The validation part is as many windows before them, the training part all others;
    no two parts share a frame. All parts are scaled by the lowest and highest flow of the
    training part, which become 0 and 1.

    Args:
        folder: Folder with `BJ13_M32x32_T30_InOut.h5` to `BJ16_M32x32_T30_InOut.h5`.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast.
        batch_size: Windows per batch.
        shuffle: Whether the training part is shuffled.
        **options: Other arguments of `Windows`, such as `seed` and `workers`.

    Returns:
        Three `Windows`: training, validation and test. Their batches `(context, future)` are
        `float32` of shape `(batch_size, time, 32, 32, 2)`; their `inverse` turns pixels back into
        taxis.

    Raises:
        FileNotFoundError: If one of the files is missing.
        ValueError: If a file is truncated or not as published, or the windows are too long.

    Example:

    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for year in YEARS:  # small files with the structure of the published ones
    ...     days = np.datetime64(f"20{year}-03-01") + np.arange(30)
    ...     dates = [f"{d}".replace("-", "") + f"{s:02d}" for d in days for s in range(1, 49)]
    ...     path = os.path.join(folder, f"BJ{year}_M32x32_T30_InOut.h5")
    ...     with h5py.File(path, "w") as file:
    ...         file["date"] = np.array(dates, "S10")
    ...         file["data"] = np.random.rand(len(dates), 2, 32, 32).astype("float32")
    >>> train, validation, test = read_taxibj(folder)
    >>> context, future = test[0]
    >>> context.shape, future.shape, len(test.starts)
    ((16, 4, 32, 32, 2), (16, 4, 32, 32, 2), 1344)

    Reference:
        Zhang, Zheng and Qi, "Deep Spatio-Temporal Residual Networks for Citywide Crowd Flows
        Prediction", 2017, https://arxiv.org/abs/1610.00081

    Notes:
        The windows of the released MS-RNN code run backwards in time, have the inflow only, and
        its validation part is its test part; none of this is copied.
    """
    check_positive(context=context, horizon=horizon)
    flows, times = _read(Path(folder))
    validation, test = _split(times, context + horizon)
    low, high = flows[:validation].min(), flows[:validation].max()
    if not low < high:
        raise ValueError(
            "`folder` must hold flows that differ. Received: folder="
            f"{os.fspath(folder)!r}, in which every flow of the training part is {low:g}. "
            + _INSTRUCTIONS
        )
    options = {"batch_size": batch_size, "scaling": (low, high), "interval": HALF_HOUR, **options}
    return tuple(
        Windows(
            flows[part],
            context,
            horizon,
            times=times[part],
            shuffle=shuffle and part.start == 0,
            **options,
        )
        for part in (slice(0, validation), slice(validation, test), slice(test, None))
    )


_INSTRUCTIONS = (
    "Download the four files BJ13_M32x32_T30_InOut.h5 to BJ16_M32x32_T30_InOut.h5 into `folder`; "
    "https://github.com/TolicWang/DeepST/tree/master/data/TaxiBJ says from where."
)


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Flows `(frames, 32, 32, 2)` of complete days and their times, in order of time."""
    paths = [folder / f"BJ{year}_M32x32_T30_InOut.h5" for year in YEARS]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"`folder` must hold the four files of TaxiBJ. Received: folder={str(folder)!r}, which "
            f"lacks {', '.join(missing)}. {_INSTRUCTIONS}"
        )
    flows, times = (np.concatenate(parts) for parts in zip(*map(_read_file, paths)))
    if (np.diff(times) <= np.timedelta64(0)).any():
        raise ValueError(
            "`folder` must hold one file for each period. Received: folder="
            f"{str(folder)!r}, in which a file repeats or precedes the days of the one before it. "
            + _INSTRUCTIONS
        )
    return flows, times


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with h5py.File(path, "r") as file:
            missing = {"data", "date"} - set(file)
            if missing:
                raise _error(path, f"it has no data set {' or '.join(map(repr, sorted(missing)))}")
            flows, dates = file["data"][...], np.asarray(file["date"][...], "S")
    except OSError as error:
        raise _error(path, f"HDF5 cannot read it ({error})") from error
    if flows.ndim != 4 or flows.shape[1:] != (2, 32, 32) or dates.shape != flows.shape[:1]:
        raise _error(
            path,
            f"'data' has shape {flows.shape} and 'date' {dates.shape}, not (n, 2, 32, 32), (n,)",
        )
    times = _parse(path, dates)
    if flows.dtype.kind not in "fiu" or not (np.isfinite(flows).all() and (flows >= 0).all()):
        raise _error(path, f"its flows ({flows.dtype}) are not all finite numbers from 0 on")
    days, index, counts = np.unique(times.astype("M8[D]"), return_inverse=True, return_counts=True)
    distinct = np.bincount(index[np.unique(times, return_index=True)[1]], minlength=len(days))
    complete = (counts == SLOTS) & (distinct == SLOTS)
    kept = np.flatnonzero(complete[index])
    kept = kept[np.argsort(times[kept])]
    return flows[kept].transpose(0, 2, 3, 1).astype("float32"), times[kept]


def _parse(path: Path, dates: np.ndarray) -> np.ndarray:
    """Times of dates such as `b"2013070148"`: the day, and its half hour from 01 to 48."""
    times = np.empty(len(dates), "M8[m]")
    for i, date in enumerate(dates.tolist()):
        text = date.decode("ascii", "replace")
        try:
            day, slot = np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}", "D"), int(text[8:])
        except ValueError:
            day, slot = None, 0
        if len(text) != 10 or not text.isdigit() or not 1 <= slot <= SLOTS:
            raise _error(path, f"date {i} is {date!r}, not a day and a slot such as b'2013070148'")
        times[i] = day + (slot - 1) * HALF_HOUR
    return times


def _error(path: Path, problem: str) -> ValueError:
    return ValueError(
        "`folder` must hold the files of TaxiBJ as published. Received: "
        f"{str(path)!r}; {problem}. {_INSTRUCTIONS}"
    )


def _split(times: np.ndarray, length: int) -> tuple[int, int]:
    """Indices of the first frame of the validation part and of the test part."""
    begins = np.flatnonzero(np.diff(times, prepend=times[:1]) != HALF_HOUR)
    place = np.arange(len(times))
    since = place - begins[np.searchsorted(begins, place, "right") - 1]  # begin of the stretch
    starts = place[since >= length - 1] - (length - 1)  # of all windows, in order
    firsts = []
    for _ in range(2):
        firsts.append(int(starts[-PART_WINDOWS]) if len(starts) >= PART_WINDOWS else -1)
        starts = starts[starts + length <= firsts[-1]]
    test, validation = firsts
    if not len(starts):
        raise ValueError(
            f"`folder` must hold {PART_WINDOWS} windows of `context` + `horizon` = {length} frames "
            "for the test part, as many for the validation part, and more to train on. Received: "
            f"{len(times)} frames of complete days. Shorten the windows. {_INSTRUCTIONS}"
        )
    return validation, test
