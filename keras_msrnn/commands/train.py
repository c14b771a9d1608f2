"""`keras-msrnn train`: a training in a folder, which continues when it was killed."""

import sys

import keras
import numpy as np

from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.commands import checkpoint, datasets, pictures
from keras_msrnn.commands.model import LOSSES, build_model, make_loss, make_optimizer, title
from keras_msrnn.commands.options import (
    DATA_HELP,
    MODEL_DEFAULTS,
    add_data,
    add_model,
    add_scores,
    make_group,
)
from keras_msrnn.commands.run_folder import RunFolder, load_model
from keras_msrnn.forecast_scores import ForecastScores
from keras_msrnn.sampling import SCHEDULES
from keras_msrnn.tuning.files import lock
from keras_msrnn.verification import evaluate_forecast

DEFAULTS = {
    **MODEL_DEFAULTS,
    "epochs": 20,
    "learning_rate": 3e-4,
    "schedule": "constant",
    "loss": "paper",
    "sampling": "auto",
    "fill_missing": None,
    "seed": 0,
    "thresholds": None,
}


def add_arguments(parser):
    """Adds the options of `run` to a parser of the command line."""
    parser.epilog = DATA_HELP
    parser.add_argument("folder", help="folder of the run; one that has begun is continued")
    add_data(parser)
    add_model(parser)
    add = make_group(parser, "training")
    add("--epochs", type=int, metavar="N", help="(20)")
    add("--learning-rate", type=float, metavar="RATE", help="of Adam (3e-4)")
    add("--schedule", choices=("constant", "cosine"), help="of the learning rate (constant)")
    add("--loss", choices=LOSSES, help="paper: squared plus absolute error; balanced: that, "
        "weighted by rain (paper)")  # fmt: skip
    add(
        "--sampling",
        choices=("auto", *SCHEDULES, "none"),
        help="when true frames are seen after the context (auto: the model's own)",
    )
    add("--fill-missing", type=float, metavar="VALUE", help="seen in place of NaN (rain: 0)")
    add("--seed", type=int, metavar="N", help="of weights, data and sampling (0)")
    add_scores(parser)


def run(folder, **given):
    """Trains a model, or continues its training; writes all that comes of it.

    Args:
        folder: The folder of the run.
        **given: Arguments by name, as the command line has them. In a run that has begun, what
            is given must be what it began with.
    """
    run = RunFolder(folder)
    workers = given.pop("workers", 1)
    if run.record is not None:
        run.check_arguments(datasets.absolute(given))
        run.check_backend()
    arguments = _normalise({**run.arguments, **given})
    _check(arguments)
    options = data_options(arguments)
    parts = datasets.open_parts(options, arguments["seed"], positive_integer("workers", workers))
    facts = parts.facts()
    loss = make_loss(arguments["loss"], parts.units)
    fill_missing = _check_missing(parts, arguments["fill_missing"])
    keras.utils.set_random_seed(arguments["seed"])
    steps = arguments["epochs"] * len(parts.training)
    model = build_model(
        arguments,
        channels=facts["frame"][-1],
        horizon=facts["horizon"],
        sampling=None if arguments["sampling"] == "none" else arguments["sampling"],
        fill_missing=fill_missing,
        seed=arguments["seed"],
    )
    model.compile(
        make_optimizer(arguments["learning_rate"], arguments["schedule"], steps), loss=loss
    )
    run.begin(arguments, facts)
    with lock(run.path / "run.lock"):
        _train(run, model, parts, arguments, facts)
        finish(run, parts, arguments)


def data_options(arguments):
    """Those of the arguments of a run that are of its data."""
    return {name: value for name, value in arguments.items() if name not in DEFAULTS}


def _normalise(given):
    """All arguments of a run, with defaults and absolute paths."""
    if "data" not in given:
        raise ValueError(
            "`--data` must say what to train on: " + ", ".join(datasets.known()) + ", or the path "
            "of your frames."
        )
    data = datasets.resolve(data_options(given))
    return {**data, **DEFAULTS, **{k: v for k, v in given.items() if k in DEFAULTS}}


def _check(arguments):
    positive_integer("epochs", arguments["epochs"])
    if arguments["seed"] < 0:
        raise ValueError(f"`--seed` must not be negative. Received: {arguments['seed']}.")


def _check_missing(parts, fill_missing):
    """What the model shall see in place of NaN."""
    if fill_missing is None and parts.units is not None:
        return 0.0
    if fill_missing is None and any(np.isnan(frames).any() for frames in parts.training[0]):
        raise ValueError(
            "The frames have missing values (NaN). Pass `--fill-missing 0`, or what else the "
            "model shall see there; the paper's loss and the scores leave them out."
        )
    return fill_missing


def _train(run, model, parts, arguments, facts):
    history = {}
    if run.last.is_file():
        model, history = checkpoint.load_training(run.last)
    done, epochs = len(history.get("loss", ())), arguments["epochs"]
    if done:
        checkpoint.write_history(run.path / "history.csv", history)
    height, width, channels = facts["frame"]
    print(
        f"{title(arguments)}, {model.count_params():,} weights, {keras.backend.backend()}; "
        f"{facts['context']} -> {facts['horizon']} frames of {height} x {width} x {channels}."
    )
    print(
        f"{facts['batches']['training']} batches of {arguments['batch_size']} in an epoch, "
        f"{facts['batches']['validation']} to validate on, {facts['batches']['test']} to test on."
    )
    if done == epochs:
        print(f"All {epochs} epochs are done.")
        return
    print(f"{'Goes on in' if done else 'Trains into'} {run.path}, epoch {done + 1} of {epochs}.")
    parts.training.epoch = done
    model.fit(
        parts.training,
        validation_data=parts.validation,
        initial_epoch=done,
        epochs=epochs,
        shuffle=False,  # the data shuffle themselves, by seed and epoch
        callbacks=[checkpoint.Checkpoint(run, history)],
        verbose=1 if sys.stdout.isatty() else 2,
    )


def finish(run, parts, arguments):
    """Scores the best model on the test part, and draws what there is to see."""
    scores_path = run.path / "scores.json"
    if scores_path.is_file():
        print(f"The run in {run.path} is complete: `keras-msrnn evaluate {run.path}` scores it.")
        return
    _, history = checkpoint.load_training(run.last)
    model = load_model(run.best)
    best = int(np.argmin(history["val_loss"])) + 1
    print(f"Scores the best model, of epoch {best}, on the test part.", flush=True)
    scores = evaluate_forecast(
        {title(arguments): model}, parts.test, thresholds=arguments["thresholds"]
    )
    print(f"\n{summary(scores)}\n")
    pictures.draw_history(run.path, history)
    pictures.draw_scores(run.path, scores)
    pictures.draw_forecast(run.path, model, parts.test, parts.units)
    scores.to_csv(run.path / "scores.csv", overwrite=True)
    scores.to_json(scores_path, overwrite=True)
    for path, what in contents(run):
        print(f"  {path}  {what}")


def summary(scores):
    """The table of the scores that are drawn."""
    names = pictures.names_to_draw(scores)
    models = {
        model: {n: (scores.overall(n)[model], scores.by_lead_time(n)[model]) for n in names}
        for model in scores.models
    }
    text = str(ForecastScores(models, scores.conventions))
    return "\n\n".join(text.split("\n\n")[:2])  # the file has the conventions


def contents(run):
    texts = {
        "best.keras": "the model of the least validation loss",
        "last.keras": "the model after the last epoch, from which training continues",
        "history.csv": "losses by epoch",
        "scores.csv": "scores by lead time beside persistence, also as .json",
        "training.png": "losses by epoch",
        "forecast.png": "one sequence of the test part, also as .gif",
        "run.json": "arguments, versions and data",
    }
    rows = [(run.path / name, what) for name, what in texts.items()]
    figures = sorted(run.path.glob("score_*.png"))
    rows[5:5] = [(path, "by lead time") for path in figures]
    return rows
