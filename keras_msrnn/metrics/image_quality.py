"""Scores of whole images: SSIM and PSNR."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_msrnn.metrics.metric import ForecastMetric
from keras_msrnn.metrics.weights import any_pixel

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


@keras.saving.register_keras_serializable("keras_msrnn")
class SSIM(ForecastMetric):
    """Structural similarity of frames in 0..1, averaged over frames; 1 is best.

    The window is an 11 x 11 Gaussian of sigma 1.5, wholly inside the frame; the range is 1,
    `K1 = 0.01`, `K2 = 0.03`, the variances are those of the population. Channels are compared one
    by one. Windows that touch a missing pixel are left out, and frames without a window are.
    Weights of pixels are a mask here.

    Args:
        horizon: Integer, the number of lead times; by default that of the first data.
        name: Name of the metric.
        dtype: Dtype of the computations, `float32` by default.

    Call arguments:
        y_true, y_pred: `(batch, time, height, width, channels)`, at least 11 x 11 pixels; NaN in
            `y_true` is left out.
        sample_weight: Optional weights of frames, `(batch,)` or `(batch, time)`, or a mask of
            pixels, `(batch, time, height, width, 1)`.

    Raises:
        ValueError: If frames are smaller than the window.

    Example:

    >>> frames = np.random.rand(2, 3, 16, 16, 1)
    >>> round(float(SSIM()(frames, frames)), 4)
    1.0

    Reference:
        Wang et al., "Image quality assessment: from error visibility to structural similarity",
        2004, https://doi.org/10.1109/TIP.2003.819861
    """

    def __init__(self, horizon: int | None = None, name: str = "ssim", dtype=None) -> None:
        super().__init__(horizon, name, dtype)

    def frame_terms(self, truth, forecast, pixels):
        sides = [side for side in truth.shape[2:4] if side is not None]
        if min(sides, default=WINDOW) < WINDOW:
            raise ValueError(
                f"`SSIM` needs frames of at least {WINDOW} x {WINDOW} pixels, its window. "
                f"Received: y_true.shape={tuple(truth.shape)}. Leave it out for such frames."
            )
        maps = [truth, forecast, ops.square(truth) + ops.square(forecast), truth * forecast]
        missing = ops.cast(pixels <= 0, truth.dtype)
        true, forecasted, squares, product, missing = (_blur(x) for x in (*maps, missing))
        means = ops.square(true) + ops.square(forecasted)
        product_of_means = true * forecasted
        similarity = (2 * product_of_means + C1) * (2 * (product - product_of_means) + C2)
        similarity = similarity / ((means + C1) * (squares - means + C2))
        whole = ops.cast(missing == 0, truth.dtype)
        windows = ops.sum(whole, axis=(2, 3, 4))
        total = ops.sum(ops.where(whole > 0, similarity, 0.0), axis=(2, 3, 4))
        return [total / ops.maximum(windows, 1.0), ops.cast(windows > 0, truth.dtype)]


@keras.saving.register_keras_serializable("keras_msrnn")
class PSNR(ForecastMetric):
    """Peak signal-to-noise ratio of frames in 0..1, in dB, averaged over frames.

    `10 log10(1 / (mean squared error + 1e-5))` of each frame, so that 50 dB is a perfect one.

    Args:
        horizon, name, dtype: As for `SSIM`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SSIM`; frames may have any size.

    Example:

    >>> frames = np.zeros((2, 3, 16, 16, 1))
    >>> round(float(PSNR()(frames, frames)), 3)
    50.0
    """

    def __init__(self, horizon: int | None = None, name: str = "psnr", dtype=None) -> None:
        super().__init__(horizon, name, dtype)

    def frame_terms(self, truth, forecast, pixels):
        error = ops.sum(ops.square(forecast - truth) * pixels, axis=(2, 3, 4))
        weight = ops.sum(pixels, axis=(2, 3, 4))
        present = any_pixel(pixels)
        error = error / ops.where(present > 0, weight, 1.0)
        return [-10 * present * ops.log10(error + 1e-5), present]


def _blur(frames):
    """Gaussian means of windows inside frames `(batch, time, height, width, channels)`.

    Shifted copies are added: convolutions and matrix products round to TF32 on GPUs, which is too
    coarse for variances.
    """
    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = [float(weight) for weight in kernel / kernel.sum()]
    for axis in (2, 3):
        before = (slice(None),) * axis
        count = ops.shape(frames)[axis] - WINDOW + 1
        shifted = [frames[(*before, slice(k, k + count))] for k in range(WINDOW)]
        total = kernel[WINDOW // 2] * shifted[WINDOW // 2]
        for k in range(WINDOW // 2):
            total = total + kernel[k] * (shifted[k] + shifted[WINDOW - 1 - k])
        frames = total
    return frames
