"""Data sets for image-sequence forecasting."""

from keras_msrnn.data.digits import load_idx, rendered_digits
from keras_msrnn.data.moving_mnist import MovingMNIST, moving_digits

__all__ = ["MovingMNIST", "load_idx", "moving_digits", "rendered_digits"]
