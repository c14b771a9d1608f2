"""Losses for image sequences."""

from __future__ import annotations

import keras
from keras import ops

from keras_msrnn.metrics.metric import serialize_units
from keras_msrnn.metrics.weights import (
    any_pixel,
    balancing_steps,
    balancing_weights,
    separate_missing,
)


@keras.saving.register_keras_serializable("keras_msrnn")
class SquaredPlusAbsoluteError(keras.losses.Loss):
    """The loss of the MS-RNN paper: squared plus absolute error.

    Summed over the pixels and channels of a frame, averaged over batch and time, so that its
    size grows with the frame: a 64 x 64 frame weighs four times a 32 x 32 one.

    Missing pixels, those with NaN in `y_true` or 0 in a mask of pixels, are left out, and frames
    without any other pixel do not count in the average. Frames of weight 0 in `(batch,)` or
    `(batch, time)` weights add nothing and do count, as in all losses of Keras, unless `reduction`
    is `"mean_with_sample_weight"`.

    Args:
        reduction: As for all losses of Keras.
        name: Name of the loss.
        **kwargs: `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true, y_pred: `(batch, time, height, width, channels)`.
        sample_weight: Optional weights of frames, `(batch,)` or `(batch, time)`, or a mask of
            pixels, `(batch, time, height, width, 1)`.

    Example:

    >>> loss = SquaredPlusAbsoluteError()
    >>> float(loss(np.ones((2, 3, 4, 4, 1)), np.full((2, 3, 4, 4, 1), 0.5)))
    12.0

    Reference:
        Ma et al., arXiv 2206.03010, section 4.1.
    """

    def __init__(self, reduction="sum_over_batch_size", name="squared_plus_absolute", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def __call__(self, y_true, y_pred, sample_weight=None):
        truth, forecast, pixels, frames = separate_missing(
            y_true, y_pred, sample_weight, self.dtype
        )
        losses = ops.sum(self.pixel_loss(truth, forecast) * pixels, axis=(2, 3, 4))
        present = any_pixel(pixels)
        if self.reduction in ("sum_over_batch_size", "mean"):
            # Keras divides by the number of all frames.
            present = present / ops.maximum(ops.mean(present), keras.config.epsilon())
        reduce = _Reduction(reduction=self.reduction, dtype=self.dtype)
        return reduce(losses, losses, frames * present)

    def pixel_loss(self, truth, forecast):
        error = truth - forecast
        return ops.square(error) + ops.abs(error)


@keras.saving.register_keras_serializable("keras_msrnn")
class BalancedSquaredPlusAbsoluteError(SquaredPlusAbsoluteError):
    """Balanced loss for radar: squared plus absolute error, weighted by the true rain.

    The sum of B-MSE and B-MAE: pixels weigh 1, 1, 2, 5, 10 and 30 for true rain below 0.5, 2, 5,
    10 and 30 mm/h and above. In all else as `SquaredPlusAbsoluteError`, which also says what is
    done with missing pixels.

    Args:
        units: Units of the pixels, such as `keras_msrnn.data.units.Reflectivity("germany")`.
        reduction: As for all losses of Keras.
        name: Name of the loss.
        **kwargs: `dtype` of `keras.losses.Loss`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SquaredPlusAbsoluteError`.

    Example:

    >>> from keras_msrnn.data.units import RainRate
    >>> loss = BalancedSquaredPlusAbsoluteError(RainRate(scale=100))
    >>> truth = np.array([0.0, 0.4]).reshape(1, 1, 1, 2, 1)  # no rain, and 40 mm/h
    >>> round(float(loss(truth, truth + 0.5)), 3)
    23.25

    Reference:
        Shi et al., arXiv 1706.03458, section 5.1.
    """

    def __init__(
        self,
        units,
        reduction="sum_over_batch_size",
        name="balanced_squared_plus_absolute",
        **kwargs,
    ):
        super().__init__(reduction, name, **kwargs)
        self.units, self._steps = units, balancing_steps(units)

    def pixel_loss(self, truth, forecast):
        return balancing_weights(truth, self._steps) * super().pixel_loss(truth, forecast)

    def get_config(self):
        return {**super().get_config(), "units": serialize_units(self.units)}

    @classmethod
    def from_config(cls, config):
        if isinstance(config["units"], dict):
            units = keras.saving.deserialize_keras_object(config["units"])
            config = {**config, "units": units}
        return cls(**config)


class _Reduction(keras.losses.Loss):
    """Keras's own reduction, of losses that are there."""

    def call(self, y_true, y_pred):
        return y_pred
