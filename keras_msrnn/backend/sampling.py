"""Bilinear sampling of maps, which keeps only the maps and the positions for the backward pass."""

import keras
from keras import ops

from keras_msrnn import backend


def sample(maps, x, y):
    """Reads `maps` between their pixels, bilinearly, with zeros outside.

    Args:
        maps: `(batch, height, width, channels)`.
        x, y: `(batch, rows, columns)`, positions along the width and along the height, in pixels
            from the centre of the first one, float32.

    Returns:
        `(batch, rows, columns, channels)`.
    """
    if keras.backend.is_keras_tensor(x):
        return backend.rematerialise(_sample)(maps, x, y)
    if keras.backend.backend() == "jax":
        return _jax_sample(maps, x, y)
    if keras.backend.backend() == "torch":
        return _torch_sample(maps, x, y)
    return _tensorflow_sample(maps, x, y)


def _sample(maps, x, y):
    """Reads the four pixels around a position at once."""
    batch, height, width, channels = ops.shape(maps)
    first, weights = _corners(ops.shape(maps), x, y)
    # Each row of the table holds a pixel, the next one, and the two below.
    count = batch * (height + 2) * (width + 2)
    pixels = ops.reshape(backend.pad(maps, (1, 1), (1, 1)), (count, channels))
    pixels = ops.concatenate([pixels, ops.zeros((width + 3, channels), maps.dtype)])
    table = ops.concatenate([pixels[i : i + count, :] for i in _offsets(width)], axis=-1)
    around = ops.reshape(backend.take(table, first, axis=0), (-1, 4, channels))
    weights = ops.expand_dims(ops.cast(ops.transpose(weights), maps.dtype), -1)
    return ops.reshape(ops.sum(weights * around, axis=1), (*ops.shape(x), channels))


def _sample_by_corners(maps, x, y):
    """Reads the four pixels one by one: on JAX slower, but with a faster gradient."""
    channels = maps.shape[-1]
    first, weights = _corners(ops.shape(maps), x, y)
    pixels = ops.reshape(backend.pad(maps, (1, 1), (1, 1)), (-1, channels))
    weights = ops.expand_dims(ops.cast(weights, maps.dtype), -1)
    corners = [
        weights[k] * backend.take(pixels, first + offset, axis=0)
        for k, offset in enumerate(_offsets(ops.shape(maps)[2]))
    ]
    return ops.reshape(sum(corners), (*ops.shape(x), channels))


def _jax_sample(maps, x, y):
    import jax

    sample = jax.custom_vjp(_sample)
    sample.defvjp(
        lambda *inputs: (_sample(*inputs), inputs),
        lambda inputs, gradient: jax.vjp(_sample_by_corners, *inputs)[1](gradient),
    )
    return sample(maps, x, y)


def _offsets(width):
    """How far the next pixel and the two below are, on rows with a pixel more on both sides."""
    return 0, 1, width + 2, width + 3


def _corners(shape, x, y):
    """For each position the index of the pixel at or before it, and the weights of four pixels.

    `(positions,)`, counted with a border of one pixel around the maps, and `(4, positions)`.
    """
    batch, height, width, _ = shape
    column, right = _corner(x, width)
    row, below = _corner(y, height)
    sample = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1))
    first = (row + sample * (height + 2)) * (width + 2) + column
    left, above = 1 - right, 1 - below
    weights = ops.stack([above * left, above * right, below * left, below * right])
    return ops.reshape(first, (-1,)), ops.reshape(weights, (4, -1))


def _corner(position, size):
    """The pixel at or before each position on an axis, counted from -1, and the way past it."""
    last = ops.cast(size - 1, "float32")
    corner = ops.where(position >= -1, ops.minimum(ops.floor(position), last), -1.0)
    corner = ops.stop_gradient(corner)
    return ops.cast(corner + 1, "int32"), ops.clip(position - corner, 0.0, 1.0)


def _torch_sample(maps, x, y):
    import torch

    # Its coordinates go from -1 to 1, from border to border, in the precision of the maps.
    _, height, width, _ = maps.shape
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    sampled = torch.nn.functional.grid_sample(
        maps.permute(0, 3, 1, 2).float(), grid, align_corners=False
    )
    return sampled.to(maps.dtype).permute(0, 2, 3, 1).contiguous()


def _tensorflow_sample(maps, x, y):
    """With gradients by two operations of TensorFlow that are far faster than the automatic ones.

    Those for the maps are a product with a sparse matrix (`CropAndResizeGradImage` loses some of
    them where it runs on several threads), those for the positions of crops of one pixel.
    """
    import tensorflow as tf

    def gradient_for_maps(gradient):
        batch, height, width, channels = ops.shape(maps)
        first, weights = _corners(ops.shape(maps), x, y)
        rows = tf.tile(tf.range(tf.size(first)), [4])
        columns = tf.concat([first + offset for offset in _offsets(width)], axis=0)
        padded = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=tf.transpose(tf.stack([rows, columns])),
            a_values=tf.reshape(weights, (-1,)),
            a_shape=tf.cast([tf.size(first), batch * (height + 2) * (width + 2)], tf.int64),
            b=gradient,
            adjoint_a=True,
        )
        padded = tf.reshape(padded, (batch, height + 2, width + 2, channels))
        return tf.cast(padded[:, 1:-1, 1:-1], maps.dtype)

    def gradient_for_positions(gradient):
        batch, height, width, channels = ops.shape(maps)
        count = tf.size(x)
        last = [tf.cast(size + 1, tf.float32) for size in (height, width)]
        yx = tf.reshape((y + 1) / last[0], (-1,)), tf.reshape((x + 1) / last[1], (-1,))
        for_boxes = tf.raw_ops.CropAndResizeGradBoxes(
            grads=tf.reshape(gradient, (count, 1, 1, channels)),
            image=tf.cast(backend.pad(maps, (1, 1), (1, 1)), tf.float32),
            boxes=tf.transpose(tf.stack([*yx, *yx])),
            box_ind=tf.repeat(tf.range(batch), count // batch),
        )
        y1, x1, y2, x2 = tf.unstack(tf.transpose(for_boxes))
        for_x, for_y = (x1 + x2) / last[1], (y1 + y2) / last[0]
        return tf.reshape(for_x, tf.shape(x)), tf.reshape(for_y, tf.shape(y))

    @tf.custom_gradient
    def run(maps, x, y):
        def backward(gradient):
            gradient = tf.cast(tf.reshape(gradient, (-1, maps.shape[-1])), tf.float32)
            return gradient_for_maps(gradient), *gradient_for_positions(gradient)

        return _sample(maps, x, y), backward

    return run(maps, x, y)
