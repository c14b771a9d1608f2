"""`keras-msrnn profile`: what models cost, before they run."""

import json

from keras_msrnn.commands.model import build_model, title
from keras_msrnn.commands.options import add_model, make_group
from keras_msrnn.commands.run_folder import write_new
from keras_msrnn.profiling import compare
from keras_msrnn.registry import list_models

SHAPE = {"height": 64, "width": None, "channels": 1, "context": 10, "horizon": 10, "batch_size": 16}


def add_arguments(parser):
    """Adds the options of `run` to a parser of the command line."""
    add_model(parser, several=True)
    add = make_group(parser, "frames")
    add("--height", type=int, metavar="PIXELS", help="(64)")
    add("--width", type=int, metavar="PIXELS", help="(the height)")
    add("--channels", type=int, metavar="N", help="(1)")
    add("--context", type=int, metavar="N", help="frames that the model sees (10)")
    add("--horizon", type=int, metavar="N", help="frames that it forecasts (10)")
    add("--batch-size", type=int, metavar="N", help="for which the memory is given (16)")
    add = make_group(parser, "output")
    add("--measure", action="store_true", help="ask the backend as well, where it can tell")
    add("--details", action="store_true", help="also a table of each model's parts")
    add("--json", metavar="FILE", help="also write the comparison to this new file")


def run(*, measure=False, details=False, **given):
    """Prints what models cost, plain beside multi-scale, by analysis."""
    path = given.pop("json", None)
    shape = {**SHAPE, **{name: given.pop(name) for name in SHAPE if name in given}}
    horizon, batch_size = shape.pop("horizon"), shape.pop("batch_size")
    height, channels = shape["height"], shape["channels"]
    frames = (shape["context"], height, shape["width"] or height, channels)
    names = given.pop("model", ["predrnn"])
    models = {}
    for name in list_models() if names == ["all"] else names:
        for plain in (True, False):
            options = {**given, "model": name, "plain": plain}
            if plain and len(options.get("scales", ())) > 1:
                options["scales"] = [len(options["scales"])]
            models[title(options)] = build_model(options, channels=channels)
    comparison = compare(models, frames, horizon=horizon, batch_size=batch_size, measure=measure)
    print(
        f"{frames[0]} -> {horizon} frames of {frames[1]} x {frames[2]} x {channels}; memory for "
        f"batches of {batch_size}. In %: of {next(iter(models))}.\n"
    )
    print(comparison)
    for one in comparison.profiles if details else ():
        print(f"\n{one}")
    if path is not None:
        write_new(path, json.dumps(comparison.to_dict(), indent=1) + "\n")
