"""One training step on frames as large as a radar image, and the memory that it took.

    python examples/large_frames.py
    python examples/large_frames.py --remat none --height 128
    KERAS_BACKEND=torch python examples/large_frames.py --dtype mixed_bfloat16

The step is that of a multi-scale PredRNN with 64 filters, 10 -> 10 frames of 500 x 500 pixels, one
sequence. With `--steps 2` it runs twice, for a time without compilation. The memory is that of the
whole process at its peak, as Linux and macOS count.
"""

import argparse
import resource
import sys
import time

import keras
import numpy as np

import keras_msrnn


def peak_memory():
    """Bytes of this process at its peak."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="ms-predrnn")
    parser.add_argument("--height", type=int, default=500)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--frames", type=int, default=10, help="seen, and as many forecast")
    parser.add_argument("--remat", choices=("none", "step", "sqrt"), default="sqrt")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()

    remat = None if options.remat == "none" else options.remat
    model = keras_msrnn.build(
        options.model, filters=options.filters, remat=remat, dtype=options.dtype, seed=0
    )
    shape = (1, 2 * options.frames, options.height, options.height, 1)
    sequence = np.random.default_rng(0).uniform(size=shape).astype("float32")
    context, future = np.split(sequence, 2, axis=1)
    costs = keras_msrnn.profile(model, context.shape[1:], horizon=options.frames)
    print(
        f"{options.model} on {keras.backend.backend()}, {options.dtype}, remat={remat}, "
        f"{options.height} x {options.height} pixels: {costs.training_memory / 1e9:.1f} GB by "
        f"analysis, {peak_memory() / 1e9:.1f} GB before the first step",
        flush=True,
    )
    for step in range(options.steps):
        start, processor = time.perf_counter(), time.process_time()
        history = model.fit(context, future, batch_size=1, verbose=0)
        print(
            f"step {step + 1}: loss {history.history['loss'][0]:.6g}, "
            f"{time.perf_counter() - start:.0f} s, {time.process_time() - processor:.0f} s of "
            f"processors, {peak_memory() / 1e9:.1f} GB at the peak",
            flush=True,
        )


if __name__ == "__main__":
    main()
