"""Training state in one file, so that a training that was killed ends as if it had not been.

Keras's `BackupAndRestore` writes the weights and the epoch one after the other, so that a kill
between the two leaves an epoch that does not go with the weights; and Keras saves no state of
random generators, on which scheduled sampling depends. Here `last.keras` holds all of it.
"""

import csv
import json
import math
import os
import shutil
import zipfile

import keras
from keras import ops

from keras_msrnn.commands.run_folder import replace

MEMBER = "training.json"


class Checkpoint(keras.callbacks.Callback):
    """Writes `last.keras`, `best.keras` and `history.csv` of a run after each epoch.

    Each file is old or new, never half. `last.keras` is an ordinary Keras file, with one more
    member, the history and the states of the random generators.

    Args:
        run: The `RunFolder`.
        history: History of the epochs so far, a dictionary of lists; it is extended.
    """

    def __init__(self, run, history):
        super().__init__()
        self.run, self.history = run, history

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            if not math.isfinite(value):
                raise RuntimeError(
                    f"`{name}` is {value} after epoch {epoch + 1}. {self.run.last.name} is that of "
                    "the epoch before. A lower `--learning-rate`, or `--fill-missing 0` and "
                    "`--loss paper` for data with missing values, in another folder may help."
                )
            self.history.setdefault(name, []).append(float(value))
        new = self.run.path / "new.keras"
        self.model.save(new)
        state = {"history": self.history, "random": random_states(self.model)}
        with zipfile.ZipFile(new, "a") as file:
            file.writestr(MEMBER, json.dumps(state))
        losses = self.history["val_loss"]
        if losses[-1] < min(losses[:-1], default=math.inf):
            best = self.run.path / "new-best.keras"
            shutil.copyfile(new, best)
            replace(best, self.run.best)
        replace(new, self.run.last)
        write_history(self.run.path / "history.csv", self.history)


def load_training(path):
    """Loads a model as it was after an epoch, and the history so far."""
    with zipfile.ZipFile(path) as file:
        state = json.loads(file.read(MEMBER))
    model = keras.saving.load_model(path)
    for variable, value in zip(_random_variables(model), state["random"], strict=True):
        variable.assign(ops.cast(value, variable.dtype))
    return model, state["history"]


def random_states(model):
    """States of the random generators of a model, which Keras does not save."""
    return [ops.convert_to_numpy(variable).tolist() for variable in _random_variables(model)]


def _random_variables(model):
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def write_history(path, history):
    """Writes one row for each epoch."""
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *history])
        writer.writerows([epoch + 1, *row] for epoch, row in enumerate(zip(*history.values())))
    os.replace(new, path)
