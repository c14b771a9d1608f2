"""Errors of pixels: squared, absolute, balanced by rain, and of gradients."""

from __future__ import annotations

import keras
from keras import ops

from keras_msrnn.metrics.metric import ForecastMetric, serialize_units
from keras_msrnn.metrics.weights import any_pixel, balancing_steps, balancing_weights


class _PixelError(ForecastMetric):
    """Error of pixels, as a sum per frame or a mean per pixel."""

    def __init__(
        self,
        per: str = "frame",
        horizon: int | None = None,
        name: str | None = None,
        dtype=None,
    ) -> None:
        if per not in ("frame", "pixel"):
            raise ValueError(
                f"`per` must be 'frame' or 'pixel'. Received: per={per!r}. 'frame' sums the error "
                "over the pixels of a frame, 'pixel' is the mean."
            )
        super().__init__(horizon, name or f"{self.error_name}_per_{per}", dtype)
        self.per = per

    def frame_terms(self, truth, forecast, pixels):
        error = self.pixel_error(truth, forecast) * pixels
        weight = any_pixel(pixels) if self.per == "frame" else ops.sum(pixels, axis=(2, 3, 4))
        return [ops.sum(error, axis=(2, 3, 4)), weight]

    def get_config(self):
        return {**super().get_config(), "per": self.per}


@keras.saving.register_keras_serializable("keras_msrnn")
class SquaredError(_PixelError):
    """Squared error: its sum per frame, as in the papers, or its mean per pixel.

    The sum is over the pixels and channels of a frame that are not missing, the mean of it over
    the frames that have such pixels.

    Args:
        per: `"frame"` for the sum per frame, `"pixel"` for the mean.
        horizon: Integer, the number of lead times; by default that of the first data.
        name: Name of the metric; `squared_error_per_frame` or `squared_error_per_pixel`.
        dtype: Dtype of the computations, `float32` by default.

    Call arguments:
        y_true, y_pred: `(batch, time, height, width, channels)`; NaN in `y_true` is left out.
        sample_weight: Optional weights of frames, `(batch,)` or `(batch, time)`, or a mask of
            pixels, `(batch, time, height, width, 1)`.

    Example:

    >>> metric = SquaredError()
    >>> metric.update_state(np.ones((2, 3, 4, 4, 1)), np.full((2, 3, 4, 4, 1), 0.5))
    >>> float(metric.result())
    4.0
    >>> metric.result_by_lead_time().shape[0]
    3
    """

    error_name = "squared_error"

    def pixel_error(self, truth, forecast):
        return ops.square(forecast - truth)


@keras.saving.register_keras_serializable("keras_msrnn")
class AbsoluteError(_PixelError):
    """Absolute error: its sum per frame, as in the papers, or its mean per pixel.

    Args:
        per: `"frame"` for the sum per frame, `"pixel"` for the mean.
        horizon, name, dtype: As for `SquaredError`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SquaredError`.

    Example:

    >>> metric = AbsoluteError(per="pixel")
    >>> float(metric(np.ones((2, 3, 4, 4, 1)), np.full((2, 3, 4, 4, 1), 0.5)))
    0.5
    """

    error_name = "absolute_error"

    def pixel_error(self, truth, forecast):
        return ops.abs(forecast - truth)


class _BalancedError(_PixelError):
    def __init__(
        self,
        units,
        per: str = "frame",
        horizon: int | None = None,
        name: str | None = None,
        dtype=None,
    ) -> None:
        super().__init__(per, horizon, name, dtype)
        self.units, self._steps = units, balancing_steps(units)

    def pixel_error(self, truth, forecast):
        return balancing_weights(truth, self._steps) * super().pixel_error(truth, forecast)

    def get_config(self):
        return {**super().get_config(), "units": serialize_units(self.units)}


@keras.saving.register_keras_serializable("keras_msrnn")
class BalancedSquaredError(_BalancedError, SquaredError):
    """Squared error with weights that rise with the true rain (B-MSE).

    The weights are 1, 1, 2, 5, 10 and 30 for true rain below 0.5, 2, 5, 10 and 30 mm/h and above.

    Args:
        units: Units of the pixels, such as `keras_msrnn.data.units.Reflectivity("germany")`.
        per: `"frame"` for the sum per frame, `"pixel"` for the mean.
        horizon, name, dtype: As for `SquaredError`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SquaredError`.

    Example:

    >>> from keras_msrnn.data.units import RainRate
    >>> units = RainRate(scale=100)
    >>> truth = np.full((1, 1, 2, 2, 1), 0.4)
    >>> round(float(BalancedSquaredError(units)(truth, truth + 0.1)), 3)  # 40 mm/h weigh 30
    1.2

    Reference:
        Shi et al., arXiv 1706.03458, section 5.1.
    """

    error_name = "balanced_squared_error"


@keras.saving.register_keras_serializable("keras_msrnn")
class BalancedAbsoluteError(_BalancedError, AbsoluteError):
    """Absolute error with weights that rise with the true rain (B-MAE).

    Args:
        units: Units of the pixels, such as `keras_msrnn.data.units.Reflectivity("germany")`.
        per: `"frame"` for the sum per frame, `"pixel"` for the mean.
        horizon, name, dtype: As for `SquaredError`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SquaredError`.

    Reference:
        Shi et al., arXiv 1706.03458, section 5.1. The weights are those of
        `BalancedSquaredError`.
    """

    error_name = "balanced_absolute_error"


@keras.saving.register_keras_serializable("keras_msrnn")
class GDL(ForecastMetric):
    """Gradient difference loss: how much the sizes of the gradients differ, summed per frame.

    `| |dy truth| - |dy forecast| | + | |dx truth| - |dx forecast| |` with forward differences
    inside the frame. A difference counts if none of its two pixels is missing, and then fully;
    a frame counts if it has such a difference.

    Args:
        horizon, name, dtype: As for `SquaredError`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SquaredError`.

    Example:

    >>> truth = np.zeros((1, 1, 2, 2, 1))
    >>> truth[0, 0, 0, 0] = 1
    >>> float(GDL()(truth, np.zeros_like(truth)))
    2.0

    Reference:
        Mathieu, Couprie and LeCun, arXiv 1511.05440, with the exponent 1.
    """

    def __init__(self, horizon: int | None = None, name: str = "gdl", dtype=None) -> None:
        super().__init__(horizon, name, dtype)

    def frame_terms(self, truth, forecast, pixels):
        present = ops.cast(pixels > 0, pixels.dtype)
        total = count = 0.0
        for axis in (2, 3):
            before = (slice(None),) * axis
            ahead, behind = (*before, slice(1, None)), (*before, slice(None, -1))
            both = present[ahead] * present[behind]
            true, forecasted = (ops.abs(y[ahead] - y[behind]) for y in (truth, forecast))
            total = total + ops.sum(ops.abs(true - forecasted) * both, axis=(2, 3, 4))
            count = count + ops.sum(both, axis=(2, 3, 4))
        return [total, ops.cast(count > 0, pixels.dtype)]
