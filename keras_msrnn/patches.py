"""Patches of pixels as channels, and back: space to depth for frames of any size."""

from keras import ops

from keras_msrnn import backend


def space_to_depth(frames, patch):
    """`(batch, height, width, c)` to `(batch, height / p, width / p, p * p * c)`, padded to fit."""
    if patch == 1:
        return frames
    batch, height, width, channels = ops.shape(frames)
    frames = backend.pad(frames, (0, (-height) % patch), (0, (-width) % patch))
    rows, columns = -(-height // patch), -(-width // patch)
    frames = ops.reshape(frames, (batch, rows, patch, columns, patch, channels))
    frames = ops.transpose(frames, (0, 1, 3, 2, 4, 5))
    return ops.reshape(frames, (batch, rows, columns, patch * patch * channels))


def depth_to_space(features, patch):
    """The inverse of `space_to_depth`, but for the padding."""
    if patch == 1:
        return features
    batch, rows, columns, channels = ops.shape(features)
    channels = channels // patch**2
    features = ops.reshape(features, (batch, rows, columns, patch, patch, channels))
    features = ops.transpose(features, (0, 1, 3, 2, 4, 5))
    return ops.reshape(features, (batch, rows * patch, columns * patch, channels))
