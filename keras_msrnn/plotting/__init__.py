"""Pictures of forecasts: strips of frames, animations, scores and training curves."""

from keras_msrnn.plotting.animation import animate_forecast
from keras_msrnn.plotting.curves import plot_history, plot_scores
from keras_msrnn.plotting.strips import plot_forecast

__all__ = ["animate_forecast", "plot_forecast", "plot_history", "plot_scores"]
