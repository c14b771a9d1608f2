"""Attention whose similarities are never in memory as a whole."""

import keras
from keras import ops

from keras_msrnn import backend

CHUNK = 128  # queries taken at a time


def _portable_attention(query, key, value):
    one_head = (ops.expand_dims(x, 2) for x in (query, key, value))
    return ops.squeeze(ops.dot_product_attention(*one_head, scale=1.0), 2)


def attention(query, key, value):
    """Softmax attention, not scaled, of `(batch, pixels, channels)`.

    Takes some queries at a time and computes similarities again in the backward pass, so that
    they never are in memory as a whole.
    """
    if keras.backend.is_keras_tensor(query):
        return backend.rematerialise(_portable_attention)(query, key, value)
    if keras.backend.backend() == "torch":
        import torch

        one_head = (x[:, None] for x in (query, key, value))
        return torch.nn.functional.scaled_dot_product_attention(*one_head, scale=1.0)[:, 0]
    batch, pixels, channels = ops.shape(query)
    chunks = max(n for n in range(1, max(2, pixels // CHUNK + 1)) if pixels % n == 0)

    def attend(key_value, query):
        key, value = key_value
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
        return key_value, ops.matmul(weights, value)

    if chunks == 1:
        return attend((key, value), query)[1]
    query = ops.reshape(query, (batch, chunks, pixels // chunks, channels))
    like = ops.zeros((batch, pixels // chunks, channels), query.dtype)
    _, attended = backend.scan(attend, (key, value), ops.moveaxis(query, 1, 0), like, remat="step")
    return ops.reshape(ops.moveaxis(attended, 0, 1), (batch, pixels, channels))
