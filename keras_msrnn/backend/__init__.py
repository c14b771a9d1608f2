"""The one place where backends differ: convolution, loops, rematerialisation, compilation.

Everything else in the package is written with `keras.ops`. Each function here gives the same
numbers on TensorFlow, JAX and PyTorch; it exists because the portable operation is missing
(a loop whose outputs differ in shape from its state, rematerialisation on TensorFlow) or slow
(the gradient of a convolution inside a JAX loop on the CPU).
"""

from keras_msrnn.backend.attention import attention, masked_attention
from keras_msrnn.backend.execution import (
    compile_inference,
    constants_module,
    replica,
    supports_jit,
    train_function,
)
from keras_msrnn.backend.loops import REMAT_MODES, rematerialise, scan
from keras_msrnn.backend.maps import (
    concatenate,
    convolution,
    pad,
    pool,
    split,
    take,
    transposed_convolution,
    upsample_bilinear,
)
from keras_msrnn.backend.sampling import sample

__all__ = [
    "REMAT_MODES",
    "attention",
    "compile_inference",
    "concatenate",
    "constants_module",
    "convolution",
    "masked_attention",
    "pad",
    "pool",
    "rematerialise",
    "replica",
    "sample",
    "scan",
    "split",
    "supports_jit",
    "take",
    "train_function",
    "transposed_convolution",
    "upsample_bilinear",
]
