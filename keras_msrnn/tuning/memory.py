"""Memory that one training after the other would pile up."""

import contextlib
import ctypes
import gc
import sys

import keras


@contextlib.contextmanager
def released_memory():
    """Gives back what the trainings inside have left behind.

    TensorFlow registers the gradients of a traced function for good, and with them its whole
    graph. The allocator of glibc keeps what XLA has freed.
    """
    registry = _tensorflow_gradients()
    known = set(registry)
    try:
        yield
    finally:
        for name in [name for name in registry if name not in known]:
            if name.startswith("CustomGradient-"):
                del registry[name]
        gc.collect()
        if sys.platform == "linux":
            with contextlib.suppress(AttributeError):  # another C library
                ctypes.CDLL(None).malloc_trim(0)


def _tensorflow_gradients():
    if keras.backend.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops

    return getattr(ops.gradient_registry, "_registry", {})
