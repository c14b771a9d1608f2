"""Attention whose similarities are never in memory as a whole."""

import keras
from keras import ops

from keras_msrnn import backend

CHUNK = 128  # queries taken at a time
KEPT_MASK = 2**20  # elements; PyTorch computes larger masks again


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


def masked_attention(query, key, value, mask, arguments):
    """Softmax attention of `(batch, blocks, pixels, channels)`, not scaled, each block by itself.

    `mask(*arguments)`, `(blocks, queries, keys)`, is added to the similarities and has no gradient.
    Neither the similarities nor large masks are kept for the backward pass, but those of symbolic
    tensors are.
    """
    if keras.backend.is_keras_tensor(query):
        return _attention(query, key, value, mask(*arguments))
    if keras.backend.backend() == "jax":
        return _jax_attention(mask)(query, key, value, *arguments)
    fused = keras.backend.backend() == "torch"

    def attend(query, key, value, *arguments):
        if fused:
            return _torch_attention(query, key, value, mask(*arguments)[None])
        return _attention(query, key, value, mask(*arguments))

    if not fused or query.shape[1] * query.shape[2] * key.shape[2] > KEPT_MASK:
        attend = backend.rematerialise(attend)
    return attend(query, key, value, *arguments)


def _attention(query, key, value, mask=None):
    similarities = ops.matmul(query, ops.swapaxes(key, -1, -2))
    if mask is not None:
        similarities = similarities + mask
    return ops.matmul(ops.softmax(similarities), value)


def _jax_attention(mask):
    """`_attention` with the gradient of FlashAttention (Dao et al., arXiv 2205.14135, section B.2).

    It computes the similarities again, and sums over channels where the automatic gradient of the
    softmax sums over all keys, which is slow on the CPU.
    """

    def similarities(query, key, arguments):
        products = ops.matmul(query, ops.swapaxes(key, -1, -2))
        return ops.cast(products + mask(*arguments), "float32")

    @ops.custom_gradient
    def attend(query, key, value, *arguments):
        scores = similarities(query, key, arguments)
        largest = ops.max(scores, axis=-1, keepdims=True)
        weights = ops.exp(scores - largest)
        total = ops.sum(weights, axis=-1, keepdims=True)
        attended = ops.matmul(ops.cast(weights, value.dtype), value)
        attended = attended / ops.cast(total, value.dtype)
        log_total = largest + ops.log(total)

        def backward(gradient):
            weights = ops.exp(similarities(query, key, arguments) - log_total)
            for_weights = ops.matmul(gradient, ops.swapaxes(value, -1, -2))
            mean = ops.sum(gradient * attended, axis=-1, keepdims=True)
            for_scores = ops.cast(weights, value.dtype) * (for_weights - mean)
            weights = ops.cast(weights, value.dtype)
            return (
                ops.matmul(for_scores, key),
                ops.matmul(ops.swapaxes(for_scores, -1, -2), query),
                ops.matmul(ops.swapaxes(weights, -1, -2), gradient),
                *map(ops.zeros_like, arguments),
            )

        return attended, backward

    return attend


def _torch_attention(query, key, value, mask=None):
    import torch

    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, key, value, attn_mask=mask, scale=1.0)


def _portable_attention(query, key, value):
    one_head = (ops.expand_dims(x, 2) for x in (query, key, value))
    return ops.squeeze(ops.dot_product_attention(*one_head, scale=1.0), 2)
