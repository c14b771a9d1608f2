"""LPIPS: a learned distance of images."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

import keras
from keras import ops

from keras_msrnn import checkpoint
from keras_msrnn.metrics.metric import ForecastMetric

# Name, channels, kernel size, strides, padding, and whether it comes after pooling.
CONVOLUTIONS = (
    ("features.0", 64, 11, 4, 2, False),
    ("features.3", 192, 5, 1, 2, True),
    ("features.6", 384, 3, 1, 1, True),
    ("features.8", 256, 3, 1, 1, False),
    ("features.10", 256, 3, 1, 1, False),
)
SMALLEST = 31
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of frames in -1..1
TRUNK = "alexnet-owt-7be5be79.pth"


@keras.saving.register_keras_serializable("keras_msrnn")
class LPIPS(ForecastMetric):
    """Learned perceptual distance of frames in 0..1 (version 0.1, AlexNet), averaged over frames.

    0 is best. Frames of one channel are grey images, those of three are red, green and blue.
    Frames with a missing pixel are left out.

    The weights are not part of this package. The usual ones come with two commands:
    `pip install "keras_msrnn[lpips]"`, and once, with a network,
    `python -c "import torchvision; torchvision.models.alexnet(weights='DEFAULT')"`.

    Args:
        trunk: Path of torchvision's AlexNet, `alexnet-owt-7be5be79.pth`; by default where
            torchvision keeps it. It is read when the first data come, with PyTorch.
        heads: Path of the learned weights of the features, `alex.pth` of version 0.1; by default
            those of the installed package `lpips`.
        horizon, name, dtype: As for `SSIM`.

    Call arguments:
        y_true, y_pred, sample_weight: As for `SSIM`; frames have at least 31 x 31 pixels.

    Raises:
        FileNotFoundError: If there are no weights.
        ValueError: If files hold something else, frames are too small, or have other channels.

    Example:

    ```python
    model.compile("adam", model.loss, metrics=[keras_msrnn.metrics.LPIPS()])
    ```

    Reference:
        Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric",
        2018, https://arxiv.org/abs/1801.03924
    """

    def __init__(
        self,
        trunk: str | os.PathLike | None = None,
        heads: str | os.PathLike | None = None,
        horizon: int | None = None,
        name: str = "lpips",
        dtype=None,
    ) -> None:
        super().__init__(horizon, name, dtype)
        self.trunk = None if trunk is None else os.fspath(trunk)
        self.heads = None if heads is None else os.fspath(heads)

    def frame_terms(self, truth, forecast, pixels):
        _check(truth.shape)
        weights = _read_weights(self.trunk or _usual_trunk(), self.heads or _usual_heads())
        height, width, channels = truth.shape[2:]
        images = ops.concatenate([truth, forecast])
        images = 2 * ops.reshape(images, (-1, height, width, channels)) - 1
        images = (images - ops.convert_to_tensor(MEAN)) / ops.convert_to_tensor(DEVIATION)
        distance = 0.0
        for features, head in _features(images, weights):
            size = ops.sqrt(ops.sum(ops.square(features), axis=-1, keepdims=True))
            true, forecasted = ops.split(features / (size + 1e-10), 2)
            difference = ops.mean(ops.square(true - forecasted), axis=(1, 2))
            distance = distance + ops.sum(difference * head, axis=-1)
        whole = ops.cast(ops.min(pixels, axis=(2, 3, 4)) > 0, truth.dtype)
        distance = ops.reshape(distance, (-1, truth.shape[1]))
        return [ops.where(whole > 0, distance, 0.0), whole]

    def get_config(self):
        return {**super().get_config(), "trunk": self.trunk, "heads": self.heads}


def _features(images, weights):
    """The activations of AlexNet after each convolution, and the weights of their channels."""
    for name, _, _, strides, padding, pooled in CONVOLUTIONS:
        if pooled:
            images = ops.max_pool(images, 3, 2, data_format="channels_last")
        images = ops.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        kernel, bias, head = (ops.convert_to_tensor(array) for array in weights[name])
        images = ops.conv(images, kernel, strides, "valid", data_format="channels_last")
        images = ops.relu(images + bias)
        yield images, head


def _check(shape):
    if shape[-1] not in (1, 3) or any(side is None or side < SMALLEST for side in shape[2:4]):
        raise ValueError(
            f"`LPIPS` needs frames of one or three channels and at least {SMALLEST} x {SMALLEST} "
            f"pixels. Received: y_true.shape={tuple(shape)}. Leave it out for such frames."
        )


@functools.cache
def _read_weights(trunk, heads):
    """For each convolution its kernel, its bias, and the weights of its features."""
    weights, channels = {}, 3
    trunk, heads = ((path, checkpoint.read_arrays(path)) for path in (trunk, heads))
    for index, (name, filters, size, *_) in enumerate(CONVOLUTIONS):
        kernel = _array(*trunk, f"{name}.weight", (filters, channels, size, size))
        bias = _array(*trunk, f"{name}.bias", (filters,))
        head = _array(*heads, f"lin{index}.model.1.weight", (1, filters, 1, 1))
        weights[name] = kernel.transpose(2, 3, 1, 0), bias, head[0, :, 0, 0]
        channels = filters
    return weights


def _array(path, arrays, name, shape):
    found = arrays[name].shape if name in arrays else "none"
    if found != shape:
        raise ValueError(
            f"The weights of `LPIPS` must have {name!r} of shape {shape}. Received: {found} in "
            f"{path!r}. `trunk` is torchvision's {TRUNK}, `heads` is alex.pth of lpips 0.1."
        )
    return arrays[name].astype("float32")


def _usual_trunk():
    home = os.environ.get("TORCH_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "torch"
    )
    return _existing(Path(home, "hub", "checkpoints", TRUNK), "trunk")


def _usual_heads():
    package = importlib.util.find_spec("lpips")
    folder = "." if package is None else Path(package.origin).parent
    return _existing(Path(folder, "weights", "v0.1", "alex.pth"), "heads")


def _existing(path, argument):
    if not path.exists():
        raise FileNotFoundError(
            "`LPIPS` needs the weights of AlexNet and of its features. Received: "
            f'{argument}=None, and there is no {path}. `pip install "keras_msrnn[lpips]"` brings '
            'those of the features, `python -c "import torchvision; '
            "torchvision.models.alexnet(weights='DEFAULT')\"` downloads AlexNet; or pass the path."
        )
    return str(path)
