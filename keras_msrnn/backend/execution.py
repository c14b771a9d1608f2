"""Compilation, constants, and replicas of a model."""

import keras
import numpy as np


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


def supports_jit():
    """Whether Keras may compile a model with a `scan` by XLA, as it does by default on GPUs.

    XLA refuses the gradient of a `tf.while_loop` whose shapes are known only when it runs.
    """
    return keras.backend.backend() != "tensorflow"


def train_function(function):
    """Keras's compiled training steps, with TensorFlow's optimizers of graphs set for them.

    The memory optimizer gives sums of three or more tensors a variable of their own where a graph
    needs much memory. In a loop the variable stays behind, and the next step fails as it "already
    exists": https://github.com/tensorflow/tensorflow/issues/23780. The others run once instead of
    twice: the first step comes up to a quarter sooner, and no step is slower. There is no public
    option for either.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf
    from tensorflow.python.eager import context

    def run(*args):
        eager = context.context()
        options = eager.function_call_options
        config = tf.compat.v1.ConfigProto.FromString(options.config_proto_serialized)
        rewrites = config.graph_options.rewrite_options
        rewrites.memory_optimization = rewrites.NO_MEM_OPT
        rewrites.meta_optimizer_iterations = rewrites.ONE
        eager.function_call_options = context.FunctionCallOptions(options.executor_type, config)
        try:
            return function(*args)
        finally:
            eager.function_call_options = options

    return run


def constants_module():
    """`numpy` or `keras.ops`, to make constants with, such as masks and indices.

    NumPy's arrays become part of a compiled program. PyTorch would copy each to a GPU anew in every
    step, and wait for it: there they are made where they are needed.
    """
    return keras.ops if keras.backend.backend() == "torch" else np


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
