"""Splits of frames in time."""

from __future__ import annotations

import copy
from typing import Any

from keras_msrnn.data.windows import Windows


def split_in_time(
    frames: Any,
    context: int = 10,
    horizon: int = 10,
    *,
    at: tuple[Any, Any] = (0.7, 0.85),
    scaling: str | tuple[Any, Any] | None = "auto",
    shuffle: bool = True,
    **options: Any,
) -> tuple[Windows, Windows, Windows]:
    """Splits frames in time into windows to train on, to validate on and to test on.

    No window crosses a boundary, so that no frame is in two parts. A `scaling` that is fitted
    is fitted on the training part alone. Only the training part is shuffled.

    Args:
        frames: As for `Windows`.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast.
        at: Where validation and test begin: two fractions of the frames (of the sequences, where
            there are several), or two times, if the frames have times.
        scaling: As for `Windows`.
        shuffle: Whether the training part is shuffled.
        **options: Other arguments of `Windows`.

    Returns:
        Three `Windows`: training, validation and test.

    Raises:
        ValueError: If `at` does not fit the frames, or a part has no window.

    Example:

    >>> frames = np.random.default_rng(0).uniform(5, 9, size=(100, 16, 16))
    >>> train, validation, test = split_in_time(frames, 4, 2, at=(0.6, 0.8), scaling="fit")
    >>> [len(part.starts) for part in (train, validation, test)]
    [55, 15, 15]
    >>> validation.scaling == train.scaling
    True
    """
    fit = isinstance(scaling, str) and scaling.startswith("fit")
    whole = Windows(frames, context, horizon, scaling=None if fit else scaling, **options)
    part_of_frame = whole._part_of_frame(at)
    parts = []
    for number, name in enumerate(("training", "validation", "test")):
        part = copy.copy(whole)
        first, last = part_of_frame[whole.starts], part_of_frame[whole.starts + whole._extent - 1]
        part.starts = whole.starts[(first == number) & (last == number)]
        part.shuffle = shuffle and number == 0
        if len(part.starts) < whole.shard[1]:
            raise ValueError(
                f"`at` must leave windows for every part. Received: at={at}, and the {name} part "
                f"has {len(part.starts)} windows in {(part_of_frame == number).sum()} of "
                f"{len(part_of_frame)} frames; a window spans {whole._extent}. Move `at`, or "
                "shorten the window."
            )
        parts.append(part)
    if fit:
        parts[0].scaling = whole._resolve_scaling(scaling)
        parts[0]._fit()
        parts[1].scaling = parts[2].scaling = parts[0].scaling
    return tuple(parts)
