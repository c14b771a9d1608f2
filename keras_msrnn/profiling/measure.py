"""What a backend itself reports about a training step."""

import gc
import weakref

import keras
import numpy as np
from keras import ops, tree


def measure(model, input_shape, horizon, batch_size):
    """Measures the activations of a training step and the operations of a step in time.

    Args:
        model: A built `Forecaster` or `MultiScaleRNN`. It is not changed.
        input_shape: `(time, height, width, channels)` of the context.
        horizon: Integer, number of forecast frames.
        batch_size: Integer.

    Returns:
        A dictionary: `activation_bytes` of the forward and backward pass of a batch; `flops` of
        one step in time of the batch, forward (a multiply-add is two); each `None` where the
        backend cannot tell; and `source`, a string.
    """
    context = (batch_size, *input_shape)
    shapes = [context]
    if hasattr(model, "rnn"):
        shapes.append((batch_size, horizon, *input_shape[1:]))
    measure_on = {"jax": _jax, "torch": _torch, "tensorflow": _tensorflow}
    activation_bytes, flops, source = measure_on[keras.backend.backend()](model, shapes)
    return {"activation_bytes": activation_bytes, "flops": flops, "source": source}


def _loss(model, inputs, trainable):
    """A loss of the outputs in training, without a change of the model."""
    inputs = inputs[0] if len(inputs) == 1 else dict(zip(("context", "future"), inputs))
    others = [v.value for v in model.non_trainable_variables]
    outputs, _, losses = model.stateless_call(
        trainable, others, inputs, training=True, return_losses=True
    )
    outputs = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    return ops.sum(ops.square(outputs)) + sum(losses)


def _step(model, frame):
    """One step in time from zero states."""
    return model.step(frame, model.get_initial_state(frame.shape[0], frame.shape[1:3]))


def _jax(model, shapes):
    """XLA's account of the compiled step; nothing runs and no frame is allocated."""
    import jax

    specs = [jax.ShapeDtypeStruct(shape, model.variable_dtype) for shape in shapes]
    gradient = jax.grad(lambda trainable, *inputs: _loss(model, inputs, trainable))
    trainable = [v.value for v in model.trainable_variables]
    memory = jax.jit(gradient).lower(trainable, *specs).compile().memory_analysis()

    frame = jax.ShapeDtypeStruct((shapes[0][0], *shapes[0][2:]), model.variable_dtype)
    step = jax.jit(lambda frame: _step(model, frame)).lower(frame).compile()
    costs = step.cost_analysis() or {}
    source = "XLA: temporaries of the compiled gradient, flops of the compiled step"
    return memory and memory.temp_size_in_bytes, costs.get("flops"), source


def _torch(model, shapes):
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    inputs = [ops.convert_to_tensor(np.zeros(shape, "float32")) for shape in shapes]
    trainable = [v.value for v in model.trainable_variables]
    not_counted = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
            lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
        )
    }
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=not_counted) as counter:
        _step(model, inputs[0][:, 0])

    def gradient():
        torch.autograd.grad(_loss(model, inputs, trainable), trainable, allow_unused=True)

    if inputs[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        gradient()
        peak, source = torch.cuda.max_memory_allocated() - before, "the CUDA allocator"
    else:
        peak, source = _torch_peak(gradient), "its tensors"
    return peak, counter.get_total_flops(), f"PyTorch: peak of {source}, FlopCounterMode"


def _torch_peak(function):
    """Most bytes alive at once of the tensors which `function` makes."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    live, peak = 0, 0
    sizes = {}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal live, peak
            outputs = function(*args, **(kwargs or {}))
            for x in tree.flatten(outputs):
                if isinstance(x, torch.Tensor):
                    watch(x.untyped_storage())
            peak = max(peak, live)
            return outputs

    def watch(storage):
        nonlocal live
        key = storage._cdata
        if key not in sizes:
            sizes[key] = storage.nbytes()
            live += sizes[key]
            weakref.finalize(storage, forget, key)

    def forget(key):
        nonlocal live
        live -= sizes.pop(key)

    gc.collect()
    with Watch():
        function()
    return peak


def _tensorflow(model, shapes):
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None, None, "TensorFlow reports memory on GPUs only"
    inputs = [ops.zeros(shape, model.variable_dtype) for shape in shapes]

    @tf.function
    def gradient(*inputs):
        trainable = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            loss = _loss(model, inputs, trainable)
        return tape.gradient(loss, trainable)

    gradient(*inputs)
    tf.config.experimental.reset_memory_stats("GPU:0")
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    gradient(*inputs)
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] - before
    return peak, None, "TensorFlow: peak of the GPU allocator"
