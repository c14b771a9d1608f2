"""Attention whose similarities are never in memory as a whole."""

import math

import keras
from keras import ops

from keras_msrnn import backend

CHUNK = 128  # queries taken at a time
KEPT_MASK = 2**20  # queries times keys; PyTorch computes larger masks again


def attention(query, key, value):
    """Softmax attention, not scaled, of `(batch, pixels, channels)`.

    Takes some queries at a time and computes similarities again in the backward pass, so that
    they never are in memory as a whole.
    """
    if keras.backend.is_keras_tensor(query):
        return backend.rematerialise(_portable_attention)(query, key, value)
    if keras.backend.backend() == "torch":
        return _torch_attention(query[:, None], key[:, None], value[:, None])[:, 0]
    batch, pixels, channels = ops.shape(query)
    chunks = max(n for n in range(1, max(2, pixels // CHUNK + 1)) if pixels % n == 0)
    jax = keras.backend.backend() == "jax"
    attend_to_all = _jax_attention_to_all if jax else _attention
    if chunks == 1:
        return attend_to_all(query, key, value)

    def attend(key_value, query):
        return key_value, attend_to_all(query, *key_value)

    query = ops.reshape(query, (batch, chunks, pixels // chunks, channels))
    like = ops.zeros((batch, pixels // chunks, channels), query.dtype)
    remat = None if jax else "step"
    _, attended = backend.scan(attend, (key, value), ops.moveaxis(query, 1, 0), like, remat=remat)
    return ops.reshape(ops.moveaxis(attended, 0, 1), (batch, pixels, channels))


def masked_attention(query, key, value, cut, row_mask, column_mask, outside):
    """Softmax attention within blocks of a map, not scaled, each block by itself.

    Neither the similarities nor what is cut is kept for the backward pass, but small ones are on
    PyTorch, and those of symbolic tensors.

    Args:
        query: `(batch, blocks, rows * columns, channels)`.
        key, value: `(batch, key_rows, width, channels)`.
        cut: Function that makes blocks of keys, which may overlap, of `key` and `value`:
            `(batch, blocks, key_rows * key_columns, channels)`.
        row_mask: `(rows, key_rows)`, added to the similarities, as the next one; no gradient.
        column_mask: `(blocks, columns, key_columns)`.
        outside: `(blocks, rows * columns)`, the logarithm of the number of keys and values of zeros
            that a query meets too.
    """
    masks = row_mask, column_mask, outside
    if keras.backend.is_keras_tensor(query):
        return _attend_to_blocks(_attention, query, cut(key), cut(value), *masks)
    if keras.backend.backend() == "jax":
        return _jax_attention(cut)(query, key, value, *masks)
    fused = keras.backend.backend() == "torch"
    attention = _torch_attention if fused else _attention

    def attend(query, key, value, *masks):
        return _attend_to_blocks(attention, query, cut(key), cut(value), *masks)

    if not fused or math.prod((*query.shape[1:3], *key.shape[1:3])) > KEPT_MASK:
        attend = backend.rematerialise(attend)
    return attend(query, key, value, *masks)


def _attend_to_blocks(attention, query, key, value, row_mask, column_mask, outside):
    nothing = ops.zeros_like(key[:, :, :1])
    key, value = (ops.concatenate([x, nothing], axis=2) for x in (key, value))
    mask = row_mask[:, None, :, None] + column_mask[:, None, :, None, :]
    mask = ops.reshape(mask, (*outside.shape, -1))
    mask = ops.stop_gradient(ops.concatenate([mask, outside[..., None]], axis=-1))
    return attention(query, key, value, mask)


def _attention(query, key, value, mask=None):
    similarities = ops.matmul(query, ops.swapaxes(key, -1, -2))
    if mask is not None:
        similarities = similarities + mask
    return ops.matmul(ops.softmax(similarities), value)


def _jax_attention(cut):
    """`_attend_to_blocks` with the gradient of FlashAttention (Dao et al., arXiv 2205.14135, B.2).

    It computes the similarities again, and sums over channels where the automatic gradient of the
    softmax sums over all keys. Three things more are for XLA on the CPU: products that turn maps,
    not similarities; masks added as they are, since the element of a reshaped or joined one would
    be looked up for each similarity; and what lies outside is no key of its own.
    """
    import jax
    from jax.ad_checkpoint import checkpoint_name

    def turn(x):
        return ops.swapaxes(x, -1, -2)

    def similarities(query, keys, row_mask, column_mask):
        """As `(batch, blocks, rows, columns, key_rows, key_columns)`."""
        products = ops.matmul(query, turn(keys))
        (rows, key_rows), (blocks, columns, key_columns) = row_mask.shape, column_mask.shape
        grid = (-1, blocks, rows, columns, key_rows, key_columns)
        masked = ops.reshape(products, grid) + row_mask[:, None, :, None]
        return ops.cast(masked + column_mask[:, None, :, None, :], "float32")

    def exponentials(scores, less):
        """Those of the similarities, `less` one of each query."""
        return ops.exp(scores - ops.reshape(less, (*scores.shape[:4], 1, 1)))

    def flat(x, dtype):
        """`(batch, blocks, queries, keys)`."""
        shape = *x.shape[:2], math.prod(x.shape[2:4]), math.prod(x.shape[4:])
        return ops.cast(ops.reshape(x, shape), dtype)

    @ops.custom_gradient
    def attend(query, key, value, row_mask, column_mask, outside):
        scores = similarities(query, cut(key), row_mask, column_mask)
        nothing = ops.cast(outside, "float32")[..., None]
        largest = ops.reshape(ops.max(scores, axis=(-2, -1)), (-1, *nothing.shape))
        largest = ops.maximum(largest, nothing)
        weights = flat(exponentials(scores, largest), "float32")
        total = ops.sum(weights, axis=-1, keepdims=True) + ops.exp(nothing - largest)
        attended = ops.matmul(ops.cast(weights, value.dtype), cut(value))
        attended = attended / ops.cast(total, value.dtype)
        log_total = largest + ops.log(total)
        attended, log_total = (checkpoint_name(x, "attention") for x in (attended, log_total))

        def backward(gradient):
            keys, join_keys = jax.vjp(cut, key)
            values, join_values = jax.vjp(cut, value)
            scores = similarities(query, keys, row_mask, column_mask)
            weights = exponentials(scores, log_total)
            mean = ops.sum(gradient * attended, axis=-1, keepdims=True)
            # The difference as one more channel: within the product XLA would be slow.
            for_weights = ops.matmul(
                ops.concatenate([gradient, -mean], axis=-1),
                turn(ops.concatenate([values, ops.ones_like(values[..., :1])], axis=-1)),
            )
            for_scores = weights * ops.reshape(for_weights, scores.shape)
            weights, for_scores = (flat(x, value.dtype) for x in (weights, for_scores))
            return (
                ops.matmul(for_scores, keys),
                *join_keys(turn(ops.matmul(turn(query), for_scores))),
                *join_values(turn(ops.matmul(turn(gradient), weights))),
                *map(ops.zeros_like, (row_mask, column_mask, outside)),
            )

        return attended, backward

    return attend


def _jax_attention_to_all(query, key, value):
    """`_attention` as one block without masks.

    A checkpoint would not do: see `loops._keeping_less`.
    """
    queries, keys = query.shape[1], key.shape[1]
    row_mask, column_mask = ops.zeros((queries, 1)), ops.zeros((1, 1, keys))
    nothing_outside = ops.full((1, queries), -math.inf)
    attend = _jax_attention(lambda x: x[:, None])
    return attend(query[:, None], key, value, row_mask, column_mask, nothing_outside)[:, 0]


def _torch_attention(query, key, value, mask=None):
    import torch

    attend = torch.nn.functional.scaled_dot_product_attention
    mask = None if mask is None else mask[None]
    return attend(query, key, value, attn_mask=mask, scale=1.0)


def _portable_attention(query, key, value):
    one_head = (ops.expand_dims(x, 2) for x in (query, key, value))
    return ops.squeeze(ops.dot_product_attention(*one_head, scale=1.0), 2)
