"""The command line: `python -m keras_msrnn` or `keras-msrnn`."""

import argparse
import sys


def main(arguments=None):
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="keras-msrnn", description="Multi-scale forecasters of image sequences."
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser("list", help="list the models")
    demo = commands.add_parser(
        "demo",
        help="train on Moving MNIST and show the forecasts, without any download",
        description="Trains a multi-scale forecaster on Moving MNIST in five to six minutes on two "
        "cores, scores it beside persistence, and writes the model, a GIF and a PNG.",
    )
    demo.add_argument("--model", default="predrnn", help="name of the model (default: %(default)s)")
    demo.add_argument("--digits", metavar="PATH", help="MNIST idx file to take the digits from")
    demo.add_argument("--out", metavar="FOLDER", help="new folder for the results")
    demo.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    demo.add_argument("--batches", type=int, default=350, help="per epoch (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")

    if options.pop("version"):
        from keras_msrnn.version import __version__

        print(__version__)
    elif command == "list":
        from keras_msrnn import list_models

        print(*list_models(), sep="\n")
    elif command == "demo":
        from keras_msrnn import demo

        try:
            demo.run(**options)
        except (ValueError, TypeError, OSError) as error:
            print(f"keras-msrnn demo: {error}", file=sys.stderr)
            return 2
    else:
        parser.print_help()
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
