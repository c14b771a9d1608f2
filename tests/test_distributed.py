"""Training on several devices gives the numbers of one device; each run is a process of its own."""

import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_msrnn import sharding

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "data_parallel.py"
BACKEND = keras.backend.backend()
WAYS = {
    "tensorflow": ["two devices"],
    "jax": ["two devices", "two processes"],
    "torch": ["two processes"],
}
IGNORE = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def start(*arguments, **environment):
    """Starts Python with warnings as errors."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", IGNORE, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outputs(processes):
    """What the processes print, once all have ended well."""
    try:
        printed = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for process, (_, errors) in zip(processes, printed):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in printed]


def environments(way):
    """The environment of each process."""
    if way != "two processes":
        return [{}]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    jax = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"localhost:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    torch = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    return [
        {"KERAS_DISTRIBUTION_PROCESS_ID": rank, **jax}
        if BACKEND == "jax"
        else {"RANK": rank, "LOCAL_RANK": rank, **torch}
        for rank in "01"
    ]


def start_training(folder, way):
    """Starts the example; returns its processes and where it saves the model."""
    path = folder / f"{way}.keras"
    # PredRNN-V2 adds a loss of its own, which replicas must not share; JAX has no replicas.
    model = "ms-convlstm" if BACKEND == "jax" else "ms-predrnn-v2"
    arguments = [EXAMPLE, "--model", model, "--filters", 4, "--batches", 3]
    arguments += ["--cpu-devices", 2 if way == "two devices" else 1, "--out", path]
    return [start(*arguments, **environment) for environment in environments(way)], path


def test_data_parallel_training_equals_one_device(tmp_path):
    ways = ["one device", *WAYS[BACKEND]]
    started = [start_training(tmp_path, way) for way in ways]
    printed = outputs([process for processes, _ in started for process in processes])
    losses = [
        [float(line.split()[-1]) for line in lines.splitlines() if line.startswith("epoch")]
        for lines in printed
    ]
    losses = [epochs for epochs in losses if epochs]
    assert len(losses) == len(ways)  # only the first process prints
    weights = [keras.saving.load_model(path).get_weights() for _, path in started]
    for way, way_losses, way_weights in zip(ways[1:], losses[1:], weights[1:]):
        np.testing.assert_allclose(way_losses, losses[0], rtol=1e-5, err_msg=way)
        for theirs, ours in zip(way_weights, weights[0]):
            np.testing.assert_allclose(theirs, ours, atol=1e-5, err_msg=way)


SPATIAL = """
import contextlib, sys
import keras, numpy as np, keras_msrnn
from keras_msrnn.sharding import SpatialParallel, step_memory

frames = np.random.default_rng(0).uniform(size=(2, 4, 128, 16, 1)).astype("float32")
context, future = frames[:, :2], frames[:, 2:]
devices = keras.distribution.list_devices()

def make():
    return keras_msrnn.build(
        sys.argv[1], filters=4, scales=(1, 2, 1), channels=1, seed=0, remat="step"
    )

def train(scope):
    with scope:
        model = make()
        loss = model.fit(context, future, epochs=3, shuffle=False, verbose=0).history["loss"]
        return loss, model.predict(context, verbose=0), model.get_weights()

memory = [step_memory(make(), context.shape, horizon=2)]
for shards in (2, 4):
    with SpatialParallel(devices=devices[:shards]).scope():
        memory.append(step_memory(make(), context.shape, horizon=2))
losses, forecast, weights = train(contextlib.nullcontext())
for shards in [int(argument) for argument in sys.argv[2:]]:
    ours = train(SpatialParallel(shards).scope())
    np.testing.assert_allclose(ours[0], losses, rtol=1e-5)
    np.testing.assert_allclose(ours[1], forecast, atol=1e-5)
    for a, b in zip(ours[2], weights):
        np.testing.assert_allclose(a, b, atol=1e-5)
with SpatialParallel(4).scope():
    try:
        make().fit(context[:, :, :30], future[:, :, :30], verbose=0)
    except ValueError as error:
        assert "must divide by `height_shards`. Received: height=30 for 4" in str(error)
    else:
        raise AssertionError("no error for 30 rows in 4 strips")
print(*memory)
"""


# Four strips of whole frames; two strips of each half of the batch.
@pytest.mark.parametrize("model, shards", [("ms-convlstm", 2), ("ms-predrnn", 4)])
def test_frames_divided_over_devices(model, shards):
    if BACKEND != "jax":
        with pytest.raises(ValueError, match="needs the JAX backend"):
            sharding.SpatialParallel(2)
        with pytest.raises(ValueError, match="needs the JAX backend"):
            sharding.step_memory(None, (1, 2, 8, 8, 1), horizon=1)
        return
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    [printed] = outputs([start("-c", SPATIAL, model, shards, XLA_FLAGS=flags)])
    one, two, four = map(int, printed.split())
    assert two < 0.58 * one
    assert four < 0.33 * one


def test_devices_that_cannot_be_divided():
    if BACKEND == "jax":
        with pytest.raises(ValueError, match="must divide the number of devices. Received"):
            sharding.SpatialParallel(2, devices=["cpu:0"] * 3)
        with pytest.raises(ValueError, match="`height_shards` must be"):
            sharding.SpatialParallel(0)
