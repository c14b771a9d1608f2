"""How fast data come: `python -m keras_msrnn.benchmark.data [--knmi FOLDER]`."""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time
from collections.abc import Iterator

import h5py
import numpy as np

from keras_msrnn.data import KNMI, MovingMNIST, Reflectivity, Windows

BATCH, ROUNDS, SECONDS = 16, 3, 0.5


def rate(batch, size: int = BATCH) -> float:
    """Sequences per second of `batch(i)`, which makes `size`: the best of some rounds."""
    batch(0)
    best = 0.0
    for _ in range(ROUNDS):
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS:
            batch(count)
            count += 1
        best = max(best, count * size / (time.perf_counter() - start))
    return best


def measure_windows(folder: pathlib.Path) -> Iterator[tuple[str, float]]:
    """Windows 10 -> 10 of 64 x 64 frames, shuffled, from files in `folder`."""
    frames = np.random.default_rng(0).integers(16, size=(20_000, 64, 64), dtype="uint8")
    np.save(folder / "uint8.npy", frames)
    np.save(folder / "float32.npy", frames[:8000].astype("float32"))
    with h5py.File(folder / "frames.h5", "w") as file:
        whole = {"chunks": (20, 64, 64)}
        sources = {
            "memory map, uint8": (folder / "uint8.npy", {}),
            "memory map, uint8, resized to 32 x 32": (folder / "uint8.npy", {"resize": (32, 32)}),
            "memory map, float32": (folder / "float32.npy", {}),
            "memory map, mm/h to pixels": (
                folder / "float32.npy",
                {"scaling": "rain", "units": Reflectivity()},
            ),
            "HDF5": (file.create_dataset("plain", data=frames), {}),
            "HDF5, lzf": (file.create_dataset("lzf", data=frames, compression="lzf", **whole), {}),
            "HDF5, gzip": (
                file.create_dataset("gzip", data=frames, compression="gzip", **whole),
                {},
            ),
        }
        for name, (source, options) in sources.items():
            windows = Windows(source, batch_size=BATCH, shuffle=True, **options)
            yield name, rate(lambda i, windows=windows: windows[i % (len(windows) - 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--knmi", metavar="FOLDER", help="also read the KNMI files of this folder")
    options = parser.parse_args()
    print("Sequences of 20 frames, 64 x 64, per second, in batches of 16, one thread:")
    made = MovingMNIST(batch_size=BATCH)
    print(f"  {'Moving MNIST, generated':40}{rate(lambda i: made[i % 100]):8.0f}")
    with tempfile.TemporaryDirectory() as folder:
        for name, value in measure_windows(pathlib.Path(folder)):
            print(f"  {name:40}{value:8.0f}")
    if options.knmi:
        radar = KNMI(options.knmi)
        height, width = radar.shape[1:]
        speed = rate(lambda i: radar[i % len(radar)], 1)
        print(f"KNMI images of {height} x {width} per second: {speed:.0f}")


if __name__ == "__main__":
    main()
