"""`evaluate_forecast`: every score of forecasts by lead time, beside persistence."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_msrnn import checks, metrics
from keras_msrnn.forecast_scores import ForecastScores
from keras_msrnn.version import __version__

DEFAULT_THRESHOLDS = (0.5, 2, 5, 10, 30)
PERSISTENCE = "persistence"
PER_FRAME = "summed over the pixels and channels of a frame, mean over frames"
BALANCED = "weighted 1, 1, 2, 5, 10, 30 by true rain below 0.5, 2, 5, 10, 30 mm/h and above, "
DESCRIPTIONS = {
    "squared_error_per_frame": f"squared error {PER_FRAME}",
    "absolute_error_per_frame": f"absolute error {PER_FRAME}",
    "squared_error_per_pixel": "mean squared error of all pixels",
    "absolute_error_per_pixel": "mean absolute error of all pixels",
    "balanced_squared_error_per_frame": f"squared error {BALANCED}{PER_FRAME}",
    "balanced_absolute_error_per_frame": f"absolute error {BALANCED}{PER_FRAME}",
    "psnr": "10 log10(1 / (mean squared error + 1e-5)) of a frame in dB, mean over frames",
    "ssim": "11 x 11 Gaussian of sigma 1.5 inside the frame, range 1, K1 0.01, K2 0.03, "
    "population variances, mean over frames",
    "gdl": f"| |dy truth| - |dy forecast| | + | |dx truth| - |dx forecast| | {PER_FRAME}",
    "pod": "hits / (hits + misses)",
    "far": "false alarms / (hits + false alarms)",
    "csi": "hits / (hits + misses + false alarms)",
    "hss": "Heidke skill score",
}


def evaluate_forecast(
    model: Any,
    dataset: Any,
    *,
    thresholds: Sequence[float] | None = None,
    units: Any = None,
    more: Sequence[metrics.ForecastMetric] = (),
    batches: int | None = None,
    batch_size: int = 16,
) -> ForecastScores:
    """Scores forecasts by lead time, beside persistence, in one pass over the data.

    Memory does not grow with the data. A forecast has as many frames as the future of the data,
    and is scored as it is, not clipped. Persistence repeats the last value that the context has
    of a pixel. Pixels that are NaN in the future, of weight 0, or NaN in the whole context are
    left out, for all models alike.

    Args:
        model: What forecasts: a `Forecaster`, another object with `predict`, a function
            `f(context)` or `f(context, steps)` that returns `(batch, time, height, width,
            channels)`, or a dictionary of several of them by name.
        dataset: A `keras.utils.PyDataset`, `tf.data.Dataset`, torch `DataLoader` or other iterable
            of batches `(context, future)` or `(context, future, sample_weight)`, or a tuple of
            such arrays `(samples, time, height, width, channels)`.
        thresholds: Thresholds of POD, FAR, CSI and HSS: rain rates in mm/h, or pixel values if
            there are no units. By default 0.5, 2, 5, 10 and 30 mm/h with units, else none.
        units: Units of the pixels, such as `keras_msrnn.data.units.Reflectivity("germany")`, for
            thresholds and balanced errors; by default `dataset.units`, where there are any.
        more: Further scores, such as `[keras_msrnn.metrics.LPIPS()]`.
        batches: Integer, the number of batches to score; by default all.
        batch_size: Integer, sequences per batch of arrays.

    Returns:
        `ForecastScores`; `print` shows the table.

    Raises:
        ValueError: If there are no data, or shapes do not fit.
        TypeError: If `model` cannot forecast, or `more` are not `ForecastMetric`s.

    Example:

    >>> frames = np.random.default_rng(0).uniform(size=(4, 6, 16, 16, 1))
    >>> scores = evaluate_forecast(
    ...     {"mean": lambda context, steps: context.mean(1, keepdims=True).repeat(steps, axis=1)},
    ...     (frames[:, :4], frames[:, 4:]),
    ...     thresholds=[0.5],
    ... )
    >>> scores.by_lead_time("csi_0.5")["persistence"].round(3)
    array([0.332, 0.343], dtype=float32)
    """
    models = _forecast_functions(model)
    units = getattr(dataset, "units", None) if units is None else units
    if thresholds is None:
        thresholds = () if units is None else DEFAULT_THRESHOLDS
    scorer = states = None
    sequences = scored = pixels = 0
    for context, future, weight in _batches(dataset, batches, batch_size):
        context, future = _as_array(context), _as_array(future)
        checks.check_context_shape(context.shape, None)
        checks.check_future_shape(future.shape, context.shape)
        weight = np.ones(len(future), "float32") if weight is None else _as_array(weight)
        if scorer is None:
            scorer = _Scorer(future.shape, thresholds, units, more)
            states = {name: scorer.start() for name in (*models, PERSISTENCE)}
        future, persistence = _leave_out_and_persist(context, future, weight, scorer.horizon)
        for name in states:
            forecast = persistence
            if name != PERSISTENCE:
                forecast = _as_array(models[name](context, future.shape[1]))
                _check_forecast(name, forecast, future)
            states[name] = scorer.update(states[name], future, forecast, weight)
        sequences += len(future)
        scored += int(np.isfinite(future).sum())
        pixels += future.size
    if scorer is None:
        raise ValueError(
            "`dataset` must have at least one batch. Received: none. Generators are used up by "
            "one pass: make a new one."
        )
    conventions = {
        "software": f"keras_msrnn {__version__}",
        "sequences": sequences,
        "context": context.shape[1],
        "horizon": scorer.horizon,
        "frame": " x ".join(map(str, future.shape[2:])),
        "missing_share": 1 - scored / pixels,
        **scorer.conventions(),
    }
    return ForecastScores({name: scorer.scores(states[name]) for name in states}, conventions)


class _Scorer:
    """All scores; their state is passed around, so that one compiled function serves all models."""

    def __init__(self, shape, thresholds, units, more):
        self.horizon, self.thresholds, self.units = shape[1], thresholds, units
        horizon = {"horizon": self.horizon}
        self.metrics = [
            getattr(metrics, name)(per=per, **horizon)
            for per in ("frame", "pixel")
            for name in ("SquaredError", "AbsoluteError")
        ]
        self.small = min(shape[2:4]) < metrics.image_quality.WINDOW
        others = (
            (metrics.PSNR, metrics.GDL) if self.small else (metrics.PSNR, metrics.SSIM, metrics.GDL)
        )
        self.metrics += [metric(**horizon) for metric in others]
        if units is not None:
            balanced = (metrics.BalancedSquaredError, metrics.BalancedAbsoluteError)
            self.metrics += [metric(units, **horizon) for metric in balanced]
        self.more = [_with_horizon(metric, self.horizon) for metric in more]
        self.metrics += self.more
        # The four scores of a threshold follow from one table of counts, which is CSI's state.
        self.tables = {
            metrics.CSI(threshold, units, **horizon): [
                score(threshold, units, **horizon)
                for score in (metrics.POD, metrics.FAR, metrics.CSI, metrics.HSS)
            ]
            for threshold in dict.fromkeys(map(float, thresholds))
        }
        self._states_of = [*self.metrics, *self.tables]
        self.update = _compile(self._update)

    def start(self):
        return [metric.stateless_reset_state() for metric in self._states_of]

    def _update(self, states, truth, forecast, weight):
        return [
            metric.stateless_update_state(state, truth, forecast, weight)
            for metric, state in zip(self._states_of, states)
        ]

    def scores(self, states):
        """For each score its overall value and its values by lead time."""
        scores = {}
        for metric, state in zip(self._states_of, states):
            for reported in self.tables.get(metric, [metric]):
                for variable, value in zip(reported.variables, state):
                    variable.assign(value)
                by_lead_time = ops.convert_to_numpy(reported.result_by_lead_time())
                scores[reported.name] = float(reported.result()), by_lead_time
        return scores

    def conventions(self):
        about = {
            "missing": "pixels missing in the truth or in the whole context are left out",
            "persistence": "the last value of each pixel in the context",
            "forecasts": "not clipped",
            "all": "all lead times together",
            "units": "pixel values" if self.units is None else repr(self.units),
        }
        if self.tables:
            about["events"] = "pixels at or above the threshold, counted over all sequences"
            thresholds = ", ".join(f"{table.threshold:g}" for table in self.tables)
            about["thresholds"] = thresholds + (" mm/h" if self.units is not None else "")
        names = [metric.name for metric in self.metrics if metric not in self.more]
        names += ["pod", "far", "csi", "hss"] if self.tables else []
        about.update((name, DESCRIPTIONS[name]) for name in names)
        about.update((m.name, inspect.getdoc(m).split("\n")[0].rstrip(".")) for m in self.more)
        if self.small:
            about["ssim"] = "left out: a frame is smaller than its window of 11 x 11"
        return about


def _with_horizon(metric, horizon):
    if not isinstance(metric, metrics.ForecastMetric):
        raise TypeError(
            "`more` must be metrics of `keras_msrnn.metrics`, or others made from "
            f"`ForecastMetric`. Received: {metric!r}. Other metrics go into `compile(metrics=...)`."
        )
    return type(metric).from_config({**metric.get_config(), "horizon": horizon})


def _compile(function):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    import torch

    return torch.no_grad()(function)


def _forecast_functions(model: Any) -> dict[str, Callable]:
    models = model if isinstance(model, dict) else {"model": model}
    if not models or PERSISTENCE in models:
        raise ValueError(
            "`model` must hold at least one model, and none named 'persistence', which is scored "
            f"beside them. Received: model={models!r}."
        )
    return {str(name): _forecast_function(name, one) for name, one in models.items()}


def _forecast_function(name, model):
    """A function of the context and the number of steps."""
    if hasattr(model, "forecast"):
        return lambda context, steps: model.forecast(context, steps, batch_size=len(context))
    if isinstance(model, keras.Model):
        return lambda context, steps: model.predict(context, batch_size=len(context), verbose=0)
    if hasattr(model, "predict"):
        return lambda context, steps: model.predict(context)
    if not callable(model):
        raise TypeError(
            "`model` must be a model with `predict`, a function from context to forecast, or a "
            f"dictionary of such. Received: {name}={model!r}."
        )
    try:
        parameters = inspect.signature(model).parameters
    except ValueError:  # a function written in C
        parameters = {}
    if "steps" in parameters:
        return lambda context, steps: model(context, steps=steps)
    return lambda context, steps: model(context)


def _batches(dataset, count, batch_size) -> Iterator[tuple]:
    if isinstance(dataset, (tuple, list)) and dataset and hasattr(dataset[0], "shape"):
        length = len(dataset[0])
        if len(dataset) not in (2, 3) or any(len(x) != length for x in dataset if x is not None):
            raise ValueError(
                "`dataset` of arrays must be (context, future) of equally many sequences. "
                f"Received: {len(dataset)} arrays of shapes {[np.shape(x) for x in dataset]}."
            )
        arrays, starts = dataset, range(0, length, batch_size)
        dataset = (
            tuple(None if x is None else x[i : i + batch_size] for x in arrays) for i in starts
        )
    elif count is None and _endless(dataset):
        raise ValueError(
            "`dataset` has no end. Received: batches=None. Pass the number of `batches` to score."
        )
    elif isinstance(dataset, keras.utils.PyDataset):
        pydataset, end = dataset, count if dataset.num_batches is None else dataset.num_batches
        dataset = (pydataset[i] for i in range(end))
    for batch in itertools.islice(dataset, count):
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError(
                "`dataset` must yield batches (context, future) or (context, future, "
                f"sample_weight). Received: a {type(batch).__name__}."
            )
        yield (*batch, None)[:3]


def _endless(dataset):
    if isinstance(dataset, keras.utils.PyDataset):
        return dataset.num_batches is None
    return hasattr(dataset, "cardinality") and int(dataset.cardinality()) == -1  # tf.data


def _as_array(frames):
    """`float32` NumPy array of a tensor of any backend."""
    if hasattr(frames, "detach"):  # torch, wherever it is
        frames = frames.detach().cpu()
    return np.asarray(frames, "float32")


def _leave_out_and_persist(context, future, weight, horizon):
    """The future with NaN where it is not scored, and the forecast of persistence."""
    if future.shape[1] != horizon:
        raise ValueError(
            "All batches must have the same number of future frames. Received: future.shape="
            f"{future.shape} after futures of {horizon} frames. Evaluate them one by one."
        )
    last = context[:, -1]
    for t in range(2, context.shape[1] + 1):
        if not np.isnan(last).any():
            break
        last = np.where(np.isnan(last), context[:, -t], last)
    missing = np.isnan(last)[:, None]
    if weight.ndim == 5:
        missing = missing | (weight == 0)
    if missing.any():
        future = np.where(missing, np.float32("nan"), future)
    return future, np.broadcast_to(np.nan_to_num(last)[:, None], future.shape)


def _check_forecast(name, forecast, future):
    if forecast.shape != future.shape:
        raise ValueError(
            f"The forecast of `{name}` must have the shape of the future, {future.shape}. "
            f"Received: shape={forecast.shape}. A function may cut it: "
            f"`lambda context: model.predict(context)[:, :{future.shape[1]}]`."
        )
    if not np.isfinite(forecast).all() and not np.isfinite(forecast[np.isfinite(future)]).all():
        warnings.warn(
            f"The forecast of `{name}` is not finite where it is scored, so that its scores are "
            "not either. Missing data in the context may be the cause: fill them.",
            stacklevel=3,
        )
