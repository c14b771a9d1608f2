"""Scores of forecasts as Keras metrics: streaming, overall and by lead time."""

from keras_msrnn.metrics.contingency import CSI, FAR, HSS, POD
from keras_msrnn.metrics.errors import (
    GDL,
    AbsoluteError,
    BalancedAbsoluteError,
    BalancedSquaredError,
    SquaredError,
)
from keras_msrnn.metrics.image_quality import PSNR, SSIM
from keras_msrnn.metrics.metric import ForecastMetric
from keras_msrnn.metrics.perceptual import LPIPS

__all__ = [
    "CSI",
    "FAR",
    "GDL",
    "HSS",
    "LPIPS",
    "POD",
    "PSNR",
    "SSIM",
    "AbsoluteError",
    "BalancedAbsoluteError",
    "BalancedSquaredError",
    "ForecastMetric",
    "SquaredError",
]
