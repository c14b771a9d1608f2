"""Operations on maps: convolution, channels, borders, pooling, upsampling."""

import functools
import itertools

import keras
from keras import ops

# XLA's fast convolutions on the CPU want so many channels, of the inputs or the outputs.
XLA_CHANNELS = 17


def convolution(inputs, kernel, bias=None, strides=1, padding="same"):
    """Convolution of channels-last `inputs` with a `(height, width, in, out)` kernel."""
    backend = None if keras.backend.is_keras_tensor(inputs) else keras.backend.backend()
    same, odd = strides == 1 and padding == "same", all(side % 2 for side in kernel.shape[:2])
    if backend == "torch" and (padding == "valid" or (same and odd)):
        return _torch_convolution(inputs, kernel, bias, strides, padding)
    if kernel.shape[0] == kernel.shape[1] == strides == 1:
        outputs = ops.matmul(inputs, kernel[0, 0])
    elif backend == "jax" and same:
        outputs = _jax_convolution()(inputs, kernel)
    else:
        outputs = ops.conv(inputs, kernel, strides, padding, data_format="channels_last")
    return outputs if bias is None else outputs + bias


def _torch_convolution(inputs, kernel, bias, strides, padding):
    """PyTorch's own: Keras's lays tensors out again."""
    import torch

    height, width = kernel.shape[:2]
    if height == width == strides == 1:
        return torch.nn.functional.linear(inputs, kernel.flatten(0, 2).T, bias)
    borders = (height // 2, width // 2) if padding == "same" else 0
    convolve = torch.nn.functional.conv2d
    maps = convolve(_channels_first(inputs), kernel.permute(3, 2, 0, 1), bias, strides, borders)
    return _channels_last(maps)


def _channels_first(maps):
    """Another view of a tensor of PyTorch, whose layout in memory stays."""
    return maps.permute(0, 3, 1, 2)


def _channels_last(maps):
    return maps.permute(0, 2, 3, 1)


def transposed_convolution(inputs, kernel, strides):
    """Makes channels-last `inputs` `strides` times as high and wide.

    The `(height, width, out, in)` kernel is square, and larger than `strides` by an even number.
    """
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(inputs):
        import torch

        borders = (kernel.shape[0] - strides) // 2
        maps = torch.nn.functional.conv_transpose2d(
            _channels_first(inputs), kernel.permute(3, 2, 0, 1), None, strides, borders
        )
        return _channels_last(maps)
    return ops.conv_transpose(inputs, kernel, strides, "same", data_format="channels_last")


@functools.cache
def _jax_convolution():
    """A stride-1 "same" convolution whose gradients are plain NHWC/HWIO convolutions too.

    XLA's CPU backend runs only this layout fast; the transposed layouts of the automatic gradient
    are far slower inside a loop. GPUs keep the automatic gradient.
    """
    import jax
    from jax import lax

    layout = ("NHWC", "HWIO", "NHWC")
    on_cpu = jax.default_backend() == "cpu"

    def convolve_padded(inputs, kernel, padding):
        outputs = kernel.shape[3]
        if on_cpu and max(inputs.shape[3], outputs) < XLA_CHANNELS:
            kernel = jax.numpy.pad(kernel, (*3 * [(0, 0)], (0, XLA_CHANNELS - outputs)))
        maps = lax.conv_general_dilated(inputs, kernel, (1, 1), padding, dimension_numbers=layout)
        return maps[..., :outputs]

    def convolve(inputs, kernel):
        return convolve_padded(inputs, kernel, "SAME")

    if not on_cpu:
        return convolve

    def forward(inputs, kernel):
        return convolve(inputs, kernel), (inputs, kernel)

    def backward(residuals, gradient):
        inputs, kernel = residuals
        before = [(size - 1) // 2 for size in kernel.shape[:2]]
        after = [size // 2 for size in kernel.shape[:2]]
        flipped = kernel[::-1, ::-1].swapaxes(2, 3)
        input_gradient = convolve_padded(gradient, flipped, list(zip(after, before)))
        kernel_gradient = convolve_padded(
            inputs.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), list(zip(before, after))
        )
        return input_gradient, kernel_gradient.transpose(1, 2, 0, 3)

    with_gradient = jax.custom_vjp(convolve)
    with_gradient.defvjp(forward, backward)
    return with_gradient


def concatenate(tensors):
    """`tensors` joined along their channels, the last axis."""
    if keras.backend.backend() == "torch" and not any(map(keras.backend.is_keras_tensor, tensors)):
        import torch

        return torch.cat(tensors, dim=-1)
    return ops.concatenate(tensors, axis=-1)


def split(x, parts):
    """`x` split along its channels, the last axis, into tensors of `parts` channels.

    Args:
        x: Tensor whose number of channels is known.
        parts: Integer, number of equal parts, or a tuple with the channels of each.

    PyTorch copies the parts: it computes on a view with gaps between its rows at half the speed.
    """
    if isinstance(parts, int):
        parts = (x.shape[-1] // parts,) * parts
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(x):
        return [part.contiguous() for part in x.split(parts, dim=-1)]
    return ops.split(x, list(itertools.accumulate(parts[:-1])), axis=-1)


def pad(x, rows, columns):
    """`x` `(batch, height, width, channels)` with zeros around it, each `(before, after)`.

    Joins zeros instead of padding: TensorFlow's oneDNN build breaks the gradient of `Pad` inside a
    loop.
    """
    for axis, sizes in ((1, rows), (2, columns)):
        if all(isinstance(size, int) and size == 0 for size in sizes):
            continue
        shape = list(ops.shape(x))
        borders = [ops.zeros([*shape[:axis], size, *shape[axis + 1 :]], x.dtype) for size in sizes]
        x = ops.concatenate([borders[0], x, borders[1]], axis=axis)
    return x


def take(x, indices, axis):
    """`x` with `indices`, all within its size, in place of `axis`.

    Keras's own fills what lies outside on JAX, which is slow. On PyTorch it has a `squeeze` without
    effect, which ONNX refuses.
    """
    if not keras.backend.is_keras_tensor(x):
        if keras.backend.backend() == "jax":
            return x.at[*axis * [slice(None)], indices].get(mode="promise_in_bounds")
        if keras.backend.backend() == "torch":
            indices = ops.convert_to_tensor(indices)
            x = x.index_select(axis, indices.ravel())
            return x.unflatten(axis, indices.shape)
    return ops.take(x, indices, axis=axis)


def pool(x, factor, kind):
    """The `"max"` or `"average"` of each `factor` x `factor` pixels of channels-last maps.

    On PyTorch its own: Keras's lays the maps out channels first, which all that follows feels.
    """
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(x):
        import torch

        pools = {"max": torch.nn.functional.max_pool2d, "average": torch.nn.functional.avg_pool2d}
        return _channels_last(pools[kind](_channels_first(x), factor))
    pools = {"max": ops.max_pool, "average": ops.average_pool}
    return pools[kind](x, factor, factor, "valid", data_format="channels_last")


def upsample_bilinear(x, factor):
    """Maps `(batch, height, width, channels)` upsampled bilinearly, with half-pixel centres.

    JAX resizes with a matrix product over the whole height, for which a height that is sharded
    over devices is gathered on each of them. Sums of shifted maps need the neighbouring rows only.
    Keras on PyTorch resizes in float32 whatever the maps are.
    """
    if keras.backend.backend() == "jax" and not keras.backend.is_keras_tensor(x):
        return _upsample_axis(_upsample_axis(x, factor, axis=1), factor, axis=2)
    if keras.backend.backend() == "torch" and not keras.backend.is_keras_tensor(x):
        import torch

        resize = torch.nn.functional.interpolate
        return _channels_last(resize(_channels_first(x), scale_factor=factor, mode="bilinear"))
    _, height, width, _ = ops.shape(x)
    size = height * factor, width * factor
    return ops.image.resize(x, size, interpolation="bilinear", data_format="channels_last")


def _upsample_axis(x, factor, axis):
    """Each of the `factor` pixels that a pixel becomes lies between it and one neighbour."""
    import jax

    size = x.shape[axis]
    index = jax.lax.broadcasted_iota("int32", x.shape, axis)

    def shift(by, border):
        padding = [(0, 0, 0)] * x.ndim
        padding[axis] = (by, -by, 0)
        shifted = jax.lax.pad(x, jax.numpy.zeros((), x.dtype), padding)
        return jax.numpy.where(index == border, x, shifted)

    before, after = shift(1, 0), shift(-1, size - 1)
    parts = []
    for part in range(factor):
        distance = (part + 0.5) / factor - 0.5
        neighbour = before if distance < 0 else after
        parts.append(x + abs(distance) * (neighbour - x))
    shape = (*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
    return jax.numpy.stack(parts, axis=axis + 1).reshape(shape)
