"""Attention whose similarities are never in memory as a whole."""

import keras
from keras import ops

from keras_msrnn import backend

CHUNK = 128  # queries taken at a time


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

    def attend(key_value, query):
        key, value = key_value
        return key_value, _attention(query, key, value)

    if chunks == 1:
        return _attention(query, key, value)
    query = ops.reshape(query, (batch, chunks, pixels // chunks, channels))
    like = ops.zeros((batch, pixels // chunks, channels), query.dtype)
    _, attended = backend.scan(attend, (key, value), ops.moveaxis(query, 1, 0), like, remat="step")
    return ops.reshape(ops.moveaxis(attended, 0, 1), (batch, pixels, channels))


def has_fused_attention(query):
    """Whether `masked_attention` keeps nothing but its arguments for the backward pass."""
    return keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(query)


def masked_attention(query, key, value, mask):
    """Softmax attention of `(batch, blocks, pixels, channels)`, not scaled, each block by itself.

    `mask`, `(blocks, queries, keys)`, is added to the similarities.
    """
    if has_fused_attention(query):
        return _torch_attention(query, key, value, mask[None])
    return _attention(query, key, value, mask)


def _attention(query, key, value, mask=None):
    similarities = ops.matmul(query, ops.swapaxes(key, -1, -2))
    if mask is not None:
        similarities = similarities + mask
    return ops.matmul(ops.softmax(similarities), value)


def _torch_attention(query, key, value, mask=None):
    import torch

    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, key, value, attn_mask=mask, scale=1.0)


def _portable_attention(query, key, value):
    one_head = (ops.expand_dims(x, 2) for x in (query, key, value))
    return ops.squeeze(ops.dot_product_attention(*one_head, scale=1.0), 2)
