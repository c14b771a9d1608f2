"""What losses and metrics share: missing pixels, weights, and rain rates as pixel values."""

from __future__ import annotations

import itertools
import math
import numbers

from keras import ops

BALANCE = {0.5: 1, 2: 2, 5: 5, 10: 10, 30: 30}  # weight from a rain rate in mm/h on; 1 below


def separate_missing(y_true, y_pred, sample_weight=None, dtype="float32"):
    """Splits what is missing off from what is scored.

    A pixel is missing where `y_true` is NaN and where a weight `(batch, time, height, width, 1)`
    is 0.

    Args:
        y_true, y_pred: `(batch, time, height, width, channels)`.
        sample_weight: `None`, or `(batch,)`, `(batch, time)`, or anything of five axes that
            broadcasts to the frames, such as a mask `(batch, time, height, width, 1)`.
        dtype: Dtype of the results.

    Returns:
        `y_true` and `y_pred`, both 0 where pixels are missing; the weights of pixels, of the same
        shape; and the weights of frames, `(batch, time)`.

    Raises:
        ValueError: If the shapes do not fit.
    """
    truth, forecast = (ops.convert_to_tensor(y, dtype) for y in (y_true, y_pred))
    _check_frames(truth.shape, forecast.shape)
    pixels = ops.cast(ops.logical_not(ops.isnan(truth)), dtype)
    frames = ops.ones_like(truth[:, :, 0, 0, 0])
    if sample_weight is not None:
        weight = ops.cast(ops.convert_to_tensor(sample_weight), dtype)
        _check_weight(weight.shape, truth.shape)
        if len(weight.shape) == 5:
            pixels = pixels * weight
        else:
            frames = frames * (weight if len(weight.shape) == 2 else weight[:, None])
    present = pixels > 0
    truth, forecast = (ops.where(present, y, 0.0) for y in (truth, forecast))
    return truth, forecast, pixels, frames


def any_pixel(pixels):
    """1 for frames that have a pixel which is not missing, else 0: `(batch, time)`."""
    return ops.cast(ops.max(pixels, axis=(2, 3, 4)) > 0, pixels.dtype)


def balancing_steps(units) -> list[tuple[float, float]]:
    """Pixel values at which the balancing weight rises, and by how much.

    Raises:
        TypeError, ValueError: If the units cannot hold these rain rates.
    """
    check_units(units, needed=True)
    rates, weights = list(BALANCE), [1, *BALANCE.values()]
    rises = [after - before for before, after in itertools.pairwise(weights)]
    return [(threshold_pixel(rate, units), rise) for rate, rise in zip(rates, rises) if rise]


def balancing_weights(y_true, steps):
    """Weights of pixels by the true rain, from the `balancing_steps` of its units."""
    weights = ops.ones_like(y_true)
    for pixel, rise in steps:
        weights = weights + rise * ops.cast(y_true >= pixel, y_true.dtype)
    return weights


def threshold_pixel(threshold: float, units=None) -> float:
    """The pixel value of a threshold in mm/h; without `units` the threshold is one.

    Raises:
        ValueError: If the threshold is not a number, or pixels cannot tell what is above it.
    """
    if not isinstance(threshold, numbers.Real) or not math.isfinite(threshold):
        raise ValueError(
            f"`threshold` must be a finite number. Received: threshold={threshold!r}. "
            "Make one metric for each threshold."
        )
    if units is None:
        return float(threshold)
    check_units(units)
    pixel = float(units.from_rain(threshold))
    back = float(units.to_rain(pixel))
    if not threshold > 0 or not math.isclose(back, threshold, rel_tol=1e-6):
        raise ValueError(
            "`threshold` must be a rain rate in mm/h that pixels can hold, above 0. "
            f"Received: threshold={threshold:g}, units={units}, whose nearest pixel {pixel:g} is "
            f"{back:g} mm/h. Change the threshold, or use units of a wider range."
        )
    return pixel


def check_units(units, needed: bool = False) -> None:
    """Raises `TypeError` if `units` cannot turn rain rates into pixels."""
    if units is None and not needed:
        return
    if not (hasattr(units, "from_rain") and hasattr(units, "to_rain")):
        raise TypeError(
            "`units` must be the units of the pixels, such as keras_msrnn.data.units.Reflectivity "
            f"or RainRate. Received: units={units!r}. `Reflectivity('germany')` are those of the "
            "paper's German radar."
        )


def _check_frames(true_shape, pred_shape):
    if len(true_shape) != 5 or len(pred_shape) != 5 or not _fits(true_shape, pred_shape):
        raise ValueError(
            "`y_true` and `y_pred` must have one shape (batch, time, height, width, channels). "
            f"Received: y_true.shape={tuple(true_shape)}, y_pred.shape={tuple(pred_shape)}. "
            "A missing channel axis is added by `frames[..., None]`."
        )


def _check_weight(shape, frames_shape):
    if len(shape) not in (1, 2, 5) or not _fits(shape, frames_shape, broadcast=True):
        raise ValueError(
            "`sample_weight` must have the shape (batch,), (batch, time) or (batch, time, height, "
            f"width, 1). Received: sample_weight.shape={tuple(shape)} for frames of shape "
            f"{tuple(frames_shape)}. A mask of four axes lacks the last: `mask[..., None]`."
        )


def _fits(shape, other, broadcast=False):
    """Whether the axes of `shape` may equal those of `other`; unknown sizes may be anything."""
    return all(
        a is None or b is None or a == b or (broadcast and a == 1) for a, b in zip(shape, other)
    )
