"""The command line: `python -m keras_msrnn` or `keras-msrnn`."""

import argparse
import importlib
import os
import sys
import textwrap

from keras_msrnn import list_models
from keras_msrnn.version import __version__

DESCRIPTION = """Multi-scale forecasters of image sequences: radar, satellites, traffic, video."""
EPILOG = """`keras-msrnn COMMAND --help` explains a command, with examples.

The backend is that of Keras, which must know it before it starts; so there is no option for it:
KERAS_BACKEND=jax keras-msrnn train ..., or tensorflow, or torch.

exit codes: 0 done, 1 failed, 2 bad arguments or data, 130 stopped by Ctrl-C"""

COMMANDS = {
    "list": (None, "list the models", "", ""),
    "demo": (
        "keras_msrnn.demo",
        "train on Moving MNIST and show the forecasts, without any download",
        "Trains a multi-scale forecaster on Moving MNIST in five to seven minutes on two cores, "
        "scores it beside persistence, and writes the model, a GIF and a PNG.",
        "keras-msrnn demo --digits train-images-idx3-ubyte.gz",
    ),
    "train": (
        "keras_msrnn.commands.train",
        "train a model on a data set or on your frames",
        "Trains a model and writes it, its scores beside persistence and pictures into a folder. "
        "Stopped or killed, it goes on with the same command, or with `keras-msrnn train FOLDER`, "
        "and ends as if nothing had happened.",
        "keras-msrnn train digits --data moving-mnist --filters 16 --patch-size 4\n"
        "keras-msrnn train rain --data knmi --path RAD_NL25_RAP_5min --horizon 6 "
        "--resize 153 140 --loss balanced\n"
        "keras-msrnn train mine --data frames.npy --model convlstm --plain",
    ),
    "evaluate": (
        "keras_msrnn.commands.evaluate",
        "score a model by lead time beside persistence",
        "Scores a run, or a model in a .keras file, by lead time beside persistence. A run knows "
        "its data; options of the data change them, such as a longer --horizon.",
        "keras-msrnn evaluate rain --thresholds 0.5 2 5 --out scores.csv\n"
        "keras-msrnn evaluate model.keras --data moving-mnist --path mnist_test_seq.npy",
    ),
    "forecast": (
        "keras_msrnn.commands.forecast",
        "forecast what follows your latest frames",
        "Forecasts from the latest frames of FRAMES and writes the forecast, in the values of the "
        "frames (mm/h for rain), a PNG and a GIF into a new folder. A run knows how its frames "
        "are read, cropped, resized and scaled.",
        "keras-msrnn forecast rain --input LATEST_RADAR_FILES --steps 6 --out nowcast\n"
        "keras-msrnn forecast model.keras --input frames.npy --out forecast",
    ),
    "tune": (
        "keras_msrnn.tuning.command",
        "search for an architecture on Moving MNIST",
        "Searches scales, cells and filters with KerasTuner on Moving MNIST within a budget, "
        "prints the trials, and writes the best model. Started again, it continues.",
        "keras-msrnn tune search --trials 20 --max-memory 40",
    ),
    "profile": (
        "keras_msrnn.commands.profile",
        "tell what models cost before they run",
        "Prints parameters, multiply-adds and memory of models by analysis, the plain form beside "
        "the multi-scale one.",
        "keras-msrnn profile --model predrnn --height 500 --batch-size 1 --remat step",
    ),
    "benchmark": (
        "keras_msrnn.benchmark",
        "measure speed and memory beside a plain PyTorch program",
        "Measures training steps, forecasts and memory on this machine, beside an eager PyTorch "
        "program of the same model, step by step in turns, and prints the ratios.",
        "keras-msrnn benchmark --model predrnn --size M",
    ),
}  # fmt: skip


def main(arguments=None):
    """Runs the command line; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _make_parser(arguments)
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    if options.pop("version"):
        print(__version__)
        return 0
    if command is None:
        parser.print_help()
        return 2
    if command == "list":
        print(*list_models(), sep="\n")
        return 0
    return _run(command, options)


def _run(command, options):
    bad_input = (ValueError, TypeError, FileNotFoundError, FileExistsError, NotADirectoryError,
                 IsADirectoryError)  # fmt: skip
    try:
        importlib.import_module(COMMANDS[command][0]).run(**options)
    except KeyboardInterrupt:
        again = {
            "train": f"`keras-msrnn train {options.get('folder')}`",
            "tune": "the same command",
        }
        more = f"; {again[command]} goes on where it was" if command in again else ""
        print(f"\nkeras-msrnn {command}: stopped{more}.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except bad_input as error:
        print(f"keras-msrnn {command}: {error}", file=sys.stderr)
        return 2
    except (OSError, ImportError, RuntimeError, MemoryError) as error:
        print(f"keras-msrnn {command}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _make_parser(arguments):
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="keras-msrnn", description=DESCRIPTION, epilog=EPILOG, formatter_class=plain
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (module, summary, description, examples) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=description or None,
            formatter_class=plain,
        )
        if module is not None and name in arguments[:1]:  # the others are not imported
            importlib.import_module(module).add_arguments(command)
            command.description = textwrap.fill(description, 80)
            indented = textwrap.indent(examples, "  ")
            command.epilog = "\n\n".join(
                [*filter(None, [command.epilog]), f"examples:\n{indented}"]
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
