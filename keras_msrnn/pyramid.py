"""The shape of a pyramid: the scale of each cell, who feeds whom, and maps that change scale."""

import math

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import Convolution, positive_integer

SKIPS = ("add", None, "unet3+", "full")
POOLINGS = ("max", "average", "convolution")
INTERPOLATIONS = ("bilinear", "nearest", "transposed_convolution")


def check_scales(scales, count):
    """Returns the scales of `count` cells as a tuple; by default all 1."""
    scales = (1,) * count if scales is None else tuple(scales)
    scales = tuple(positive_integer("scales", scale) for scale in scales)
    if len(scales) != count:
        raise ValueError(
            "`scales` must have one entry for each cell. "
            f"Received: {len(scales)} scales {scales} for {count} cells."
        )
    return scales


def connect(scales, skip):
    """For each cell the indices of the cells whose outputs add up to its inputs.

    Index -1 stands for the inputs of the stack.
    """
    sources = [_sources(index, scales, skip) for index in range(len(scales))]
    pairs = [(1, scales[0]), (scales[-1], 1), (scales[-1], scales[0])]
    pairs += [
        (scales[source], scales[index])
        for index, feeding in enumerate(sources)
        for source in feeding
        if source >= 0
    ]
    for a, b in pairs:
        if a % b and b % a:
            raise ValueError(
                "`scales` of cells that feed each other must divide one another. "
                f"Received: scales={scales}, with {a} next to {b}. "
                "Powers of two such as (1, 2, 4, 4, 2, 1) always work."
            )
    return sources


def _sources(index, scales, skip):
    below = index - 1
    if index == 0 or skip is None:
        return [below]
    if skip == "full":
        return list(range(index))
    half = len(scales) // 2
    if skip == "unet3+" and index >= half:
        mirror = len(scales) - 1 - index
        return [*range(min(mirror + 1, index)), *range(max(half, mirror + 1), index)]
    if skip == "add" and scales[index] < scales[below]:
        same = [i for i in range(below) if scales[i] == scales[index]]
        return [below, *same[-1:]]
    return [below]


class Resampling:
    """Brings maps to another scale and number of channels.

    Maps of another number of channels go through a 1 x 1 convolution. That and the learned kinds of
    pooling and interpolation have weights, which belong to `layer`.

    Args:
        layer: The layer that gets the weights.
        name: Name of the weights.
        scales: `(before, after)`.
        channels: `(before, after)`.
        pooling: One of `POOLINGS`.
        interpolation: One of `INTERPOLATIONS`.
    """

    def __init__(self, layer, name, scales, channels, pooling, interpolation):
        self.factor = max(scales) // min(scales)
        self.pooling = pooling if scales[1] > scales[0] else None
        self.interpolation = interpolation if scales[1] < scales[0] else None
        self.convolution = self.transposed = None
        if self.pooling == "convolution":
            self.convolution = Convolution(
                layer, name, *channels, self.factor, strides=self.factor, padding="valid"
            )
        elif self.interpolation == "transposed_convolution":
            self.transposed = _TransposedConvolution(layer, name, *channels, self.factor)
        elif channels[0] != channels[1]:
            self.convolution = Convolution(layer, name, *channels, 1)

    def __call__(self, x):
        if self.pooling in ("max", "average"):
            x = backend.pool(x, self.factor, self.pooling)
        if self.convolution is not None:
            x = self.convolution(x)
        if self.interpolation == "nearest":
            x = ops.repeat(ops.repeat(x, self.factor, axis=1), self.factor, axis=2)
        elif self.interpolation == "bilinear":
            x = backend.upsample_bilinear(x, self.factor)
        return x if self.transposed is None else self.transposed(x)


class _TransposedConvolution:
    """Each pixel becomes `factor` x `factor` pixels: the kernel is as large as the stride."""

    def __init__(self, layer, name, inputs, outputs, factor):
        limit, seed = 1 / math.sqrt(inputs), layer.seed
        seed = None if seed is None else 1000 * seed + len(layer.weights)
        self.kernel = layer.add_weight(
            shape=(factor, factor, outputs, inputs),
            initializer=keras.initializers.RandomUniform(-limit, limit, seed),
            name=f"{name}_kernel",
        )
        self.bias = layer.add_weight(shape=(outputs,), initializer="zeros", name=f"{name}_bias")

    def __call__(self, x):
        kernel, bias = (ops.convert_to_tensor(w, x.dtype) for w in (self.kernel, self.bias))
        return backend.transposed_convolution(x, kernel, self.kernel.shape[0]) + bias
