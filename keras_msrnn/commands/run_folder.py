"""The folder of a training: what it was asked for, and where everything in it is."""

import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import sys
import zipfile

import keras
import numpy as np

from keras_msrnn.tuning.files import write_json
from keras_msrnn.version import __version__

FILE = "run.json"


class RunFolder:
    """A folder with `run.json`: the arguments, versions and data of a training.

    Args:
        path: The folder.

    Attributes:
        record: The content of `run.json`, or `None` if there is none yet.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.record = None
        if (self.path / FILE).is_file():
            self.record = json.loads((self.path / FILE).read_text(encoding="utf-8"))
        elif self.path.is_file() or any(p.name != f"{FILE}.new" for p in self.path.glob("*")):
            raise FileExistsError(
                f"The folder of a run must be new, empty, or that of a run that `train` has begun. "
                f"Received: {path}. Choose another name: nothing is overwritten."
            )

    @property
    def last(self):
        return self.path / "last.keras"

    @property
    def best(self):
        return self.path / "best.keras"

    @property
    def arguments(self):
        return {} if self.record is None else self.record["arguments"]

    def check_arguments(self, given):
        """Raises `ValueError` if arguments that are given differ from those of the run."""
        for name, value in as_json(given).items():
            if value != self.arguments.get(name, value):
                flag = "--" + name.replace("_", "-")
                raise ValueError(
                    f"The run in {self.path} has `{flag}` {_text(self.arguments[name])}. "
                    f"Received: {_text(value)}. Take another folder, which leaves this run as it "
                    f"is; `keras-msrnn train {self.path}` alone continues it."
                )

    def begin(self, arguments, facts):
        """Writes what the run is, or checks that a run that is continued is the same."""
        versions, facts = get_versions(), as_json(facts)
        if self.record is None:
            self.path.mkdir(parents=True, exist_ok=True)
            command = shlex.join(["keras-msrnn", *sys.argv[1:]])
            self.record = {
                "command": command,
                "arguments": as_json(arguments),
                "versions": versions,
                "data": facts,
            }
            write_json(self.path / FILE, self.record)
            return
        if facts != self.record["data"]:
            raise ValueError(
                f"The data of the run in {self.path} have changed. Received: {facts}, and it began "
                f"with {self.record['data']}. Put the data back, or begin another run."
            )
        for name, version in self.record["versions"].items():
            if version != versions.get(name):
                print(f"Begun with {name} {version}; goes on with {versions.get(name)}.")

    def check_backend(self):
        """Raises `ValueError` if the run was begun on another backend."""
        backend = self.record and self.record["versions"]["backend"]
        if backend and backend != keras.backend.backend():
            raise ValueError(
                f"The run in {self.path} began on the {backend} backend. Received: "
                f"{keras.backend.backend()}. Continue it with KERAS_BACKEND={backend}."
            )


def find_model(path):
    """The model file of a run or of a path, and the run it belongs to, or `None`.

    Args:
        path: Folder of a run, of which the best model is taken, or a `.keras` file.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no run and no model {path}.")
    folder = path if path.is_dir() else path.parent
    run = RunFolder(folder) if (folder / FILE).is_file() else None
    if path.is_file():
        return path, run
    if run is None:
        raise ValueError(
            f"{path} must be the folder of a run, with a {FILE}, or a `.keras` file. "
            "Received: a folder without it."
        )
    if not run.best.is_file():
        raise FileNotFoundError(
            f"The run in {path} has not finished an epoch yet: `keras-msrnn train {path}` does it."
        )
    return run.best, run


def load_model(path):
    """Loads a forecaster."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} must be a `.keras` file. Received: another one, or half of one.")
    model = keras.saving.load_model(path)
    if not hasattr(model, "forecast"):
        raise ValueError(f"{path} must be a forecaster of keras_msrnn. Received: {model!r}.")
    return model


def get_versions():
    """Versions of all that has a part in the numbers."""
    backend = keras.backend.backend()
    return {
        "keras_msrnn": __version__,
        "keras": keras.__version__,
        "backend": backend,
        backend: importlib.metadata.version(backend),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def as_json(value):
    """`value` as JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(value))


def replace(new, path):
    """Gives a file that was written whole its name, in place of an older one."""
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)


def _text(value):
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def write_new(path, text):
    """Writes a file that must not exist yet."""
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists. Choose another name: nothing is overwritten.")
    path.write_text(text, encoding="utf-8")
