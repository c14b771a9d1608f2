"""What convolutions alone take: `KERAS_BACKEND=torch python -m keras_msrnn.benchmark.floor`.

Runs each convolution of a training step and of a forecast by itself in PyTorch, on one thread, and
adds the times up. No program that computes the same convolutions with it is faster.
"""

import argparse
import collections
import time

import numpy as np

from keras_msrnn import backend, build
from keras_msrnn.benchmark import SIZES


def recorded_convolutions(model, frame):
    """Counts of `(input shape, kernel shape, strides, padding)` in one step in time."""
    counts = collections.Counter()
    original = backend.convolution

    def convolution(inputs, kernel, bias=None, strides=1, padding="same"):
        counts[tuple(inputs.shape), tuple(kernel.shape), strides, padding] += 1
        return original(inputs, kernel, bias, strides, padding)

    try:
        backend.convolution = convolution
        model.step(frame, model.get_initial_state(frame.shape[0], frame.shape[1:3]))
    finally:
        backend.convolution = original
    return counts


def seconds(input_shape, kernel_shape, strides, padding, rounds):
    """Processor seconds of a convolution forward, and with its backward pass: lower quartiles."""
    import torch

    inputs = torch.rand(input_shape, requires_grad=True)
    kernel = torch.rand(kernel_shape, requires_grad=True)
    bias = torch.zeros(kernel_shape[-1], requires_grad=True)

    def forward():
        return backend.convolution(inputs, kernel, bias, strides, padding)

    def both():
        outputs = forward()
        torch.autograd.grad(outputs, [inputs, kernel, bias], outputs.detach())

    times = []
    for _ in range(rounds + 1):
        moments = [time.process_time()]
        for function in (torch.no_grad()(forward), both):
            function()
            moments.append(time.process_time())
        times.append(np.diff(moments))
    return np.quantile(times[1:], 0.25, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="predrnn")
    parser.add_argument("--plain", dest="multiscale", action="store_false")
    parser.add_argument("--size", choices=tuple(SIZES), default="S")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    import keras

    if keras.backend.backend() != "torch":
        raise SystemExit("The convolutions are timed in PyTorch: set KERAS_BACKEND=torch.")
    import torch

    torch.set_num_threads(1)
    size = SIZES[options.size]
    model = build(options.model, options.multiscale, filters=size["filters"], channels=1)
    frame = torch.rand(size["batch"], size["height"], size["height"], 1)
    counts = recorded_convolutions(model, frame)
    steps = size["context"] + size["horizon"] - 1
    totals = np.zeros(2)
    for (inputs, kernel, strides, padding), count in counts.items():
        forward, both = seconds(inputs, kernel, strides, padding, options.rounds)
        totals += steps * count * np.array([forward, both])
        print(
            f"{inputs} * {kernel}: {1e3 * forward:.2f} ms forward, {1e3 * both:.2f} ms with the "
            f"backward pass, {steps * count} times"
        )
    forecast, step = 1e3 * totals
    print(f"convolutions of a forecast: {forecast:.0f} ms, of a training step: {step:.0f} ms")


if __name__ == "__main__":
    main()
