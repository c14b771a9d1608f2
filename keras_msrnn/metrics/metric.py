"""`ForecastMetric`: what all scores of forecasts have in common."""

from __future__ import annotations

import keras
from keras import ops

from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.metrics.weights import separate_missing


class ForecastMetric(keras.metrics.Metric):
    """A score that is made of sums over pixels, kept for each lead time.

    A subclass says in `frame_terms` which sums a frame contributes, and in `score` how the score
    follows from their totals. NaN in `y_true` and pixels of weight 0 are left out.

    The totals are pairs of floats, a sum and its rounding error, and so have about 48 bits:
    a count stays exact, and a sum does not depend on how the data are cut into batches.

    Args:
        horizon: Integer, the number of lead times; data may have fewer. By default that of the
            first data.
        name: Name of the metric.
        dtype: Dtype of the computations, `float32` by default.

    Call arguments:
        y_true, y_pred: `(batch, time, height, width, channels)`.
        sample_weight: Optional weights of frames, `(batch,)` or `(batch, time)`, or a mask of
            pixels, `(batch, time, height, width, 1)`.
    """

    terms = 2

    def __init__(self, horizon: int | None = None, name: str | None = None, dtype=None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.horizon = None if horizon is None else positive_integer("horizon", horizon)
        self.lead_times = None
        if self.horizon is not None:
            self.build((None, self.horizon))

    def build(self, y_pred_shape) -> None:
        """Makes the state for forecasts of a shape; the first update does it by itself."""
        if self.lead_times is not None:
            return
        if y_pred_shape[1] is None:
            raise ValueError(
                "The number of lead times must be known. Received: y_pred.shape="
                f"{tuple(y_pred_shape)}. Pass it, such as `{type(self).__name__}(horizon=10)`."
            )
        shape = (self.terms, y_pred_shape[1])
        self.totals = self.add_variable(shape, "zeros", self.dtype, name="totals")
        self.rounding = self.add_variable(shape, "zeros", self.dtype, name="rounding")
        self.lead_times = y_pred_shape[1]

    def frame_terms(self, truth, forecast, pixels):
        """The sums that make up the score, for each frame.

        Args:
            truth, forecast: `(batch, time, height, width, channels)`, 0 where pixels are missing.
            pixels: Weights of the pixels, of the same shape; 0 where they are missing.

        Returns:
            List of `terms` tensors `(batch, time)`.
        """
        raise NotImplementedError

    def score(self, total, weight):
        """The score of totals of the terms; NaN where it is undefined."""
        return divide_or_nan(total, weight)

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Adds a batch."""
        y_pred = ops.stop_gradient(ops.convert_to_tensor(y_pred, self.dtype))
        truth, forecast, pixels, frames = separate_missing(
            y_true, y_pred, sample_weight, self.dtype
        )
        self.build(y_pred.shape)
        terms = ops.stack(self.frame_terms(truth, forecast, pixels))
        terms = ops.sum(ops.where(frames > 0, terms * frames, 0.0), axis=1)
        missing = self.lead_times - terms.shape[1]
        if missing < 0:
            raise ValueError(
                f"`{self.name}` was made for {self.lead_times} lead times. Received: "
                f"y_pred.shape={tuple(y_pred.shape)}. Pass the largest number, such as "
                f"`{type(self).__name__}(horizon={terms.shape[1]})`, or compile again."
            )
        if missing:
            terms = ops.pad(terms, ((0, 0), (0, missing)))
        before = ops.convert_to_tensor(self.totals)
        totals = before + terms
        part = totals - before  # what of `terms` has arrived in `totals`
        lost = (before - (totals - part)) + (terms - part)
        self.rounding.assign(self.rounding + lost)
        self.totals.assign(totals)

    def result(self):
        """The score of all lead times together, a scalar; NaN without data."""
        if self.lead_times is None:
            return ops.convert_to_tensor(float("nan"), self.dtype)
        totals = ops.sum(self.totals, axis=1) + ops.sum(self.rounding, axis=1)
        return self.score(*(totals[i] for i in range(self.terms)))

    def result_by_lead_time(self):
        """The score of each lead time, `(time,)`; NaN where it is undefined."""
        return self.score(*self.totals_by_lead_time())

    def totals_by_lead_time(self):
        """List of the totals that the score is made of, each `(time,)`."""
        if self.lead_times is None:
            raise ValueError(
                f"`{self.name}` has no lead times before the first data. Received: no data. "
                "Call `update_state`, or pass `horizon`."
            )
        totals = self.totals + self.rounding
        return [totals[i] for i in range(self.terms)]

    def get_config(self):
        return {**super().get_config(), "horizon": self.horizon}

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("units"), dict):
            units = keras.saving.deserialize_keras_object(config["units"])
            config = {**config, "units": units}
        return cls(**config)


def serialize_units(units):
    return None if units is None else keras.saving.serialize_keras_object(units)


def divide_or_nan(a, b):
    """`a / b`, NaN where `b` is 0."""
    zero = b == 0
    return ops.where(zero, float("nan"), a / ops.where(zero, 1.0, b))
