"""The one place where backends differ: convolution, loops, rematerialisation, compilation.

Everything else in the package is written with `keras.ops`. Each function here gives the same
numbers on TensorFlow, JAX and PyTorch; it exists because the portable operation is missing
(a loop whose outputs differ in shape from its state, rematerialisation on TensorFlow) or slow
(the gradient of a convolution inside a JAX loop on the CPU).
"""

import functools
import itertools
import math

import keras
from keras import ops, tree

REMAT_MODES = (None, "step", "sqrt")
CHUNK = 128  # queries that attention takes at a time


def convolution(inputs, kernel, bias=None, strides=1, padding="same"):
    """Convolution of channels-last `inputs` with a `(height, width, in, out)` kernel."""
    backend = None if keras.backend.is_keras_tensor(inputs) else keras.backend.backend()
    same, odd = strides == 1 and padding == "same", all(side % 2 for side in kernel.shape[:2])
    if backend == "torch" and same and odd:
        return _torch_convolution(inputs, kernel, bias)
    if kernel.shape[0] == kernel.shape[1] == strides == 1:
        outputs = ops.matmul(inputs, kernel[0, 0])
    elif backend == "jax" and same:
        outputs = _jax_convolution()(inputs, kernel)
    else:
        outputs = ops.conv(inputs, kernel, strides, padding, data_format="channels_last")
    if bias is None:
        return outputs
    if backend == "tensorflow":  # its own sum has the faster gradient
        import tensorflow as tf

        return tf.nn.bias_add(outputs, bias)
    return outputs + bias


def _torch_convolution(inputs, kernel, bias):
    """PyTorch's own, with an odd kernel: Keras's lays tensors out again."""
    import torch

    height, width = kernel.shape[:2]
    if height == width == 1:
        return torch.nn.functional.linear(inputs, kernel[0, 0].T, bias)
    outputs = torch.nn.functional.conv2d(
        inputs.permute(0, 3, 1, 2),
        kernel.permute(3, 2, 0, 1),
        bias,
        padding=(height // 2, width // 2),
    )
    return outputs.permute(0, 2, 3, 1)


@functools.cache
def _jax_convolution():
    """A stride-1 "same" convolution whose gradients are plain NHWC/HWIO convolutions too.

    XLA's CPU backend runs only this layout fast; the transposed layouts of the automatic gradient
    are far slower inside a loop. GPUs keep the automatic gradient.
    """
    import jax
    from jax import lax

    layout = ("NHWC", "HWIO", "NHWC")

    def convolve_padded(inputs, kernel, padding):
        return lax.conv_general_dilated(inputs, kernel, (1, 1), padding, dimension_numbers=layout)

    def convolve(inputs, kernel):
        return convolve_padded(inputs, kernel, "SAME")

    if jax.default_backend() != "cpu":
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


def upsample_bilinear(x, factor):
    """Maps `(batch, height, width, channels)` upsampled bilinearly, with half-pixel centres.

    JAX resizes with a matrix product over the whole height, for which a height that is sharded
    over devices is gathered on each of them. Sums of shifted maps need the neighbouring rows only.
    """
    if keras.backend.backend() == "jax" and not keras.backend.is_keras_tensor(x):
        return _upsample_axis(_upsample_axis(x, factor, axis=1), factor, axis=2)
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


def scan(step, carry, xs, like, weights=(), remat=None):
    """Loops `carry, y = step(carry, x)` over the leading axis of `xs`.

    Args:
        step: Function of `(carry, x)` that returns `(carry, y)`, without `None` in `y`.
        carry: Nested structure of tensors; each keeps its shape and dtype.
        xs: Nested structure of tensors with the same leading axis, or an integer: that many
            steps with `x=None`.
        like: Structure of tensors with the shapes and dtypes of one `y`.
        weights: The variables that `step` uses. It must not change any.
        remat: `None` keeps every activation for the backward pass; `"step"` keeps only the
            carry of each step, `"sqrt"` only that of every `sqrt(steps)`-th step, and
            computes the rest again.

    Returns:
        `(carry, ys)`, `ys` with the steps on a new leading axis.
    """
    if isinstance(xs, int):
        steps, xs = xs, None
    else:
        steps = tree.flatten(xs)[0].shape[0]
    if remat is None:
        return _scan(step, carry, xs, steps, like, weights)
    one_step = rematerialise(step, weights)
    if remat == "step" or not steps or steps < 4:
        return _scan(one_step, carry, xs, steps, like, weights)
    return _scan_in_chunks(one_step, carry, xs, steps, like, weights)


def _scan_in_chunks(step, carry, xs, steps, like, weights):
    """Keeps the carry of every `sqrt(steps)`-th step; the others are computed again."""
    length = math.isqrt(steps)
    chunks = steps // length

    def chunk(carry, x):
        return _scan(step, carry, x, length, like, weights)

    whole = chunks * length
    folded = None
    if xs is not None:
        folded = tree.map_structure(
            lambda x: ops.reshape(x[:whole], (chunks, length, *ops.shape(x)[1:])), xs
        )
    chunk_like = tree.map_structure(lambda y: ops.zeros((length, *ops.shape(y)), y.dtype), like)
    chunk = rematerialise(chunk, weights)
    carry, ys = _scan(chunk, carry, folded, chunks, chunk_like, weights)
    ys = tree.map_structure(lambda y: ops.reshape(y, (whole, *ops.shape(y)[2:])), ys)
    if whole < steps:
        rest = _at(xs, slice(whole, steps))
        carry, rest = _scan(step, carry, rest, steps - whole, like, weights)
        ys = tree.map_structure(lambda a, b: ops.concatenate([a, b]), ys, rest)
    return carry, ys


def _scan(step, carry, xs, steps, like, weights):
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.scan(step, carry, xs, length=steps)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            # Read outside the loop: the gradient of a variable that is read inside is unreliable.
            step = _with_values(step, weights, [tf.convert_to_tensor(w) for w in weights])
            return _tensorflow_scan(step, carry, xs, steps, like)
    return _python_scan(step, carry, xs, steps)


def _with_values(function, weights, values):
    """`function` which sees `values` in place of the variables `weights`."""

    def run(*args):
        with keras.StatelessScope(state_mapping=list(zip(weights, values))):
            return function(*args)

    return run


def _at(xs, index):
    return None if xs is None else tree.map_structure(lambda x: x[index], xs)


def _python_scan(step, carry, xs, steps):
    ys = []
    for t in range(steps):
        carry, y = step(carry, _at(xs, t))
        ys.append(y)
    return carry, tree.map_structure(lambda *y: ops.stack(y), *ys)


def _tensorflow_scan(step, carry, xs, steps, like):
    """`tf.while_loop`: a graph whose size does not grow with the number of steps."""
    import tensorflow as tf

    if steps is None:
        steps = tf.shape(tree.flatten(xs)[0])[0]
    arrays = [
        tf.TensorArray(y.dtype, size=steps, element_shape=y.shape) for y in tree.flatten(like)
    ]
    carry = tree.map_structure(tf.convert_to_tensor, carry)

    def body(t, flat_carry, arrays):
        carry_t = tree.pack_sequence_as(carry, flat_carry)
        new_carry, y = step(carry_t, _at(xs, t))
        arrays = [array.write(t, v) for array, v in zip(arrays, tree.flatten(y))]
        return t + 1, tree.flatten(new_carry), arrays

    _, flat_carry, arrays = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (0, tree.flatten(carry), arrays),
        maximum_iterations=steps,
        parallel_iterations=10,
    )
    ys = tree.pack_sequence_as(like, [array.stack() for array in arrays])
    return tree.pack_sequence_as(carry, flat_carry), ys


def _portable_attention(query, key, value):
    one_head = (ops.expand_dims(x, 2) for x in (query, key, value))
    return ops.squeeze(ops.dot_product_attention(*one_head, scale=1.0), 2)


def attention(query, key, value):
    """Softmax attention, not scaled, of `(batch, pixels, channels)`.

    Takes some queries at a time and computes similarities again in the backward pass, so that
    they never are in memory as a whole.
    """
    if keras.backend.is_keras_tensor(query):
        return rematerialise(_portable_attention)(query, key, value)
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
    _, attended = scan(attend, (key, value), ops.moveaxis(query, 1, 0), like, remat="step")
    return ops.reshape(ops.moveaxis(attended, 0, 1), (batch, pixels, channels))


def rematerialise(function, weights=()):
    """`function` of nested tensors, whose activations are computed again in the backward pass.

    `weights` are the variables that it uses.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.checkpoint(function)
    if backend == "torch":
        import torch
        from torch.utils.checkpoint import checkpoint

        def run(*args):
            if not torch.is_grad_enabled():
                return function(*args)
            return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)

        return run
    return lambda *args: _tensorflow_rematerialise(function, args, weights)


def _tensorflow_rematerialise(function, args, weights):
    """`tf.recompute_grad` takes float tensors only, and finds no gradient of what is captured."""
    import tensorflow as tf

    flat = tree.flatten(args)
    floats = [i for i, x in enumerate(flat) if x is not None and x.dtype.is_floating]
    structure = None

    @tf.recompute_grad
    def flat_function(*tensors):
        nonlocal structure
        values, weight_values = tensors[: len(floats)], tensors[len(floats) :]
        all_args = dict(enumerate(flat)) | dict(zip(floats, values))
        all_args = tree.pack_sequence_as(args, [all_args[i] for i in range(len(flat))])
        structure = _with_values(function, weights, weight_values)(*all_args)
        return tree.flatten(structure)

    results = flat_function(*(flat[i] for i in floats), *map(tf.convert_to_tensor, weights))
    return tree.pack_sequence_as(structure, results)


def replica():
    """`(index, count)` of this replica of the model in data-parallel training.

    JAX has one program over the whole batch; TensorFlow and PyTorch have one for each replica,
    which sees its share of the batch.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            return context.replica_id_in_sync_group, context.num_replicas_in_sync
    elif keras.backend.backend() == "torch":
        import torch.distributed

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def compile_inference(layer, function):
    """Compiles `function`, which uses the weights of `layer` and needs no gradient.

    Its arguments are nested tensors; it may not change a variable.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        @jax.jit
        def pure(values, *args):
            mapping = list(zip(layer.variables, values))
            with keras.StatelessScope(state_mapping=mapping):
                return function(*args)

        return lambda *args: pure([v.value for v in layer.variables], *args)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, reduce_retracing=True)
    import torch

    return torch.no_grad()(function)
