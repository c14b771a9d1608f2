"""Scores of events at a threshold, from a contingency table."""

from __future__ import annotations

import keras
from keras import ops

from keras_msrnn.metrics.metric import ForecastMetric, divide_or_nan, serialize_units
from keras_msrnn.metrics.weights import threshold_pixel


class _ContingencyMetric(ForecastMetric):
    """A score of hits, misses, false alarms and correct negatives.

    An event is a pixel at or above the threshold.
    """

    terms = 4

    def __init__(
        self,
        threshold: float,
        units=None,
        horizon: int | None = None,
        name: str | None = None,
        dtype=None,
    ) -> None:
        pixel = threshold_pixel(threshold, units)
        super().__init__(horizon, name or f"{type(self).__name__.lower()}_{threshold:g}", dtype)
        self.threshold, self.units, self.pixel = float(threshold), units, pixel

    def frame_terms(self, truth, forecast, pixels):
        observed = ops.cast(truth >= self.pixel, pixels.dtype)
        expected = ops.cast(forecast >= self.pixel, pixels.dtype)
        expected = ops.where(ops.isnan(forecast), float("nan"), expected)  # never just "no event"
        events, others = pixels * observed, pixels * (1 - observed)
        hits, false_alarms = events * expected, others * expected
        parts = (hits, events - hits, false_alarms, others - false_alarms)
        return [ops.sum(part, axis=(2, 3, 4)) for part in parts]

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "units": serialize_units(self.units),
        }


@keras.saving.register_keras_serializable("keras_msrnn")
class POD(_ContingencyMetric):
    """Probability of detection: `hits / (hits + misses)`; 1 is best.

    The counts are over all pixels, channels and sequences; those of `result` also over all lead
    times. NaN where nothing was observed.

    Args:
        threshold: Rain rate in mm/h, or a pixel value if there are no `units`. An event is a
            pixel at or above it.
        units: Units of the pixels, such as `keras_msrnn.data.units.Reflectivity("germany")`.
        horizon: Integer, the number of lead times; by default that of the first data.
        name: Name of the metric, by default such as `pod_0.5`.
        dtype: Dtype of the computations, `float32` by default.

    Call arguments:
        y_true, y_pred: `(batch, time, height, width, channels)`; NaN in `y_true` is left out.
        sample_weight: Optional weights of frames, `(batch,)` or `(batch, time)`, or a mask of
            pixels, `(batch, time, height, width, 1)`.

    Raises:
        ValueError: If pixels of these units cannot tell what is above the threshold.

    Example:

    >>> truth = np.array([0.0, 0.7, 0.8, 0.9]).reshape(1, 1, 2, 2, 1)
    >>> forecast = np.array([0.6, 0.7, 0.8, 0.0]).reshape(1, 1, 2, 2, 1)
    >>> [round(float(m(threshold=0.5)(truth, forecast)), 3) for m in (POD, FAR, CSI, HSS)]
    [0.667, 0.333, 0.5, -0.333]

    Reference:
        Wilks, "Statistical Methods in the Atmospheric Sciences", chapter on forecast verification.
    """

    def score(self, hits, misses, false_alarms, correct_negatives):
        return divide_or_nan(hits, hits + misses)


@keras.saving.register_keras_serializable("keras_msrnn")
class FAR(_ContingencyMetric):
    """False alarm ratio: `false alarms / (hits + false alarms)`; 0 is best.

    NaN where no event was forecast.

    Args:
        threshold, units, horizon, name, dtype: As for `POD`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `POD`.
    """

    def score(self, hits, misses, false_alarms, correct_negatives):
        return divide_or_nan(false_alarms, hits + false_alarms)


@keras.saving.register_keras_serializable("keras_msrnn")
class CSI(_ContingencyMetric):
    """Critical success index: `hits / (hits + misses + false alarms)`; 1 is best.

    NaN where no event was observed or forecast.

    Args:
        threshold, units, horizon, name, dtype: As for `POD`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `POD`.
    """

    def score(self, hits, misses, false_alarms, correct_negatives):
        return divide_or_nan(hits, hits + misses + false_alarms)


@keras.saving.register_keras_serializable("keras_msrnn")
class HSS(_ContingencyMetric):
    """Heidke skill score: 1 is best, 0 no better than chance.

    `2 (TP TN - FN FP) / ((TP + FN)(FN + TN) + (TP + FP)(FP + TN))` of hits TP, misses FN, false
    alarms FP and correct negatives TN; NaN where that is 0 / 0.

    Args:
        threshold, units, horizon, name, dtype: As for `POD`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `POD`.
    """

    def score(self, hits, misses, false_alarms, correct_negatives):
        total = hits + misses + false_alarms + correct_negatives
        total = ops.where(total == 0, 1.0, total)  # shares, whose products cannot overflow
        counts = (hits, misses, false_alarms, correct_negatives)
        tp, fn, fp, tn = (count / total for count in counts)
        return divide_or_nan(2 * (tp * tn - fn * fp), (tp + fn) * (fn + tn) + (tp + fp) * (fp + tn))
