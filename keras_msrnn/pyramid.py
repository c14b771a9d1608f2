"""The shape of a pyramid: the scale of each cell, who feeds whom, and maps that change scale."""

from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import positive_integer

SKIPS = ("add", None, "unet3+", "full")
POOLINGS = ("max", "average")
INTERPOLATIONS = ("bilinear", "nearest")


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


def resample(x, from_scale, to_scale, pooling, interpolation):
    """Maps `(batch, height, width, channels)` at one scale brought to another."""
    if from_scale == to_scale:
        return x
    if to_scale > from_scale:
        factor = to_scale // from_scale
        pool = ops.max_pool if pooling == "max" else ops.average_pool
        return pool(x, factor, factor, "valid", data_format="channels_last")
    factor = from_scale // to_scale
    if interpolation == "nearest":
        return ops.repeat(ops.repeat(x, factor, axis=1), factor, axis=2)
    return backend.upsample_bilinear(x, factor)
