"""Search of architectures with KerasTuner: a space of pyramids, a budget, and living with it."""

from keras_msrnn.tuning.hypermodel import ErrorMemoryObjective, ForecasterHyperModel
from keras_msrnn.tuning.results import Results, plot_pareto
from keras_msrnn.tuning.search import create_tuner
from keras_msrnn.tuning.space import SPACE, pyramids

__all__ = [
    "SPACE",
    "ErrorMemoryObjective",
    "ForecasterHyperModel",
    "Results",
    "create_tuner",
    "plot_pareto",
    "pyramids",
]
