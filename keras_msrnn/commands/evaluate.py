"""`keras-msrnn evaluate`: scores by lead time, beside persistence."""

import pathlib

from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.commands import datasets, train
from keras_msrnn.commands.model import title
from keras_msrnn.commands.options import DATA_HELP, add_data, add_scores
from keras_msrnn.commands.run_folder import find_model, load_model
from keras_msrnn.verification import evaluate_forecast

OWN = ("thresholds", "first_batches", "part", "out", "seed", "workers")


def add_arguments(parser):
    """Adds the options of `run` to a parser of the command line."""
    parser.epilog = DATA_HELP
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="folder of a run, or .keras file")
    add_data(parser)
    add = add_scores(parser)
    add("--part", choices=("test", "validation", "training"), help="of the data (test)")
    add("--first-batches", type=int, metavar="N", help="score these only")
    add("--seed", type=int, metavar="N", help="of Moving MNIST (that of the run, or 0)")
    add("--out", nargs="+", metavar="FILE", help="new .csv and .json files for the scores")


def run(model, **given):
    """Scores a model by lead time beside persistence; prints the table, and writes it.

    Args:
        model: Folder of a run, or path of a model.
        **given: Arguments by name, as the command line has them. Those of the data change what
            the run was trained on.

    Returns:
        The `ForecastScores`.
    """
    files = [pathlib.Path(file) for file in given.get("out", ())]
    _check_files(files)
    path, run = find_model(model)
    arguments = {} if run is None else run.arguments
    options = data_options(run, {k: v for k, v in given.items() if k not in OWN})
    seed = given.get("seed", arguments.get("seed", 0))
    parts = datasets.open_parts(options, seed, positive_integer("workers", given.get("workers", 1)))
    dataset = getattr(parts, given.get("part", "test"))
    name = path.stem if run is None else title(arguments)
    scores = evaluate_forecast(
        {name: load_model(path)},
        dataset,
        thresholds=given.get("thresholds", arguments.get("thresholds")),
        batches=given.get("first_batches"),
    )
    print(scores)
    for file in files:
        (scores.to_json if file.suffix == ".json" else scores.to_csv)(file)
    return scores


def data_options(run, given):
    """Options of the data: those of the run, changed by what is given."""
    if run is not None:
        recorded, given = train.data_options(run.arguments), datasets.absolute(given)
        if given.get("data", recorded["data"]) == recorded["data"]:
            given = {**recorded, **given}
    if "data" not in given:
        raise ValueError(
            "`--data` must say what to score the model on, as it belongs to no run: "
            f"{', '.join(datasets.known())}, or the path of your frames."
        )
    return datasets.resolve(given)


def _check_files(files):
    for file in files:
        if file.suffix not in (".csv", ".json"):
            raise ValueError(f"`--out` must end in .csv or .json. Received: {file}.")
        if file.exists():
            raise FileExistsError(f"{file} exists. Choose another name: nothing is overwritten.")
        if not file.absolute().parent.is_dir():
            raise FileNotFoundError(f"`--out` must be in a folder that exists. Received: {file}.")
