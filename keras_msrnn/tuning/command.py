"""`python -m keras_msrnn tune`: a search on Moving MNIST."""

import pathlib

import keras

from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.data import MovingMNIST, load_idx
from keras_msrnn.tuning.hypermodel import ErrorMemoryObjective, ForecasterHyperModel
from keras_msrnn.tuning.results import plot_pareto
from keras_msrnn.tuning.search import TUNERS, create_tuner
from keras_msrnn.tuning.space import pyramids


def add_arguments(parser):
    """Adds the options of `run` to a parser of the command line."""
    parser.add_argument("folder", help="folder of the search; one that has begun is continued")
    parser.add_argument(
        "--tuner", choices=list(TUNERS), default="random", help="default: %(default)s"
    )
    parser.add_argument("--trials", type=int, default=20, help="to train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="of a trial (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=100, help="per epoch (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--size", type=int, default=32, help="of frames (default: %(default)s)")
    parser.add_argument(
        "--models", nargs="+", default=["convlstm", "predrnn"], help="default: convlstm predrnn"
    )
    parser.add_argument(
        "--cells", nargs="+", type=int, default=[2, 3, 4, 6], help="default: 2 3 4 6"
    )
    parser.add_argument(
        "--filters", nargs="+", type=int, default=[8, 16, 32], help="default: 8 16 32"
    )
    parser.add_argument(
        "--max-memory", type=float, metavar="MB", help="limit of the training memory"
    )
    parser.add_argument("--max-parameters", type=float, metavar="N", help="limit of the weights")
    parser.add_argument(
        "--memory-exponent",
        type=float,
        metavar="P",
        help="minimise error * memory ** P instead of the error",
    )
    parser.add_argument("--digits", metavar="PATH", help="MNIST idx file to take the digits from")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")


def run(
    folder,
    *,
    tuner="random",
    trials=20,
    epochs=3,
    batches=100,
    batch_size=8,
    size=32,
    models=("convlstm", "predrnn"),
    cells=(2, 3, 4, 6),
    filters=(8, 16, 32),
    max_memory=None,
    max_parameters=None,
    memory_exponent=None,
    digits=None,
    seed=1,
):
    """Searches on Moving MNIST, 5 frames -> 5 frames; prints the trials, writes the best model.

    Args:
        folder: Folder of the search. One that has begun with the same options is continued.
        tuner: `"random"`, `"hyperband"`, `"bayesian"` or `"grid"`.
        trials: Integer, number of trials to train; Hyperband chooses it by itself.
        epochs: Integer, number of epochs of a trial.
        batches: Integer, number of batches in an epoch.
        batch_size: Integer, number of sequences in a batch.
        size: Integer, side of a frame in pixels, at least 28.
        models: Names of models.
        cells: Numbers of cells.
        filters: Numbers of filters.
        max_memory: Limit of the training memory in MB.
        max_parameters: Limit of the number of weights.
        memory_exponent: Float; the search then minimises `error * memory ** memory_exponent`.
        digits: Path of an MNIST idx file of images; by default rendered digits.
        seed: Integer, at least 1.

    Returns:
        The `Results`, or `None` in a worker of a distributed search.
    """
    epochs, trials = positive_integer("epochs", epochs), positive_integer("trials", trials)
    hypermodel = ForecasterHyperModel(
        (5, size, size, 1),
        horizon=5,
        batch_size=batch_size,
        max_training_memory=None if max_memory is None else max_memory * 1e6,
        max_parameters=max_parameters,
        model=list(models),
        scales=pyramids(cells),
        filters=list(filters),
        kernel_size=3,
        patch_size=[2, 4],
        seed=seed,
    )
    objective = "val_loss"
    if memory_exponent is not None:
        objective = ErrorMemoryObjective("val_loss", memory_exponent)
    amount = {"max_epochs": epochs} if tuner == "hyperband" else {"max_trials": trials}
    search = create_tuner(hypermodel, folder, tuner, objective=objective, seed=seed, **amount)
    data = {"context": 5, "horizon": 5, "size": size, "digits_per_frame": 1, "speed": (1.0, 3.0)}
    train, test = (None, None) if digits is None else _split(load_idx(digits))
    # Every trial sees the same sequences.
    train = MovingMNIST(train, batch_size, batches, seed=seed, fixed=True, **data)
    validation = MovingMNIST(test, 32, 4, seed=seed + 1, fixed=True, **data)
    keras.utils.set_random_seed(seed)
    search.search(train, validation_data=validation, epochs=epochs, verbose=2)
    if search.is_worker:
        return None
    results = search.results()
    print(f"\n{results}\n")
    folder = pathlib.Path(folder)
    results.to_csv(folder / "trials.csv")
    search.best_model().save(folder / "best.keras")
    plot_pareto(results).savefig(folder / "pareto.png", dpi=150)
    for name in ("trials.csv", "pareto.png", "best.keras"):
        print(f"  {folder / name}")
    return results


def _split(digits):
    count = len(digits) * 4 // 5
    return digits[:count], digits[count:]
