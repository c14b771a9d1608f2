"""Searches a pyramid within the memory of the paper's, and compares both on sequences never seen.

    KERAS_BACKEND=tensorflow python examples/search_pyramid.py t10k-images-idx3-ubyte.gz

Moving MNIST at half its resolution, from the digits of an MNIST file: the first 80 % for training,
10 % to choose by, 10 % for the comparison. The budget of the search is the training memory of
MS-ConvLSTM with the paper's scales, 1-2-4-4-2-1; that model alone has its learning rate searched
too. Hyperband trains its best trials as long as both are trained in the end, from several seeds.
Killed and started again, the searches continue.
"""

import argparse
import pathlib

import keras
import numpy as np

from keras_msrnn.data import MovingMNIST, load_idx
from keras_msrnn.tuning import ForecasterHyperModel, create_tuner, plot_pareto, pyramids

SHAPE, HORIZON, BATCH, EPOCHS = (5, 24, 24, 1), 5, 8, 3
PAPER = {"scales": (1, 2, 4, 4, 2, 1), "filters": 16, "skip": "add", "pooling": "max",
         "interpolation": "bilinear", "learning_rate": [5e-3, 2e-3, 1e-2]}  # fmt: skip
OFFERED = {
    "scales": pyramids(cells=[4, 5, 6, 8], depth=[2, 3], factor=2),
    # Small maps take little memory, so they may have more channels.
    "filters": [16, {1: 8, 2: 16, 4: 32}, {1: 8, 2: 24, 4: 48}, {1: 12, 2: 16, 4: 32}],
    "skip": ["add", "unet3+", "full"],
    "pooling": ["max", "average"],
    "interpolation": ["bilinear", "nearest"],
    "learning_rate": 5e-3,
}

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("digits", help="MNIST idx file of images")
parser.add_argument("--folder", default="pyramid-search", help="folder of the searches")
parser.add_argument("--iterations", type=int, default=1, help="of Hyperband (default: %(default)s)")
parser.add_argument("--steps", type=int, default=300, help="of an epoch (default: %(default)s)")
parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
options = parser.parse_args()
folder = pathlib.Path(options.folder)

digits = load_idx(options.digits).reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype("uint8")
training, choosing, testing = np.split(digits, [len(digits) * 8 // 10, len(digits) * 9 // 10])
motion = {"context": 5, "horizon": HORIZON, "size": 24, "digits_per_frame": 1, "speed": (1.0, 3.0)}
validation = MovingMNIST(choosing, 64, 4, seed=1, fixed=True, **motion)
test = MovingMNIST(testing, 64, 8, seed=2, fixed=True, **motion)
context, future = (np.concatenate(frames) for frames in zip(*(test[i] for i in range(8))))


def hypermodel(seed=1, max_training_memory=None, **space):
    fixed = {"model": "convlstm", "kernel_size": 3, "patch_size": 2, "sampling": "scheduled"}
    return ForecasterHyperModel(
        SHAPE, HORIZON, batch_size=BATCH, max_training_memory=max_training_memory, seed=seed,
        **fixed, **space,
    )  # fmt: skip


def search(name, space, kind, **limits):
    """The results of a search, and the hyperparameters of its best trial."""
    tuner = create_tuner(space, folder / name, kind, seed=1, **limits)
    data = MovingMNIST(training, BATCH, options.steps, seed=1, **motion)
    tuner.search(data, validation_data=validation, epochs=EPOCHS, verbose=0)
    print(f"\n{name}\n{tuner.results()}\n", flush=True)
    return tuner.results(), tuner.oracle.get_best_trials(1)[0].hyperparameters


def test_error(space, hp, seed):
    """Squared error per frame of the test sequences after training from a seed."""
    keras.utils.set_random_seed(seed)
    model = hypermodel(seed, **space).build(hp)
    data = MovingMNIST(training, BATCH, options.steps, seed=10 + seed, **motion)
    model.fit(data, epochs=EPOCHS, verbose=0)
    forecast = model.predict(context, batch_size=64, verbose=0)
    return np.square(forecast - future).sum((2, 3, 4)).mean()


paper = hypermodel(**PAPER)
paper_results, paper_hp = search("paper", paper, "grid")
budget = paper.costs(paper_hp)["training_memory"]
found = hypermodel(max_training_memory=budget, **OFFERED)
limits = {"max_epochs": EPOCHS, "factor": 3, "hyperband_iterations": options.iterations}
found_results, found_hp = search("found", found, "hyperband", **limits)

figure = plot_pareto(found_results)
point = (budget / 1e6, paper_results.rows[0]["error"])
figure.axes[0].plot(*point, "x", color="0.2")
figure.axes[0].annotate("paper", point, xytext=(-6, 4), textcoords="offset points",
                        ha="right", fontsize=7.5)  # fmt: skip
figure.savefig(folder / "pareto.png", dpi=150)

persistence = np.square(context[:, -1:] - future).sum((2, 3, 4)).mean()
print(f"Squared error per frame of {len(context)} test sequences; persistence {persistence:.2f}")
for name, space, hp in (("paper", PAPER, paper_hp), ("found", OFFERED, found_hp)):
    errors = [test_error(space, hp, seed) for seed in range(1, options.seeds + 1)]
    costs = hypermodel(**space).costs(hp)
    print(
        f"{name}: {hp.values}: {np.mean(errors):.2f} "
        f"(seeds: {', '.join(f'{error:.2f}' for error in errors)}), "
        f"{costs['training_memory'] / 1e6:.2f} MB, {costs['parameters']:,} parameters, "
        f"{costs['multiply_adds'] / 1e6:.1f} M multiply-adds",
        flush=True,
    )
