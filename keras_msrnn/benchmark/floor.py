"""What convolutions alone would take: `taskset -c 0 python -m keras_msrnn.benchmark.floor`.

Runs the convolutions of one step in time and nothing else, forward and with their backward pass,
times the number of steps, beside the model and the PyTorch program of the benchmark. A program that
computes the same convolutions with the same backend can hardly be faster.
"""

import argparse
import time

import keras
import numpy as np

from keras_msrnn import backend
from keras_msrnn.benchmark import SIZES, worker, worker_settings
from keras_msrnn.registry import find


def recorded_convolutions(model, frame_shape):
    """`(input shape, kernel shape, strides, padding)` of each convolution of one step in time."""
    found = []
    original = backend.convolution

    def convolution(inputs, kernel, bias=None, strides=1, padding="same"):
        found.append((tuple(inputs.shape), tuple(kernel.shape), strides, padding))
        return original(inputs, kernel, bias, strides, padding)

    try:
        backend.convolution = convolution
        states = model.get_initial_state(frame_shape[0], frame_shape[1:3])
        model.step(keras.ops.zeros(frame_shape), states)
    finally:
        backend.convolution = original
    return found


def convolve_all(convolutions):
    """A function of all inputs, kernels and biases, and random values for these."""
    rng, tensors = np.random.default_rng(0), []
    for input_shape, kernel_shape, *_ in convolutions:
        for shape in (input_shape, kernel_shape, kernel_shape[-1:]):
            values = rng.uniform(size=shape).astype("float32")
            tensors.append(keras.ops.convert_to_tensor(values))

    def convolve(tensors):
        arguments = zip(tensors[::3], tensors[1::3], tensors[2::3], convolutions, strict=True)
        return [backend.convolution(*values, *how) for *values, (_, _, *how) in arguments]

    return convolve, tensors


def forward_and_both(function, tensors):
    """Functions that wait for `function(tensors)`, and for that and its gradients."""
    gradients = list(function(tensors))
    name = keras.backend.backend()
    if name == "torch":
        import torch

        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        gradients = [gradient.detach() for gradient in gradients]
        forward = torch.no_grad()(lambda: function(leaves))
        return forward, lambda: torch.autograd.grad(function(leaves), leaves, gradients)
    if name == "jax":
        import jax

        @jax.jit
        def outputs_and_gradients(tensors):
            outputs, backward = jax.vjp(function, tensors)
            return outputs, backward(gradients)

        outputs = jax.jit(function)
        return (
            lambda: jax.block_until_ready(outputs(tensors)),
            lambda: jax.block_until_ready(outputs_and_gradients(tensors)),
        )
    import tensorflow as tf

    def both():
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = function(tensors)
        return outputs, tape.gradient(outputs, tensors, gradients)

    return tuple(tf.function(run, autograph=False) for run in (lambda: function(tensors), both))


def compare(model, multiscale=True, size="S", rounds=10):
    """Milliseconds of processors for a training step and a forecast, lower quartiles.

    Convolutions alone, the Keras model and the PyTorch program of the benchmark take turns.
    """
    shared = {**SIZES[size], "multiscale": multiscale, "dtype": "float32", "remat": None}
    settings = worker_settings(find(model)[0].name, {**shared, "unused_parts": True})
    worker.clock = time.process_time
    ours, reference = worker.KerasSide(settings), worker.ReferenceSide(settings)
    ours.first_step()
    frame_shape = settings["batch"], settings["height"], settings["height"], 1
    convolutions = recorded_convolutions(ours.model, frame_shape)
    forward, both = forward_and_both(*convolve_all(convolutions))
    steps = settings["context"] + settings["horizon"] - 1

    def convolve(function):
        start = time.process_time()
        function()
        return steps * (time.process_time() - start)

    programs = {
        "training step": {
            "convolutions alone": lambda: convolve(both),
            "Keras model": lambda: ours.step()[0],
            "PyTorch program": lambda: reference.step()[0],
        },
        "forecast": {
            "convolutions alone": lambda: convolve(forward),
            "Keras model": ours.predict,
            "PyTorch program": reference.predict,
        },
    }
    results = {}
    for what, sides in programs.items():
        times = [[run() for run in sides.values()] for _ in range(rounds + 1)]
        results[what] = dict(zip(sides, 1e3 * np.quantile(times[1:], 0.25, axis=0)))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="predrnn")
    parser.add_argument("--plain", dest="multiscale", action="store_false")
    parser.add_argument("--size", choices=tuple(SIZES), default="S")
    parser.add_argument("--rounds", type=int, default=10)
    for what, times in compare(**vars(parser.parse_args())).items():
        shown = ", ".join(f"{side} {value:.0f} ms" for side, value in times.items())
        limit = times["PyTorch program"] / times["convolutions alone"]
        print(f"{what}: {shown}; convolutions alone would be {limit:.2f} times as fast")


if __name__ == "__main__":
    main()
