"""The data sets that the commands know by name, and frames of one's own."""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Callable
from typing import Any

import h5py

from keras_msrnn import data

FRAMES = "frames"  # the user's own, whose path stands in the place of a name
REQUIRED = object()
WINDOWS = {"stride": 1, "spacing": 1, "crop": None, "resize": None}
RADAR = {
    "path": REQUIRED,
    "context": 10,
    "horizon": 10,
    "batch_size": 8,
    **WINDOWS,
    "zr": ("marshall-palmer",),
    "split": (0.7, 0.85),
}


@dataclasses.dataclass(frozen=True)
class Parts:
    """Batches `(context, future)` to train on, to validate on and to test on."""

    training: Any
    validation: Any
    test: Any

    @property
    def units(self):
        """What pixels mean, or `None`."""
        return getattr(self.test, "units", None)

    @property
    def scaling(self):
        """How values became pixels: `None`, `"rain"` or `[low, high]`."""
        scaling = getattr(self.test, "scaling", None)
        return [bound.tolist() for bound in scaling] if isinstance(scaling, tuple) else scaling

    def facts(self) -> dict:
        """What a training that is continued must find again."""
        context, future = self.training[0]
        return {
            "frame": list(context.shape[2:]),
            "context": context.shape[1],
            "horizon": future.shape[1],
            "batches": {name: len(part) for name, part in vars(self).items()},
            "scaling": self.scaling,
            "units": None if self.units is None else repr(self.units),
        }


@dataclasses.dataclass(frozen=True)
class DataSet:
    """How a data set is opened, and its options with their defaults."""

    open: Callable
    defaults: dict


def kind(name: str) -> str:
    """The name of a data set, or `FRAMES` for a path."""
    return name if name in DATA_SETS else FRAMES


def resolve(given: dict) -> dict:
    """Completes options of the command line by the defaults of the data set.

    Args:
        given: The options by name, among them `data`; paths become absolute.

    Raises:
        ValueError: If an option is not one of the data set, or one that it needs is missing.
    """
    name = given["data"]
    if kind(name) == FRAMES and not pathlib.Path(name).exists():
        close = difflib.get_close_matches(name, DATA_SETS, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"`--data` must be one of {', '.join(known())}, or the path of frames. "
            f"Received: {name}, which does not exist. {hint}"
        )
    defaults = DATA_SETS[kind(name)].defaults
    for option in sorted(set(given) - set(defaults) - {"data"}):
        own = ", ".join(_flag(option) for option in defaults)
        raise ValueError(f"`{_flag(option)}` is not an option of `--data {name}`, which has {own}.")
    options = {**defaults, **given}
    for option, value in options.items():
        if value is REQUIRED:
            raise ValueError(f"`--data {name}` needs `{_flag(option)}`: where its files are.")
    return absolute(options)


def absolute(options: dict) -> dict:
    """`options` with absolute paths, which do not depend on the folder one works in."""
    options = dict(options)
    for option in {"data", "path", "digits"} & set(options):
        if options[option] is not None and options[option] not in known():
            options[option] = str(pathlib.Path(options[option]).absolute())
    return options


def open_parts(options: dict, seed: int = 0, workers: int = 1) -> Parts:
    """Opens a data set by options that `resolve` has completed."""
    options = dict(options)
    name = options.pop("data")
    if kind(name) == FRAMES:
        options["path"] = name
    return Parts(*DATA_SETS[kind(name)].open(**options, seed=seed, workers=workers))


def open_frames(name: str, path: str, options: dict) -> Any:
    """The frames of one source for `data.Windows`: a radar reader, or a path or data set."""
    if name == "knmi":
        return data.KNMI(path, units=_reflectivity(options["zr"]))
    if name == "odim":
        return data.ODIM(path, units=_reflectivity(options["zr"]))
    if name == "germany":
        return data.Germany(path)
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".h5", ".hdf5", ".hdf"):
        return path
    with h5py.File(path, "r") as file:
        if file.attrs.get("format") == "keras_msrnn rain":
            return data.load_rain(path)
        dataset = options.get("dataset")
        if dataset is None:
            names = _data_sets(file)
            if len(names) != 1:
                raise ValueError(
                    f"`--dataset` must say which of the data sets of {path} holds the frames. It "
                    f"has {', '.join(names[:8]) or 'none'}{', ...' if len(names) > 8 else ''}."
                )
            dataset = names[0]
        if not isinstance(file.get(dataset), h5py.Dataset):
            raise ValueError(f"`--dataset` must be a data set of {path}. Received: {dataset}.")
    return h5py.File(path, "r")[dataset]


def _data_sets(file):
    names = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            names.append(name)

    file.visititems(visit)
    return names


def own_scaling(scaling: list | None, zr: list | None) -> dict:
    """Arguments `scaling` and `units` of `Windows` by the options `--scaling` and `--zr`."""
    if scaling is None:
        return {}
    if len(scaling) == 2:
        try:
            return {"scaling": tuple(map(float, scaling))}
        except ValueError:
            pass
    if len(scaling) != 1 or scaling[0] not in ("rain", "fit", "fit_channels", "none"):
        raise ValueError(
            "`--scaling` must be rain, fit, fit_channels, none, or the two values that become 0 "
            f"and 1. Received: {' '.join(map(str, scaling))}."
        )
    if scaling[0] == "rain":
        return {"scaling": "rain", "units": _reflectivity(zr)}
    return {"scaling": None if scaling[0] == "none" else scaling[0]}


def known() -> list[str]:
    return [name for name in DATA_SETS if name != FRAMES]


def _flag(option):
    return "--" + option.replace("_", "-")


def _reflectivity(zr):
    if len(zr) == 1:
        return data.Reflectivity(zr[0])
    try:
        return data.Reflectivity(tuple(map(float, zr)))
    except ValueError as error:
        raise ValueError(
            f"`--zr` must be a name, or the two numbers a and b of Z = a R ** b. ({error})"
        ) from error


def _moving_mnist(*, seed, batches, digits, path, speed, **options):
    images = (None, None, None) if digits is None else _split_digits(digits)
    options = {**options, "speed": tuple(speed)}
    fewer = {"batches": max(1, batches // 10), "fixed": True}
    training = data.MovingMNIST(images[0], batches=batches, seed=seed, **options)
    validation = data.MovingMNIST(images[1], seed=seed + 1, **fewer, **options)
    if path is None:
        test = data.MovingMNIST(images[2], seed=seed + 2, **fewer, **options)
    else:
        test = data.read_moving_mnist(
            path, options["context"], options["horizon"], options["batch_size"]
        )
    return training, validation, test


def _split_digits(path):
    """Images of an idx file: 80 % to train on, 10 % to validate on, 10 % to test on."""
    images = data.load_idx(path)
    if images.ndim != 3 or len(images) < 100:
        raise ValueError(
            "`--digits` must be an idx file of at least 100 images. "
            f"Received: {path}, with an array of shape {images.shape}. "
            "For MNIST it is train-images-idx3-ubyte or t10k-images-idx3-ubyte."
        )
    first, second = len(images) * 8 // 10, len(images) * 9 // 10
    return images[:first], images[first:second], images[second:]


def _taxibj(*, path, context, horizon, **options):
    return data.read_taxibj(path, context, horizon, **options)


def _kth(*, path, context, horizon, test_horizon, **options):
    # The papers have no validation part: two persons of the training part serve.
    persons = ((1, 14), (15, 16), (17, 25))
    return data.read_kth(path, context, horizon, test_horizon, persons=persons, **options)


def _germany(*, path, context, horizon, **options):
    return data.read_germany(path, context, horizon, **options)


def _radar(name):
    def open_radar(*, path, context, horizon, split, zr, **options):
        frames = open_frames(name, path, {"zr": zr})
        return data.split_in_time(frames, context, horizon, at=tuple(split), **options)

    return open_radar


def _frames(*, path, context, horizon, split, dataset, scaling, zr, **options):
    frames = open_frames(FRAMES, path, {"dataset": dataset})
    options = {**options, **own_scaling(scaling, zr)}
    return data.split_in_time(frames, context, horizon, at=tuple(split), **options)


DATA_SETS = {
    "moving-mnist": DataSet(
        _moving_mnist,
        {
            "context": 10,
            "horizon": 10,
            "batch_size": 16,
            "batches": 625,
            "size": 64,
            "digits_per_frame": 2,
            "speed": (2.0, 6.0),
            "digits": None,
            "path": None,
        },
    ),
    "taxibj": DataSet(_taxibj, {"path": REQUIRED, "context": 4, "horizon": 4, "batch_size": 16}),
    "kth": DataSet(
        _kth,
        {
            "path": REQUIRED,
            "context": 10,
            "horizon": 10,
            "test_horizon": 20,
            "batch_size": 8,
            "size": 64,
        },
    ),
    "germany": DataSet(
        _germany,
        {
            "path": REQUIRED,
            "context": 5,
            "horizon": 5,
            "batch_size": 8,
            **WINDOWS,
            "stride": 10,
        },
    ),
    "knmi": DataSet(_radar("knmi"), RADAR),
    "odim": DataSet(_radar("odim"), RADAR),
    FRAMES: DataSet(
        _frames,
        {
            **{option: value for option, value in RADAR.items() if option != "path"},
            "dataset": None,
            "axes": None,
            "scaling": None,
        },
    ),
}
