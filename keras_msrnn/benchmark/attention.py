"""Local attention beside convolutions: `python -m keras_msrnn.benchmark.attention`.

PrecipLSTM's attention, each pixel over a window of 30 x 30, on maps of 128 x 128, beside a stack of
3 x 3 convolutions with as many multiply-adds: time and memory of a forward and backward pass.
"""

import argparse
import time

import keras
import numpy as np
from keras import ops

from keras_msrnn import backend
from keras_msrnn.benchmark import worker
from keras_msrnn.cells.spatial import local_attention


def gradient(function, inputs):
    """A function that waits for the gradients of the sum of `function(*inputs)`."""
    name = keras.backend.backend()
    if name == "jax":
        import jax

        compiled = jax.jit(jax.grad(lambda inputs: ops.sum(function(*inputs))))
        return lambda: jax.block_until_ready(compiled(inputs))
    if name == "torch":
        import torch

        leaves = [x.detach().requires_grad_() for x in inputs]
        return lambda: torch.autograd.grad(function(*leaves).sum(), leaves)
    import tensorflow as tf

    @tf.function
    def compiled():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(function(*inputs))
        return tape.gradient(total, inputs)

    return lambda: [x.numpy() for x in compiled()]


def convolution_stack(multiply_adds, pixels, channels):
    """A function of an image and a kernel with about as many multiply-adds, and their number."""
    layers = max(1, round(multiply_adds / (pixels * 9 * channels**2)))

    def run(image, kernel):
        for _ in range(layers):
            image = ops.tanh(backend.convolution(image, kernel))
        return image

    return run, layers


def measure(step, rounds):
    """Seconds of processors, the lower quartile, and bytes at the peak of a pass."""
    memories = {
        "tensorflow": worker.tensorflow_memory,
        "jax": worker.jax_memory,
        "torch": worker.torch_memory,
    }
    step()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return float(np.quantile(times, 0.25)), worker.peak_memory(
        step, memories[keras.backend.backend()]()
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--window", type=int, default=30)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    channels, pixels = options.channels, options.height**2
    rng = np.random.default_rng(0)
    shape = (1, options.height, options.height, channels)
    maps = [ops.convert_to_tensor(rng.normal(size=shape).astype("float32")) for _ in range(3)]
    kernel = rng.normal(size=(3, 3, channels, channels)).astype("float32") / (9 * channels) ** 0.5

    def attend(*maps):
        return local_attention(*maps, options.window)

    convolve, layers = convolution_stack(
        2 * pixels * options.window**2 * channels, pixels, channels
    )
    print(
        f"{keras.backend.backend()}: {options.window} x {options.window} window on "
        f"{options.height} x {options.height} maps of {channels} channels; {layers} convolutions "
        "have as many multiply-adds"
    )
    passes = {
        "local attention": gradient(attend, maps),
        "convolutions": gradient(convolve, [maps[0], ops.convert_to_tensor(kernel)]),
    }
    for name, step in passes.items():
        seconds, memory = measure(step, options.rounds)
        size = "unknown" if memory is None else f"{memory / 1e6:.0f} MB"
        print(f"{name:16}{1e3 * seconds:8.0f} ms   {size}", flush=True)


if __name__ == "__main__":
    main()
