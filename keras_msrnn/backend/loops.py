"""Loops over time, and activations that are computed again in the backward pass."""

import itertools
import math

import keras
from keras import ops, tree

REMAT_MODES = (None, "step", "sqrt")
# Arithmetic element by element, and what only moves elements: done again in the backward pass
# sooner than written and read.
JAX_CHEAP = {
    "abs", "add", "add_any", "convert_element_type", "div", "exp", "integer_pow", "log", "logistic",
    "max", "min", "mul", "neg", "pow", "rsqrt", "select_n", "sign", "sqrt", "square", "sub", "tanh",
    "broadcast_in_dim", "concatenate", "gather", "pad", "reshape", "squeeze", "transpose",
}  # fmt: skip


def scan(step, carry, xs, like, weights=(), remat=None, parallel=True):
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
        parallel: Whether TensorFlow may begin steps while it ends others, which is faster and needs
            more memory; never with `remat`.

    Returns:
        `(carry, ys)`, `ys` with the steps on a new leading axis.
    """
    if isinstance(xs, int):
        steps, xs = xs, None
    else:
        steps = tree.flatten(xs)[0].shape[0]
    if remat is None:
        return _scan(_keeping_less(step), carry, xs, steps, like, weights, parallel)
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


def _scan(step, carry, xs, steps, like, weights, parallel=False):
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.scan(step, carry, xs, length=steps)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            # Read outside the loop: the gradient of a variable that is read inside is unreliable.
            step = _with_values(step, weights, [tf.convert_to_tensor(w) for w in weights])
            return _tensorflow_scan(step, carry, xs, steps, like, parallel)
    return _python_scan(step, carry, xs, steps)


def _keeping_less(step):
    """`step` that on JAX keeps the four gates of an LSTM for the backward pass, not ten results.

    What is kept is decided here even within a checkpoint that `step` contains.
    """
    if keras.backend.backend() != "jax":
        return step
    import jax

    return jax.checkpoint(step, policy=_is_kept, prevent_cse=False)


def _is_kept(primitive, *_, **__):
    return primitive.name not in JAX_CHEAP


def _with_values(function, weights, values):
    """`function` which sees `values` in place of the variables `weights`."""

    def run(*args):
        with keras.StatelessScope(state_mapping=list(zip(weights, values))):
            return function(*args)

    return run


def _at(xs, index):
    return None if xs is None else tree.map_structure(lambda x: x[index], xs)


def _flatten(structure):
    """Leaves, and a structure of placeholders.

    `tree.flatten` leaves closures behind, in which tensors and the graphs that made them wait for
    the garbage collector; so does `ops.stack`.
    """
    leaves = []
    return leaves, tree.map_structure(leaves.append, structure)


def _python_scan(step, carry, xs, steps):
    # The gradient of `x[t]` would be filled up with zeros to the size of the whole.
    leaves, structure = _flatten(xs)
    elements = [itertools.repeat(None) if x is None else ops.unstack(x, steps) for x in leaves]
    ys = []
    for _, *x in zip(range(steps), *elements):
        carry, y = step(carry, tree.pack_sequence_as(structure, x))
        y, outputs = _flatten(y)
        ys.append(y)
    stack = ops.stack
    if keras.backend.backend() == "torch":
        import torch

        stack = torch.stack
    return carry, tree.pack_sequence_as(outputs, [stack(column) for column in zip(*ys)])


def _tensorflow_scan(step, carry, xs, steps, like, parallel):
    """`tf.while_loop`: a graph whose size does not grow with the number of steps."""
    import tensorflow as tf

    if steps is None:
        steps = tf.shape(tree.flatten(xs)[0])[0]
    # The gradient of `x[t]` would be filled up with zeros to the size of the whole.
    inputs = [
        tf.TensorArray(x.dtype, size=steps, element_shape=x.shape[1:]).unstack(x)
        for x in ([] if xs is None else map(tf.convert_to_tensor, tree.flatten(xs)))
    ]
    arrays = [
        tf.TensorArray(y.dtype, size=steps, element_shape=y.shape) for y in tree.flatten(like)
    ]
    carry = tree.map_structure(tf.convert_to_tensor, carry)

    def body(t, flat_carry, arrays):
        carry_t = tree.pack_sequence_as(carry, flat_carry)
        x = None if xs is None else tree.pack_sequence_as(xs, [array.read(t) for array in inputs])
        new_carry, y = step(carry_t, x)
        arrays = [array.write(t, v) for array, v in zip(arrays, tree.flatten(y))]
        return t + 1, tree.flatten(new_carry), arrays

    _, flat_carry, arrays = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (0, tree.flatten(carry), arrays),
        maximum_iterations=steps,
        parallel_iterations=10 if parallel else 1,
    )
    ys = tree.pack_sequence_as(like, [array.stack() for array in arrays])
    return tree.pack_sequence_as(carry, flat_carry), ys


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
        from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

        def run(*args):
            if not torch.is_grad_enabled():
                return function(*args)
            flat, structure = _flatten(args)

            def flat_function(*tensors):
                return function(*tree.pack_sequence_as(structure, tensors))

            # Within another checkpoint, tensors in lists would be kept. An early stop is an
            # exception, whose traceback would keep tensors alive.
            with set_checkpoint_early_stop(False):
                options = {"use_reentrant": False, "preserve_rng_state": False}
                return checkpoint(flat_function, *flat, **options)

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
