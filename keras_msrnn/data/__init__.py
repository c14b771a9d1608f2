"""Data sets for image-sequence forecasting, from original files or the user's own."""

from keras_msrnn.data.digits import load_idx, rendered_digits
from keras_msrnn.data.germany import Germany, read_germany
from keras_msrnn.data.kth import read_kth
from keras_msrnn.data.moving_mnist import MovingMNIST, moving_digits, read_moving_mnist
from keras_msrnn.data.radar import KNMI, ODIM
from keras_msrnn.data.rain_frames import load_rain, save_rain
from keras_msrnn.data.splits import split_in_time
from keras_msrnn.data.taxibj import read_taxibj
from keras_msrnn.data.units import RainRate, Reflectivity
from keras_msrnn.data.windows import Windows

__all__ = [
    "KNMI",
    "ODIM",
    "Germany",
    "MovingMNIST",
    "RainRate",
    "Reflectivity",
    "Windows",
    "load_idx",
    "load_rain",
    "moving_digits",
    "read_germany",
    "read_kth",
    "read_moving_mnist",
    "read_taxibj",
    "rendered_digits",
    "save_rain",
    "split_in_time",
]
