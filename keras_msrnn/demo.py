"""The demo: trains a multi-scale forecaster on Moving MNIST and shows its forecasts."""

import pathlib
import time

import keras
import numpy as np

from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.data import MovingMNIST, load_idx, rendered_digits
from keras_msrnn.plotting import animate_forecast, plot_forecast
from keras_msrnn.registry import build, find
from keras_msrnn.sampling import ScheduledSampling

SIZE, CONTEXT, HORIZON = 40, 5, 5
TRAIN_DIGITS, TEST_DIGITS, TEST_SEQUENCES = 8000, 1000, 256
LEARNING_RATE = 6e-3


def add_arguments(parser):
    """Adds the options of `run` to a parser of the command line."""
    add = parser.add_argument
    add("--model", default="predrnn", help="name of the model (default: %(default)s)")
    add("--digits", metavar="PATH", help="MNIST idx file to take the digits from")
    add("--out", metavar="FOLDER", help="new folder for the results")
    add("--epochs", type=int, default=10, help="default: %(default)s")
    add("--batches", type=int, default=430, help="per epoch (default: %(default)s)")
    add("--seed", type=int, default=0, help="default: %(default)s")


def run(model="predrnn", *, digits=None, out=None, epochs=10, batches=430, seed=0):
    """Trains, scores, saves and draws; prints what it does.

    Args:
        model: Name of a model.
        digits: Path of an MNIST idx file of images; by default rendered digits.
        out: Folder for the results. It must not exist yet; by default the first of
            `msrnn-demo`, `msrnn-demo-2`, ... that does not.
        epochs: Integer, number of epochs.
        batches: Integer, number of batches of 8 sequences in an epoch.
        seed: Integer, makes the run reproducible.

    Returns:
        The folder, a `pathlib.Path`.
    """
    started = time.perf_counter()
    find(model)
    epochs, batches = positive_integer("epochs", epochs), positive_integer("batches", batches)
    train_digits, test_digits = _digits(digits, seed)
    folder = _new_folder(out)
    keras.utils.set_random_seed(seed)
    data = {
        "context": CONTEXT,
        "horizon": HORIZON,
        "size": SIZE,
        "digits_per_frame": 1,
        "speed": (1.5, 4.0),
    }
    train = MovingMNIST(train_digits, batch_size=8, batches=batches, seed=seed, **data)
    test = MovingMNIST(
        test_digits, batch_size=TEST_SEQUENCES, batches=1, seed=seed + 1, fixed=True, **data
    )
    context, future = test[0]

    steps = epochs * batches
    forecaster = build(
        model,
        multiscale=True,
        filters=24,
        scales=(1, 2, 1),
        patch_size=4,
        channels=1,
        horizon=HORIZON,
        sampling=ScheduledSampling(steps=max(1, round(0.8 * steps))),
        seed=seed,
    )
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps, warmup_target=LEARNING_RATE, warmup_steps=max(1, steps // 20)
    )
    # In a training as short as this the squared error alone keeps more of the thin strokes.
    forecaster.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")

    print(f"Multi-scale {model}, {forecaster.count_params():,} weights, scales "
          f"{forecaster.rnn.scales}, on the {keras.backend.backend()} backend.")  # fmt: skip
    print(f"Trains on {steps * 8:,} Moving MNIST sequences, {CONTEXT} frames -> {HORIZON} frames "
          f"of {SIZE} x {SIZE}, made from {len(train_digits):,} "
          f"{'rendered digits' if digits is None else 'digits of ' + str(digits)}.")  # fmt: skip
    forecaster.fit(train, epochs=epochs, validation_data=(context, future))

    forecast = forecaster.predict(context, verbose=0)
    print(f"\nScores on {len(context)} sequences of digits it has never seen:\n")
    print(_score_table(context, future, forecast))
    files = _write(folder, forecaster, context, future, forecast)
    print(f"\nDone in {(time.perf_counter() - started) / 60:.1f} minutes. Look at")
    for path, what in files.items():
        print(f"  {path}  {what}")
    return folder


def _digits(path, seed):
    """Digits for training and others for the test, `(n, height, width)`."""
    if path is None:
        train, test = rendered_digits(TRAIN_DIGITS, seed), rendered_digits(TEST_DIGITS, seed + 1)
    else:
        images = load_idx(path)
        if images.ndim != 3 or images.shape[1] != images.shape[2] or len(images) < 100:
            raise ValueError(
                "`--digits` must be an idx file of at least 100 square images. "
                f"Received: {path}, with an array of shape {images.shape}. "
                "For MNIST it is train-images-idx3-ubyte or t10k-images-idx3-ubyte."
            )
        split = len(images) * 4 // 5
        train, test = images[:split], images[split:]
    return train, test


def _new_folder(out):
    if out is not None:
        folder = pathlib.Path(out)
        if folder.exists():
            raise FileExistsError(
                f"`--out` must not exist yet, so that nothing is overwritten. Received: {out}."
            )
    else:
        names = (f"msrnn-demo{'' if n == 1 else f'-{n}'}" for n in range(1, 10_000))
        folder = next(path for path in map(pathlib.Path, names) if not path.exists())
    folder.mkdir(parents=True)
    return folder


def _score_table(context, future, forecast):
    """Squared error per frame by lead time, beside that of repeating the last frame."""

    def score(forecast):
        return np.square(forecast - future).sum((2, 3, 4)).mean(0)

    model, persistence = score(forecast), score(context[:, -1:])
    rows = [("frames ahead", *range(1, len(model) + 1), "mean")]
    for name, errors in (("model", model), ("persistence", persistence)):
        rows.append((name, *(f"{error:.1f}" for error in (*errors, errors.mean()))))
    lines = ["".join(f"{cell!s:>13}" if i == 0 else f"{cell!s:>7}" for i, cell in enumerate(row))
             for row in rows]  # fmt: skip
    ratio = model.mean() / persistence.mean()
    lines.append(f"\nSquared error summed over a frame (persistence repeats the last frame): the "
                 f"model's is {ratio:.0%} of persistence's.")  # fmt: skip
    return "\n".join(lines)


def _write(folder, forecaster, context, future, forecast):
    forecast = np.clip(forecast, 0, 1)
    forecaster.save(folder / "model.keras")
    figure = plot_forecast(context[0], future[0], forecast[0], persistence=True)
    figure.savefig(folder / "forecast.png", dpi=150)
    many = _mosaic(context), _mosaic(future), _mosaic(forecast)
    animate_forecast(folder / "forecast.gif", *many)
    return {
        folder / "forecast.gif": "9 sequences, truth beside forecast, moving",
        folder / "forecast.png": "one of them frame by frame, with persistence and the error",
        folder / "model.keras": "the model: keras.saving.load_model(...) after import keras_msrnn",
    }


def _mosaic(sequences, side=3):
    """The first `side * side` sequences in a square with thin lines between them."""
    frames = np.pad(sequences[: side**2, ..., 0], ((0, 0), (0, 0), (0, 1), (0, 1)),
                    constant_values=0.4)  # fmt: skip
    _, time, height, width = frames.shape
    frames = frames.reshape(side, side, time, height, width).transpose(2, 0, 3, 1, 4)
    return frames.reshape(time, side * height, side * width)
