"""Operations on maps that move information in space: warping and attention."""

import keras
import numpy as np
from keras import ops

from keras_msrnn import backend

ROWS = 8
COLUMNS = 16  # of them, on maps that are much wider than the window


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
    x, y = ops.unstack(ops.cast(flow, "float32"), axis=-1)
    x = x + ops.reshape(ops.arange(width, dtype="float32"), (1, 1, -1, 1))
    y = y + ops.reshape(ops.arange(height, dtype="float32"), (1, -1, 1, 1))
    if compat == "reference":
        x, y = (
            p * (ops.cast(n, "float32") / ops.cast(ops.maximum(n - 1, 1), "float32")) - 0.5
            for p, n in ((x, width), (y, height))
        )
    x, y = (ops.reshape(p, (batch, height, width * fields)) for p in (x, y))
    warped = backend.sample(images, x, y)
    return ops.reshape(warped, (batch, height, width, fields, channels))


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
    rows = _Blocks(height, min(height, ROWS), window)
    columns = _Blocks(width, COLUMNS if width > 2 * window else width, window)
    queries = rows.size * columns.size
    column_mask = ops.convert_to_tensor(columns.mask, query.dtype)
    inside = rows.inside[:, None, :, None] * columns.inside[:, None]
    arrays = backend.constants_module()
    with np.errstate(divide="ignore"):
        outside = arrays.log(window**2 - inside)
    outside = outside.reshape(rows.count, columns.count, queries)

    def bands(x, indices):
        """Bands of rows of a map, `(band, batch, row, width, channels)`."""
        return ops.moveaxis(backend.take(x, indices, axis=1), 1, 0)

    def cut(x, indices):
        """Blocks of a band, `(batch, block, pixels, channels)`."""
        x = backend.take(x, indices, axis=2) if columns.count > 1 else x[:, :, None]
        x = ops.transpose(x, (0, 2, 1, 3, 4))
        return ops.reshape(x, (batch, columns.count, -1, channels))

    def attend(carry, band):
        q, k, v, row_mask, outside = band
        q, cut_keys = cut(q, columns.queries), lambda x: cut(x, columns.keys)
        masks = row_mask, column_mask, outside
        return carry, backend.masked_attention(q, k, v, cut_keys, *masks)

    if keras.backend.is_keras_tensor(query):  # an analysis counts what is kept in the end
        attend = backend.rematerialise(attend)
    query = backend.pad(query, (0, rows.fill), (0, columns.fill))
    xs = (
        bands(query, rows.queries),
        bands(key, rows.keys),
        bands(value, rows.keys),
        ops.convert_to_tensor(rows.mask, query.dtype),
        ops.convert_to_tensor(outside, query.dtype),
    )
    if rows.count == 1:
        _, attended = attend((), [x[0] for x in xs])
    else:
        like = ops.zeros((batch, columns.count, queries, channels), query.dtype)
        _, attended = backend.scan(attend, ops.zeros(()), xs, like, parallel=False)
    attended = ops.reshape(
        attended, (rows.count, batch, columns.count, rows.size, columns.size, channels)
    )
    attended = ops.transpose(attended, (1, 0, 3, 2, 4, 5))
    attended = ops.reshape(attended, (batch, height + rows.fill, width + columns.fill, channels))
    return attended[:, :height, :width]


class _Blocks:
    """An axis of `length` pixels cut into blocks of queries, each with the keys it can reach."""

    def __init__(self, length, size, window):
        arrays = backend.constants_module()
        before, after = window // 2, window - window // 2 - 1
        self.size = size
        self.count = -(-length // size)
        self.fill = self.count * size - length
        span = min(size + window - 1, length)
        self.queries = arrays.arange(self.count * size).reshape(self.count, size)
        first = (self.queries[:, :1] - before).clip(0, length - span)
        self.keys = first + arrays.arange(span)
        offset = self.keys[:, None, :] - self.queries[:, :, None]
        reached = (offset >= -before) & (offset <= after)
        self.inside = reached.sum(axis=2)
        with np.errstate(divide="ignore"):
            self.mask = arrays.log(reached)


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
        return ops.reshape(x, (batch * blocks * blocks, 2 * tall * wide, channels))

    attended = backend.attention(cut(query), cut(key), cut(value))
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
