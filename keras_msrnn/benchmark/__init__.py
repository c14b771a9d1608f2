"""Speed and memory of the models, beside a plain eager PyTorch program of the same models.

Each side works in a process of its own, so that neither library's threads, allocator or settings
touch the other's. The two take turns, step by step, and each waits idly for the other.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from keras_msrnn.benchmark import table
from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.registry import find

MODELS = (
    "convlstm", "trajgru", "predrnn", "predrnn++", "mim", "motionrnn", "predrnn-v2", "preciplstm",
    "modernn", "cms-lstm", "mk-lstm",
)  # fmt: skip
SIZES = {
    "S": {"height": 32, "filters": 16, "batch": 4, "context": 5, "horizon": 5},
    "M": {"height": 64, "filters": 32, "batch": 2, "context": 10, "horizon": 10},
    "paper": {"height": 64, "filters": 64, "batch": 16, "context": 10, "horizon": 10},
}
FIT_BATCHES = 6
SIZE_MULTIPLE = 16  # the reference works on sides which all scales and blocks divide


def add_arguments(parser):
    """Adds the options of the benchmark to a parser of `argparse`; they are those of `run`."""
    add = parser.add_argument
    add("--model", default="predrnn", help="name of a model, or `all` (default: %(default)s)")
    add("--plain", dest="multiscale", action="store_false", help="all cells at one scale")
    add("--backend", choices=("tensorflow", "jax", "torch"), help="default: Keras's own setting")
    add("--size", choices=tuple(SIZES), default="S", help="default: %(default)s")
    for name in SIZES["S"]:
        add(f"--{name}", type=int, metavar="N", help="in place of that of the size")
    add("--rounds", type=int, default=10, help="training steps of each (default: %(default)s)")
    add("--dtype", default="float32", help="policy of the Keras model (default: %(default)s)")
    add("--remat", choices=("step", "sqrt"), help="see `keras_msrnn.build`")
    add(
        "--without-unused-parts",
        dest="unused_parts",
        action="store_false",
        help="the reference leaves out what the authors' code computes without using it",
    )
    add("--one-core", action="store_true", help="count processor time on one core (Linux)")
    add("--json", dest="json_path", metavar="PATH", help="also write the results to this file")


def run(
    model="predrnn",
    multiscale=True,
    *,
    backend=None,
    size="S",
    height=None,
    filters=None,
    batch=None,
    context=None,
    horizon=None,
    rounds=10,
    dtype="float32",
    remat=None,
    unused_parts=True,
    one_core=False,
    json_path=None,
) -> list[dict]:
    """Measures models against their PyTorch reference, and prints a table.

    Both start from the same weights, and must compute the same loss before they are measured. A
    time is the lower quartile of `rounds` measurements, taken in turns. The memory is that of a
    training step at its peak, above what the process holds before it.

    Args:
        model: String, the name of a model, or `"all"`.
        multiscale: Boolean, whether the cells form a pyramid of scales.
        backend: `"tensorflow"`, `"jax"` or `"torch"`; the current one by default.
        size: `"S"`, `"M"` or `"paper"`, which sets the following five.
        height: Integer, height and width of the frames in pixels, a multiple of 16.
        filters: Integer, number of channels of the cells.
        batch: Integer, number of sequences in a batch.
        context: Integer, number of frames seen.
        horizon: Integer, number of frames forecast.
        rounds: Integer, number of measurements.
        dtype: Dtype or policy of the Keras model; the reference computes in float32.
        remat: As for `keras_msrnn.build`.
        unused_parts: Boolean, whether the reference computes the parts which the authors' code
            computes, or stores, without using them.
        one_core: Boolean, whether both sides run on one and the same core, and their processor
            time is counted instead of the time that passes. So a machine that does other work as
            well still gives fair ratios. Linux only.
        json_path: Path of a file to write the results to, as JSON.

    Returns:
        A list with a dictionary for each model: `step`, `first_step`, `predict`, `next_frame` (in
        seconds) and `memory` (in bytes), each `{"reference": ..., "keras": ...}`; `fit`, seconds
        of a step of `fit`; or `error`, if several models were asked for and this one failed.

    Example:

    >>> results = run("convlstm", backend="jax", size="M", rounds=5)  # doctest: +SKIP

    Raises:
        ValueError: for an unknown model or size, or a height that the reference cannot work on.
        ImportError: if PyTorch is not installed.
        RuntimeError: if the model cannot be measured, or its loss is not the reference's.
    """
    given = {
        "height": height,
        "filters": filters,
        "batch": batch,
        "context": context,
        "horizon": horizon,
    }
    shared = {
        **_sizes(size, given),
        "multiscale": multiscale,
        "dtype": dtype,
        "remat": remat,
        "one_core": one_core,
        "rounds": positive_integer("rounds", rounds),
        "unused_parts": unused_parts,
    }
    if one_core and not hasattr(os, "sched_setaffinity"):
        raise ValueError("`one_core` needs Linux. Received: one_core=True. Leave it out.")
    if importlib.util.find_spec("torch") is None:
        raise ImportError("The reference of the benchmark needs PyTorch: `pip install torch`.")
    names = MODELS if model == "all" else [find(model)[0].name]
    machine, results = _compare_all(names, shared, backend)
    means = table.geometric_means(results)
    if len(names) > 1 and means:
        print(table.row(means))
    if json_path is not None:
        document = {
            "settings": shared,
            "machine": machine,
            "results": results,
            "geometric_mean": means,
        }
        pathlib.Path(json_path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return results


def _sizes(size, given):
    """The sizes of `SIZES[size]`, in place of which stand those that are given."""
    if size not in SIZES:
        raise ValueError(f"`size` must be one of {', '.join(SIZES)}. Received: size={size!r}.")
    sizes = {
        name: positive_integer(name, SIZES[size][name] if value is None else value)
        for name, value in given.items()
    }
    if sizes["height"] % SIZE_MULTIPLE:
        raise ValueError(
            f"`height` must be a multiple of {SIZE_MULTIPLE}, which the PyTorch reference needs. "
            f"Received: height={sizes['height']}."
        )
    return sizes


def _compare_all(names, shared, backend):
    """Measures models and prints their rows; returns what is known of the machine, and results."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine, results = {"cores": cores}, []
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
    if load > cores / 2 and not shared["one_core"]:
        print(
            f"This machine does other work (load {load:.1f} on {cores} cores), which slows threads "
            "that wait for each other many times over. `--one-core` gives fair ratios."
        )
    for name in names:
        try:
            versions, result = _compare(worker_settings(name, shared), backend)
            machine.update(versions)
        except RuntimeError as error:
            if len(names) == 1:
                raise
            result = {"error": str(error)}
        results.append({"model": name, **result})
        if len(results) == 1:
            print(table.heading(shared, machine), flush=True)
        print(table.row(results[-1]), flush=True)
    return machine, results


def worker_settings(name, shared):
    """What both sides of a benchmark of the model `name` need to know."""
    options = {"window": min(30, shared["height"])} if name == "preciplstm" else {}
    reference = {**options, "unused_parts": shared["unused_parts"]}
    return {**shared, "model": name, "ours": options, "reference": reference}


def _compare(settings, backend):
    """Measures one model; returns what is known of the machine, and the result."""
    rounds = settings["rounds"]
    with (
        tempfile.TemporaryDirectory() as folder,
        _Worker("reference", settings, "torch", folder) as reference,
        _Worker("keras", settings, backend, folder) as ours,
    ):
        path = os.path.join(folder, "weights.npz")
        reference.call("save_weights", path)
        ours.call("load_weights", path)
        sides = {"reference": reference, "keras": ours}
        firsts = {side: worker.call("first_step") for side, worker in sides.items()}
        machine = {**reference.call("machine"), **ours.call("machine")}
        on_cpu = machine["device"] == machine["keras_device"] == "cpu"
        # GPUs compute float32 convolutions in lower precision.
        tolerance = 1e-4 if on_cpu and settings["dtype"] == "float32" else 2e-2
        _check_losses(firsts["reference"][1], firsts["keras"][1], tolerance)
        result = {"first_step": {side: first[0] for side, first in firsts.items()}}
        for what in ("step", "predict", "next_frame"):
            for worker in sides.values():
                worker.call(what)
            times = {side: [] for side in sides}
            for _ in range(rounds):
                for side, worker in sides.items():
                    measured = worker.call(what)
                    times[side].append(measured[0] if what == "step" else measured)
            result[what] = {side: _lower_quartile(times[side]) for side in sides}
        result["fit"] = _measure_fit(ours, rounds)
        result["memory"] = {side: worker.call("memory") for side, worker in sides.items()}
    return machine, result


def _measure_fit(worker, rounds):
    """Seconds of a step in `fit`, and of a bare step between the same epochs."""
    worker.call("fit", 2)  # batches of another structure may be compiled for
    times = {"fit": [], "step": []}
    for _ in range(max(2, rounds // FIT_BATCHES)):
        times["fit"] += worker.call("fit", FIT_BATCHES)
        times["step"] += [worker.call("step")[0] for _ in range(FIT_BATCHES - 1)]
    return {name: _lower_quartile(values) for name, values in times.items()}


def _check_losses(expected, received, tolerance):
    if not abs(received - expected) <= tolerance * abs(expected):
        raise RuntimeError(
            "Both sides must compute the same loss from the same weights. "
            f"Received: {received} from the Keras model, {expected} from the PyTorch reference. "
            "No time was taken."
        )


def _lower_quartile(times):
    return float(np.quantile(times, 0.25))


class _Worker:
    """A process that measures one side; see `keras_msrnn.benchmark.worker`."""

    def __init__(self, side, settings, backend, folder):
        self.side = side
        package = pathlib.Path(__file__).parents[2]
        environment = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # On a GPU both sides share the memory.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]),
        }
        if backend is not None:
            environment["KERAS_BACKEND"] = backend
        self.log = pathlib.Path(folder) / f"{side}.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "keras_msrnn.benchmark.worker", side],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        if settings["one_core"]:  # before the libraries look how many there are
            os.sched_setaffinity(self.process.pid, {min(os.sched_getaffinity(0))})
        self._send(settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def call(self, method, *arguments):
        """Calls a method of the side, and waits for its result."""
        self._send([method, *arguments])
        answer = self.process.stdout.readline()
        if not answer:
            self._fail()
        return json.loads(answer)

    def _send(self, message):
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def _fail(self):
        code = self.process.wait()
        self.__exit__()
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
        reason = "the system killed it, perhaps for its memory" if code == -9 else lines[-1]
        raise RuntimeError(f"The process of the {self.side} side ended with code {code}: {reason}")
