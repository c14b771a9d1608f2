"""One side of the benchmark, in a process of its own, which measures what it is told to.

`python -m keras_msrnn.benchmark.worker SIDE` reads the settings from its first line of input, then
one JSON list `[method, *arguments]` from each line, and answers each with a line of JSON.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import time

import numpy as np

PREDICTED_BATCHES = 4

clock = time.perf_counter


def frames(settings):
    """Blurred noise that drifts: `(batch, time, height, width, 1)`."""
    height, time_steps = settings["height"], settings["context"] + settings["horizon"]
    base = np.random.default_rng(0).uniform(size=(settings["batch"], height, height, 1))
    base = sum(np.roll(base, (i, j), (1, 2)) for i in range(3) for j in range(3)) / 9
    moved = [np.roll(base, (t, t), (1, 2)) for t in range(time_steps)]
    return np.stack(moved, axis=1).astype("float32")


class ReferenceSide:
    """The PyTorch reference."""

    def __init__(self, settings):
        import torch

        from keras_msrnn.benchmark.reference import Reference

        torch.manual_seed(0)
        self.settings = settings
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model = Reference(
            settings["model"], settings["multiscale"], settings["filters"], **settings["reference"]
        )
        self.model = model.to(self.device)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
        self.frames = torch.from_numpy(frames(settings)).movedim(-1, 2).contiguous()
        self.frames = self.frames.to(self.device)

    def machine(self):
        import torch

        return {"torch": torch.__version__, "device": _torch_device()}

    def save_weights(self, path):
        weights = {name: w.cpu().numpy() for name, w in self.model.state_dict().items()}
        np.savez(path, **weights)

    def step(self):
        """Seconds of one training step, and its loss."""
        start = clock()
        self.optimizer.zero_grad()
        loss = self.model.loss(self.frames, self.settings["horizon"])
        loss.backward()
        self.optimizer.step()
        loss = loss.item()  # waits for the device
        return clock() - start, loss

    first_step = step

    def _forecast(self, horizon, batches):
        import torch

        start = clock()
        self.model.eval()
        context = self.frames[:, : self.settings["context"]]
        with torch.no_grad():
            for _ in range(batches):
                self.model(context, horizon)[0][:, -horizon:].cpu().numpy()
        self.model.train()
        return clock() - start

    def predict(self):
        """Seconds of the forecast of one batch, of several forecast one after the other."""
        return self._forecast(self.settings["horizon"], PREDICTED_BATCHES) / PREDICTED_BATCHES

    def next_frame(self):
        """Seconds of a forecast of one frame from the whole context."""
        return self._forecast(1, 1)

    def memory(self):
        """Bytes at the peak of a training step above those held before it."""
        return peak_memory(self.step, torch_memory())


class KerasSide:
    """The Keras model on the backend that `KERAS_BACKEND` names."""

    def __init__(self, settings):
        import keras_msrnn

        self.settings = settings
        self.model = keras_msrnn.build(
            settings["model"],
            settings["multiscale"],
            filters=settings["filters"],
            channels=1,
            horizon=settings["horizon"],
            sampling=None,
            dtype=settings["dtype"],
            remat=settings["remat"],
            **settings["ours"],
        )
        sequence = frames(settings)
        self.context = sequence[:, : settings["context"]]
        self.future = sequence[:, settings["context"] :]
        self.stream = self.model.stream()
        self._bare_step = None

    def machine(self):
        import keras

        backend = keras.backend.backend()
        version = importlib.import_module(backend).__version__
        if backend == "torch":
            device = _torch_device()
        elif backend == "jax":
            import jax

            device = jax.devices()[0].device_kind
        else:
            import tensorflow as tf

            device = "GPU" if tf.config.list_physical_devices("GPU") else "cpu"
        return {
            "backend": backend,
            backend: version,
            "keras": keras.__version__,
            "keras_device": device,
        }

    def load_weights(self, path):
        from keras_msrnn.convert import load_reference_weights

        load_reference_weights(self.model, dict(np.load(path)))

    def first_step(self):
        """Seconds of `fit` on the first batch, in which the step is compiled, and the loss."""
        start = clock()
        history = self.model.fit(
            self.context, self.future, batch_size=self.settings["batch"], verbose=0
        )
        return clock() - start, history.history["loss"][0]

    def step(self):
        """Seconds of one training step, and the mean loss of all steps so far."""
        if self._bare_step is None:
            self._bare_step = bare_step(self.model, self.context, self.future)
        start = clock()
        loss = self._bare_step()
        return clock() - start, loss

    def fit(self, batches):
        """Seconds of each step of one epoch of `fit`, but the first."""
        import keras

        ends = []

        def end(batch, logs):
            float(logs["loss"])  # waits for the device
            ends.append(clock())

        self.model.fit(
            np.repeat(self.context, batches, axis=0),
            np.repeat(self.future, batches, axis=0),
            batch_size=self.settings["batch"],
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=end)],
            verbose=0,
        )
        return np.diff(ends).tolist()

    def predict(self):
        """Seconds of the forecast of one batch, of several in one call."""
        context = np.repeat(self.context, PREDICTED_BATCHES, axis=0)
        batch = self.settings["batch"]
        start = clock()
        self.model.predict(context, batch_size=batch, verbose=0)
        return (clock() - start) / PREDICTED_BATCHES

    def next_frame(self):
        """Seconds of a forecast of one frame, from one frame and the states of a stream."""
        start = clock()
        self.stream.update(self.context[:, 0], steps=1)
        return clock() - start

    def memory(self):
        """Bytes at the peak of a training step above those held before it."""
        import keras

        memories = {"tensorflow": tensorflow_memory, "jax": jax_memory, "torch": torch_memory}
        return peak_memory(self.step, memories[keras.backend.backend()]())


def _torch_device():
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def bare_step(model, context, future):
    """What `fit` calls for each batch, as a function that waits and returns the mean loss."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        batches = iter(tf.data.Dataset.from_tensors((context, future)).repeat())
        return lambda: float(model.train_function(batches)["loss"])
    batch = keras.ops.convert_to_tensor(context), keras.ops.convert_to_tensor(future)
    if backend == "torch":
        return lambda: float(model.train_function([batch])["loss"])
    import jax
    import jax.numpy as jnp

    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    # A step consumes its state; the variables of the model keep theirs.
    state = jax.tree.map(jnp.copy, tuple([v.value for v in group] for group in variables))

    def step():
        nonlocal state
        logs, state = model.train_function(state, iter([batch]))
        return float(jax.block_until_ready((logs, state))[0]["loss"])

    return step


def peak_memory(step, memory):
    """Bytes at the peak of `step` above those held before it; `None` where nobody knows.

    A step too small for the system to see gives `None` too.
    """
    if memory is None:
        return None
    step()
    gc.collect()
    peaks = []
    for _ in range(3):  # the system may load or drop pages of libraries meanwhile
        memory.reset()
        before = memory.used()
        step()
        peaks.append(memory.peak() - before)
    peak = int(np.median(peaks))
    return peak if peak > 0 else None


class Memory:
    """The bytes in use on a device, now and at most since `reset`, as three functions."""

    def __init__(self, reset, used, peak):
        self.reset, self.used, self.peak = reset, used, peak


def cpu_memory():
    """The memory of this process as Linux counts it; `None` elsewhere."""
    if not os.path.exists("/proc/self/clear_refs"):
        return None
    import resource

    def reset():
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def used():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    return Memory(reset, used, lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def torch_memory():
    import torch

    if not torch.cuda.is_available():
        return cpu_memory()
    cuda = torch.cuda
    return Memory(cuda.reset_peak_memory_stats, cuda.memory_allocated, cuda.max_memory_allocated)


def jax_memory():
    import jax

    device = jax.devices()[0]
    if device.platform == "cpu":
        return cpu_memory()
    # The peak cannot be reset: it is that of the process, compilation included.
    return Memory(
        lambda: None,
        lambda: device.memory_stats()["bytes_in_use"],
        lambda: device.memory_stats()["peak_bytes_in_use"],
    )


def tensorflow_memory():
    import tensorflow as tf

    # TensorFlow keeps freed memory of the CPU for itself: the system cannot tell.
    name = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    info = tf.config.experimental.get_memory_info
    return Memory(
        lambda: tf.config.experimental.reset_memory_stats(name),
        lambda: info(name)["current"],
        lambda: info(name)["peak"],
    )


def main():
    # Libraries may print: the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    global clock
    clock = time.process_time if settings["one_core"] else time.perf_counter
    side = {"reference": ReferenceSide, "keras": KerasSide}[sys.argv[1]](settings)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        print(json.dumps(getattr(side, method)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
