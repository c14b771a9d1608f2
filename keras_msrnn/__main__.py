"""The command line: `python -m keras_msrnn` or `keras-msrnn`."""

import argparse
import sys

from keras_msrnn import benchmark, demo, list_models
from keras_msrnn.tuning import command as tuning
from keras_msrnn.version import __version__


def main(arguments=None):
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="keras-msrnn", description="Multi-scale forecasters of image sequences."
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser("list", help="list the models")
    demo_parser = commands.add_parser(
        "demo",
        help="train on Moving MNIST and show the forecasts, without any download",
        description="Trains a multi-scale forecaster on Moving MNIST in five to six minutes on two "
        "cores, scores it beside persistence, and writes the model, a GIF and a PNG.",
    )
    add = demo_parser.add_argument
    add("--model", default="predrnn", help="name of the model (default: %(default)s)")
    add("--digits", metavar="PATH", help="MNIST idx file to take the digits from")
    add("--out", metavar="FOLDER", help="new folder for the results")
    add("--epochs", type=int, default=10, help="default: %(default)s")
    add("--batches", type=int, default=430, help="per epoch (default: %(default)s)")
    add("--seed", type=int, default=0, help="default: %(default)s")
    benchmark_parser = commands.add_parser(
        "benchmark",
        help="measure speed and memory beside a plain PyTorch program",
        description="Measures training steps, forecasts and memory on this machine, beside an "
        "eager PyTorch program of the same model, step by step in turns, and prints the ratios.",
    )
    benchmark.add_arguments(benchmark_parser)
    tune_parser = commands.add_parser(
        "tune",
        help="search for an architecture on Moving MNIST",
        description="Searches scales, cells and filters with KerasTuner on Moving MNIST within a "
        "budget, prints the trials, and writes the best model. Started again, it continues.",
    )
    tuning.add_arguments(tune_parser)
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")

    if options.pop("version"):
        print(__version__)
        return 0
    if command is None:
        parser.print_help()
        return 2
    runs = {"list": lambda: print(*list_models(), sep="\n"), "demo": demo.run,
            "benchmark": benchmark.run, "tune": tuning.run}  # fmt: skip
    try:
        runs[command](**options)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"keras-msrnn {command}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
