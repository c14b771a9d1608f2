"""The data sets of the experiment, and `train`: one training, which leaves its scores in a file."""

import dataclasses
import json
import os
import pathlib
import time

import keras
import numpy as np
from keras import ops

import keras_msrnn
from keras_msrnn import data, losses

SHRINK = 2  # digits of 28 x 28 become 14 x 14
TRAIN_DIGITS = 0.8  # the rest of the digits is for the test only
TUNING_DIGITS = 0.875  # of those for training; the rest scores learning rates
THRESHOLDS = (0.5, 1, 2)  # mm/h
SHOWN = 4  # test sequences of which the forecasts are kept


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all trainings of a folder have in common."""

    size: int
    filters: int
    batch_size: int
    steps: int
    knmi_steps: int
    test_batches: int
    window: int
    backend: str


@dataclasses.dataclass(frozen=True)
class Job:
    """One training. `source` is the file or folder of the data set, `None` for rendered digits."""

    dataset: str
    model: str
    multiscale: bool
    seed: int
    rate: float
    source: str | None = None
    tuning: bool = False

    @property
    def name(self):
        form = "multiscale" if self.multiscale else "plain"
        name = f"{self.dataset}-{self.model}-{form}-{self.seed}"
        return f"tuning-{name}-{self.rate:g}" if self.tuning else name


def train(job, settings, folder):
    """Trains, scores and profiles a model, unless `folder` has its result; returns the result."""
    path = pathlib.Path(folder) / f"{job.name}.json"
    if path.exists():
        return json.loads(path.read_text())
    if job.dataset == "knmi":
        settings = dataclasses.replace(settings, steps=settings.knmi_steps)
    keras.utils.set_random_seed(job.seed)
    training, test, patch_size, loss = DATASETS[job.dataset](job, settings)
    context, future = test[0]
    model = _build(job, settings, context, future, patch_size, loss)
    clock = _Clock()
    history = model.fit(training, epochs=training.epochs, callbacks=[clock], verbose=0).history

    scores = keras_msrnn.evaluate_forecast(
        {"model": model}, test, thresholds=THRESHOLDS if job.dataset == "knmi" else None
    )
    cost = keras_msrnn.profile(
        model, context.shape[1:], horizon=future.shape[1], batch_size=settings.batch_size
    )
    result = {
        **dataclasses.asdict(job),
        "scores": {name: scores.overall(name) for name in scores.names},
        "sequences": scores.conventions["sequences"],
        "loss": history["loss"],
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "training_memory": cost.training_memory,
        "seconds_per_step": clock.seconds_per_step,
        "seconds": time.process_time() - clock.created,
        "versions": {"keras": keras.__version__, "keras_msrnn": keras_msrnn.__version__},
    }
    shown = {"context": context, "future": future, "forecast": model.predict(context, verbose=0)}
    shown = {name: frames[:SHOWN] for name, frames in shown.items()}
    np.savez_compressed(path.with_suffix(".npz"), **shown)
    write_json(path, result)  # last, for it says that the training is done
    keras.utils.clear_session()
    return result


def write_json(path, content):
    """Writes a file as a whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def _build(job, settings, context, future, patch_size, loss):
    model = keras_msrnn.build(
        job.model,
        job.multiscale,
        filters=settings.filters,
        patch_size=patch_size,
        channels=context.shape[-1],
        horizon=future.shape[1],
        fill_missing=0 if job.dataset == "knmi" else None,
        seed=job.seed,
        **({"window": settings.window} if job.model == "preciplstm" else {}),
    )
    rate = keras.optimizers.schedules.CosineDecay(
        job.rate / 20,
        settings.steps,
        warmup_target=job.rate,
        warmup_steps=max(1, settings.steps // 20),
    )
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    return model


class _Clock(keras.callbacks.Callback):
    """Measures the processor time of steps, from the second epoch on: the first one compiles."""

    def __init__(self):
        super().__init__()
        self.created = time.process_time()

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.started = time.process_time()

    def on_train_end(self, logs=None):
        steps = (self.params["epochs"] - 1) * self.params["steps"]
        self.seconds_per_step = (time.process_time() - self.started) / steps if steps else None


def squared_error(truth, forecast):
    """Squared error summed over a frame. In short trainings it keeps more than the absolute."""
    return ops.sum(ops.square(truth - forecast), axis=(2, 3, 4))


class _Steps(keras.utils.PyDataset):
    """`steps` full batches of a data set, pass after pass, in up to 10 epochs."""

    def __init__(self, dataset, batches, steps):
        super().__init__()
        self.dataset, self.batches = dataset, batches
        self.epochs = min(10, steps)
        self.length, self.done = steps // self.epochs, 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.dataset.epoch, index = divmod(self.done * self.length + index, self.batches)
        return self.dataset[index]

    def on_epoch_end(self):
        self.done += 1


def _digits(job, settings):
    if job.source is None:
        images = data.rendered_digits(10_000 if settings.steps > 100 else 100)
    else:
        images = data.load_idx(job.source)
    count, height, width = images.shape
    images = images.reshape(count, height // SHRINK, SHRINK, width // SHRINK, SHRINK)
    images = (images.mean((2, 4)) / 255).astype("float32")
    known, unseen = np.split(images, [round(TRAIN_DIGITS * count)])
    if job.tuning:
        known, unseen = np.split(known, [round(TUNING_DIGITS * len(known))])
    options = {
        "context": 5,
        "horizon": 5,
        "size": settings.size,
        "digits_per_frame": 1,
        "speed": (1.0, 3.0),
    }
    training = data.MovingMNIST(
        known, settings.batch_size, settings.steps, seed=job.seed, **options
    )
    test = data.MovingMNIST(
        unseen, 32, settings.test_batches, seed=1000 + job.tuning, fixed=True, **options
    )
    return _Steps(training, settings.steps, settings.steps), test, 2, squared_error


def _knmi(job, settings):
    # The 384 km square within what the radars see, in pixels of 8 km; as in the radar example
    # the first 60 % of the time for training and the last quarter for the test.
    radar = data.KNMI(job.source)
    pairs = data.Windows(
        radar, 1, 1, crop=(236, 177, 384, 384), resize=(48, 48), batch_size=len(radar.times)
    )
    before, after = pairs[0]
    frames = np.concatenate([before[:1, 0], after[:, 0]])
    training, _, test = data.split_in_time(
        frames, 5, 5, at=(0.6, 0.75), scaling=None, units=radar.units,
        batch_size=settings.batch_size, seed=job.seed,
    )  # fmt: skip
    test.batch_size = 32
    loss = losses.BalancedSquaredPlusAbsoluteError(radar.units)
    return _Steps(training, _full_batches(training), settings.steps), test, 4, loss


def _taxibj(job, settings):
    training, _, test = data.read_taxibj(job.source, batch_size=settings.batch_size, seed=job.seed)
    steps = _Steps(training, _full_batches(training), settings.steps)
    return steps, test, 2, squared_error


def _full_batches(windows):
    return len(windows.starts) // windows.batch_size


DATASETS = {"digits": _digits, "knmi": _knmi, "taxibj": _taxibj}
