"""Operations on maps that move information in space: warping and attention."""

import numpy as np
from keras import ops

from keras_msrnn import backend

BLOCK = 16  # side of the blocks of queries in local attention


def warp(images, flow, compat=None):
    """Samples `images` at positions displaced by `flow`, bilinearly, zero outside.

    Args:
        images: `(batch, height, width, channels)`.
        flow: `(batch, height, width, fields, 2)`: for each output pixel and field the displacement
            `(u, v)` in pixels, to the right and down, of the position that is read.
        compat: `"reference"` reads the coordinate `p` along an axis of `n` pixels at
            `p * n / max(n - 1, 1) - 0.5`, as the authors' released code does.

    Returns:
        `(batch, height, width, fields, channels)`, the warped copies.
    """
    batch, height, width, channels = ops.shape(images)
    fields = flow.shape[-2]
    flow = ops.cast(flow, "float32")
    x = flow[..., 0] + ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1, 1))
    y = flow[..., 1] + ops.reshape(ops.arange(height, dtype="float32"), (1, -1, 1, 1))
    if compat == "reference":
        x, y = (
            p * (ops.cast(n, "float32") / ops.cast(ops.maximum(n - 1, 1), "float32")) - 0.5
            for p, n in ((x, width), (y, height))
        )
    columns, column_weights = _bilinear(x, width)
    rows, row_weights = _bilinear(y, height)
    indices = rows[..., :, None] * width + columns[..., None, :]
    weights = row_weights[..., :, None] * column_weights[..., None, :]
    first_pixel = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1, 1, 1, 1, 1))
    indices = indices + first_pixel * (height * width)

    pixels = ops.reshape(images, (batch * height * width, channels))
    corners = ops.take(pixels, ops.reshape(indices, (-1,)), axis=0)
    corners = ops.reshape(corners, (batch, height, width, fields, 4, channels))
    weights = ops.reshape(weights, (batch, height, width, fields, 4, 1))
    return ops.sum(corners * ops.cast(weights, images.dtype), axis=-2)


def _bilinear(position, size):
    """The two neighbours of each position on an axis, clipped, and their weights, 0 outside."""
    lower = ops.floor(position)
    fraction = position - lower
    last = ops.cast(size - 1, "float32")
    indices, weights = [], []
    for index, weight in ((lower, 1 - fraction), (lower + 1, fraction)):
        inside = ops.logical_and(index >= 0, index <= last)
        weights.append(ops.where(inside, weight, 0.0))
        index = ops.cast(ops.where(inside, index, 0.0), "int32")
        indices.append(ops.stop_gradient(index))
    return ops.stack(indices, axis=-1), ops.stack(weights, axis=-1)


def local_attention(query, key, value, window):
    """Softmax attention of every pixel over the `window` x `window` pixels around it.

    The window's offsets run from `-(window // 2)` to `window - window // 2 - 1` on both axes.
    A position outside the image counts with similarity 0 and value 0; similarities are not
    scaled.

    Args:
        query, key, value: `(batch, height, width, channels)`.
        window: Integer, side of the window.

    Returns:
        `(batch, height, width, channels)`.
    """
    batch, height, width, channels = ops.shape(query)
    span = BLOCK + window - 1  # a block of queries reaches this many rows and columns of keys
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    fill = ((0, rows * BLOCK - height), (0, columns * BLOCK - width))
    reach = [(window // 2, after + window - window // 2 - 1) for _, after in fill]
    row_indices = BLOCK * np.arange(rows)[:, None] + np.arange(span)
    column_indices = BLOCK * np.arange(columns)[:, None] + np.arange(span)
    mask = ops.convert_to_tensor(_window_mask(window), query.dtype)

    def queries_by_block():
        x = ops.pad(query, ((0, 0), *fill, (0, 0)))
        x = ops.reshape(x, (batch, rows, BLOCK, columns, BLOCK, channels))
        return ops.transpose(x, (1, 0, 3, 2, 4, 5))

    def by_row(x):
        x = ops.take(ops.pad(x, ((0, 0), *reach, (0, 0))), row_indices, axis=1)
        return ops.moveaxis(x, 1, 0)

    def by_block(x):
        x = ops.transpose(ops.take(x, column_indices, axis=2), (0, 2, 1, 3, 4))
        return ops.reshape(x, (batch, columns, span * span, channels))

    def attend_row(carry, row):
        q, k, v = row
        q = ops.reshape(q, (batch, columns, BLOCK * BLOCK, channels))
        scores = ops.matmul(q, ops.transpose(by_block(k), (0, 1, 3, 2))) + mask
        attended = ops.matmul(ops.softmax(scores), by_block(v))
        attended = ops.reshape(attended, (batch, columns, BLOCK, BLOCK, channels))
        attended = ops.transpose(attended, (0, 2, 1, 3, 4))
        return carry, ops.reshape(attended, (batch, BLOCK, columns * BLOCK, channels))

    xs = queries_by_block(), by_row(key), by_row(value)
    if rows == 1:
        _, attended = attend_row((), [x[0] for x in xs])
        return attended[:, :height, :width]
    like = ops.zeros((batch, BLOCK, columns * BLOCK, channels), query.dtype)
    _, attended = backend.scan(attend_row, ops.zeros(()), xs, like, remat="step")
    attended = ops.reshape(
        ops.moveaxis(attended, 0, 1), (batch, rows * BLOCK, columns * BLOCK, channels)
    )
    return attended[:, :height, :width]


def _window_mask(window):
    """0 where a key of the block's neighbourhood lies in a query's window, else minus infinity."""
    offset = np.arange(BLOCK + window - 1) - np.arange(BLOCK)[:, None]
    reachable = (offset >= 0) & (offset < window)
    reachable = reachable[:, None, :, None] & reachable[None, :, None, :]
    return np.where(reachable.reshape(BLOCK**2, -1), 0.0, -np.inf)


def block_attention(query, key, value, blocks):
    """Softmax attention within corresponding blocks of the two halves of a map.

    The left and right half of the map are cut into `blocks` x `blocks` blocks each; the pixels of
    a block attend to those of that block and of the same block in the other half. Similarities
    are not scaled.

    Args:
        query, key, value: `(batch, height, 2 * width, channels)`.
        blocks: Integer that divides height and width.

    Returns:
        `(batch, height, 2 * width, channels)`.
    """
    batch, height, double_width, channels = ops.shape(query)
    tall, wide = height // blocks, double_width // (2 * blocks)

    def cut(x):
        x = ops.reshape(x, (batch, blocks, tall, 2, blocks, wide, channels))
        x = ops.transpose(x, (0, 1, 4, 3, 2, 5, 6))
        return ops.reshape(x, (batch * blocks * blocks, 2 * tall * wide, 1, channels))

    attended = ops.dot_product_attention(cut(query), cut(key), cut(value), scale=1.0)
    attended = ops.reshape(attended, (batch, blocks, blocks, 2, tall, wide, channels))
    attended = ops.transpose(attended, (0, 1, 4, 3, 2, 5, 6))
    return ops.reshape(attended, (batch, height, double_width, channels))


def check_compat(compat):
    """Returns `compat`, or raises `ValueError` if it is not a known compatibility mode."""
    if compat not in (None, "reference"):
        raise ValueError(
            '`compat` must be None (the published equations) or "reference" (the behaviour of '
            f"the authors' released code). Received: compat={compat!r}."
        )
    return compat
