"""MS-RNN: multi-scale recurrent networks that forecast image sequences, on any Keras backend."""

import importlib

try:
    import keras  # noqa: F401
except ImportError as error:
    raise ImportError(
        "keras_msrnn needs a Keras backend: install one with "
        '`pip install "keras_msrnn[tensorflow]"`, `"keras_msrnn[jax]"` or `"keras_msrnn[torch]"`, '
        "and choose it with the environment variable KERAS_BACKEND before Python starts. "
        f"({error})"
    ) from error

from keras_msrnn import (
    cells,
    convert,
    data,
    losses,
    metrics,
    plotting,
    profiling,
    sampling,
    sharding,
)
from keras_msrnn.forecaster import Forecaster
from keras_msrnn.multi_scale_rnn import MultiScaleRNN
from keras_msrnn.profiling import compare, profile
from keras_msrnn.registry import build, list_models, register
from keras_msrnn.stream import ForecastStream
from keras_msrnn.verification import evaluate_forecast
from keras_msrnn.version import __version__

__all__ = [
    "ForecastStream",
    "Forecaster",
    "MultiScaleRNN",
    "__version__",
    "build",
    "cells",
    "compare",
    "convert",
    "data",
    "evaluate_forecast",
    "list_models",
    "losses",
    "metrics",
    "plotting",
    "profile",
    "profiling",
    "register",
    "sampling",
    "sharding",
    "tuning",
]


def __getattr__(name):
    if name == "tuning":  # KerasTuner is imported when it is needed
        return importlib.import_module("keras_msrnn.tuning")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
