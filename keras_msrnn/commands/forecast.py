"""`keras-msrnn forecast`: what follows the latest frames."""

import json
import pathlib

import numpy as np

from keras_msrnn import data
from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.commands import datasets, pictures
from keras_msrnn.commands.options import add_frames, make_group
from keras_msrnn.commands.run_folder import find_model, load_model

READERS = ("knmi", "odim", "germany", datasets.FRAMES)
DEFAULTS = {"context": 10, "zr": ["marshall-palmer"], "scaling": None, "dataset": None}


def add_arguments(parser):
    """Adds the options of `run` to a parser of the command line."""
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="folder of a run, or .keras file")
    add = parser.add_argument
    add(
        "--input",
        metavar="FRAMES",
        required=True,
        help="folder of radar files or of images, .npy or HDF5 file; its last frames count",
    )
    add("--out", metavar="FOLDER", required=True, help="new folder for the forecast")
    add = make_group(parser, "frames")
    add("--steps", type=int, metavar="N", help="frames to forecast (the model's horizon)")
    add("--context", type=int, metavar="N", help="frames that the model sees (the run's, or 10)")
    add("--reader", choices=READERS, help="of the frames (that of the run's data, or frames)")
    add_frames(parser)


def run(model, *, input, out, **given):
    """Forecasts from the latest frames, and writes the forecast, a PNG and a GIF.

    Args:
        model: Folder of a run, or path of a model.
        input: Path of the frames.
        out: Folder for the forecast, which must not exist.
        **given: Arguments by name, as the command line has them.
    """
    out = pathlib.Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists. Choose another `--out`: nothing is overwritten.")
    if not pathlib.Path(input).exists():
        raise FileNotFoundError(f"`--input` must be a file or a folder. There is no {input}.")
    path, run = find_model(model)
    steps = given.pop("steps", None)
    windows = _open_latest(input, run, given)
    forecaster = load_model(path)
    steps = positive_integer("steps", forecaster.horizon_or() if steps is None else steps)
    context = np.concatenate(windows[len(windows) - 1], axis=1)[:, -_context(run, given) :]
    if forecaster.fill_missing is None and np.isnan(context).any():
        raise ValueError(
            "The frames have missing values (NaN), and the model was not built with "
            "`--fill-missing`, so that it cannot forecast from them."
        )
    forecast = forecaster.forecast(context, steps)
    out.mkdir(parents=True)
    values = windows.inverse(forecast)[0].astype("float32")
    np.save(out / "forecast.npy", values)
    about = _about(windows, path, input, values)
    (out / "forecast.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    pictures.draw_sample(out, context[0], None, forecast[0], windows.units)
    _print(out, about, context.shape[1])


def _context(run, given):
    recorded = DEFAULTS["context"] if run is None else run.record["data"]["context"]
    return positive_integer("context", given.get("context", recorded))


def _open_latest(path, run, given):
    """`Windows` whose last one, context and future together, are the latest frames."""
    given, facts = dict(given), {} if run is None else run.record["data"]
    recorded = {} if run is None else run.arguments
    reader = datasets.kind(recorded["data"]) if recorded else datasets.FRAMES
    reader = given.pop("reader", reader if reader in READERS else datasets.FRAMES)
    options = {**DEFAULTS, **{k: v for k, v in recorded.items() if v is not None}, **given}
    frames = datasets.open_frames(reader, path, options)
    scaling = datasets.own_scaling(options["scaling"], options["zr"])
    if "scaling" not in given and isinstance(facts.get("scaling"), list):
        scaling = {"scaling": tuple(facts["scaling"])}  # as it was fitted
    names = [name for name in ("spacing", "crop", "resize", "axes") if name in options]
    context = _context(run, given)
    try:
        windows = data.Windows(
            frames,
            max(context - 1, 1),
            1,
            batch_size=1,
            **{name: options[name] for name in names},
            **(scaling if reader == datasets.FRAMES else {}),
        )
    except ValueError as error:
        if "A window must fit" not in str(error):
            raise
        windows = None
    if windows is None or windows.starts[-1] + windows._extent != windows._total:
        raise ValueError(
            f"`--input` must end in {max(context, 2)} frames without a gap. Received: {path}, "
            "which does not. `--context` takes another number of them."
        )
    return windows


def _about(windows, model, path, values):
    """What the forecast is, for `forecast.json`."""
    about = {
        "model": str(pathlib.Path(model).absolute()),
        "input": str(pathlib.Path(path).absolute()),
        "shape": list(values.shape),
        "axes": "time, height, width, channels",
        "values": "mm/h" if windows.scaling == "rain" else "as in the frames",
    }
    if windows.times is not None:
        last, step = windows.times[-1, -1], np.diff(windows.times[-1, -2:])[0]
        about["last_frame"] = str(last)
        about["times"] = [str(last + (n + 1) * step) for n in range(len(values))]
    return about


def _print(out, about, context):
    times = about.get("times")
    until = f", {times[0]} to {times[-1]}" if times else ""
    after = f" up to {about['last_frame']}" if times else ""
    print(f"Forecast of {about['shape'][0]} frames{until}, from {context} frames{after}.")
    print(f"  {out / 'forecast.npy'}  {' x '.join(map(str, about['shape']))}, {about['values']}")
    print(f"  {out / 'forecast.png'}  the frames, also as .gif")
    print(f"  {out / 'forecast.json'}  {'times, ' if times else ''}model and input")
