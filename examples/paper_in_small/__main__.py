"""The experiment of the MS-RNN paper in small: its eight models, plain and multi-scale.

Trains each on Moving MNIST (and on KNMI radar images and TaxiBJ, if their folders are given) with
equal batches for both forms of a pair, and writes `results.csv`, `tables.md` and pictures:

    KERAS_BACKEND=jax python examples/paper_in_small --digits t10k-images-idx3-ubyte.gz

Stopped or killed, the same command goes on where it was.
"""

import argparse
import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core for each process
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import keras
import report
import training

MODELS = (
    "convlstm", "trajgru", "predrnn", "predrnnpp", "mim", "motionrnn", "predrnn-v2", "preciplstm",
)  # fmt: skip
TUNED_ON = "convlstm"


def main(arguments=None):
    options = _parse(arguments)
    folder = pathlib.Path(options.folder)
    settings = _settings(options, folder)
    sources = {"digits": options.digits, "knmi": options.knmi, "taxibj": options.taxibj}
    datasets = options.data or [name for name in sources if sources[name] or name == "digits"]
    for name in datasets:
        if name != "digits" and not sources[name]:
            raise SystemExit(f"`--data {name}` needs its folder: pass `--{name} FOLDER`.")
    pairs = list(itertools.product(range(1, options.seeds + 1), options.models, (False, True)))

    rate = options.rate
    if rate is None:
        jobs = [
            training.Job("digits", TUNED_ON, multiscale, 0, rate, options.digits, tuning=True)
            for rate, multiscale in itertools.product(options.rates, (False, True))
        ]
        rate = _best_rate(_run(jobs, settings, folder, options.processes))
        print(f"The learning rate is {rate:g}.", flush=True)
    jobs = [
        training.Job(dataset, model, multiscale, seed, rate, sources[dataset])
        for dataset in datasets
        for seed, model, multiscale in pairs
    ]
    results = _run(jobs, settings, folder, options.processes)
    report.write(folder)
    print(f"Look at {folder / 'tables.md'}, results.csv and the pictures beside it.")
    return int(len(results) < len(jobs))


def _parse(arguments):
    parser = argparse.ArgumentParser("paper_in_small", description=__doc__.split("\n")[0])
    parser.add_argument("--folder", default="paper-in-small", help="for results; goes on with them")
    parser.add_argument("--digits", help="idx file of MNIST images; by default rendered digits")
    parser.add_argument("--knmi", help="folder of KNMI radar files")
    parser.add_argument("--taxibj", help="folder of the four files of TaxiBJ")
    parser.add_argument("--data", nargs="+", choices=("digits", "knmi", "taxibj"),
                        help="by default digits and those whose folders are given")  # fmt: skip
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", type=int, default=3, help="number of trainings of each form")
    parser.add_argument("--steps", type=int, default=2000, help="batches of a training")
    parser.add_argument("--knmi-steps", type=int, default=500,
                        help="the same for the radar, of few windows")  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--filters", type=int, default=8)
    parser.add_argument("--size", type=int, default=24, help="side of a Moving MNIST frame")
    parser.add_argument("--window", type=int, default=6, help="PrecipLSTM's window of attention")
    parser.add_argument("--test-batches", type=int, default=8, help="of 32 sequences, digits")
    parser.add_argument("--rate", type=float, help="learning rate; by default the best of --rates")
    parser.add_argument("--rates", type=float, nargs="+", default=(1e-3, 3e-3, 1e-2),
                        help=f"learning rates to try on {TUNED_ON}, held-out digits")  # fmt: skip
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side")
    return parser.parse_args(arguments)


def _settings(options, folder):
    """The settings, which must be those of what the folder holds already."""
    names = [field.name for field in dataclasses.fields(training.Settings)]
    chosen = {name: getattr(options, name, keras.backend.backend()) for name in names}
    path = folder / "settings.json"
    if path.exists():
        held = json.loads(path.read_text())
        if held != chosen:
            raise SystemExit(
                f"`--folder` must hold results of the same settings. Received: {folder}, with "
                f"{held}, and now {chosen}. Choose another folder."
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        training.write_json(path, chosen)
    return training.Settings(**chosen)


def _run(jobs, settings, folder, processes):
    """The results of the jobs that worked, in order."""
    folder = folder / "runs"
    folder.mkdir(exist_ok=True)
    results = {}
    for job, outcome in _outcomes(jobs, settings, folder, processes):
        if isinstance(outcome, Exception):
            print(f"{job.name} failed: {outcome!r}", file=sys.stderr, flush=True)
            continue
        results[job.name] = outcome
        print(f"{len(results)} of {len(jobs)}: {job.name}, squared error "
              f"{outcome['scores']['squared_error_per_frame']['model']:.2f}, "
              f"{outcome['seconds']:.0f} s of processor time", flush=True)  # fmt: skip
    return [results[job.name] for job in jobs if job.name in results]


def _outcomes(jobs, settings, folder, processes):
    """Pairs of a job and its result, or what it raised, as they are done."""
    if processes == 1:
        for job in jobs:
            try:
                yield job, training.train(job, settings, folder)
            except Exception as error:  # the other trainings go on
                yield job, error
        return
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, spawn) as pool:
        waiting = {pool.submit(training.train, job, settings, folder): job for job in jobs}
        for done in concurrent.futures.as_completed(waiting):
            yield waiting[done], done.exception() or done.result()


def _best_rate(results):
    """The learning rate with the least squared error, mean of both forms."""
    errors = {}
    for result in results:
        error = result["scores"]["squared_error_per_frame"]["model"]
        errors.setdefault(result["rate"], []).append(error)
    finite = {rate: sum(e) for rate, e in errors.items() if len(e) == 2 and sum(e) == sum(e)}
    if not finite:
        raise SystemExit(
            "`--rates` must hold one with which both forms train to a finite error. Received: "
            f"errors {errors}. Try smaller ones, or choose with `--rate`."
        )
    return min(finite, key=finite.get)


if __name__ == "__main__":
    sys.exit(main())
