"""The parts of the search space: scales of pyramids, and the values offered by default."""

import difflib
import inspect
from collections.abc import Callable, Iterable

from keras_msrnn import pyramid, registry
from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.sampling import Schedule

_BUILD = inspect.signature(registry.build).parameters
_GIVEN = ("name", "multiscale", "horizon", "channels", "options")  # not to be searched


def pyramids(
    cells: int | Iterable[int] = range(2, 9),
    depth: int | Iterable[int] = (1, 2, 3, 4),
    factor: int | Iterable[int] = (2, 4),
) -> list[tuple[int, ...]]:
    """Returns the scales of symmetric pyramids, those with the fewest pixels first.

    The scale grows by `factor` from cell to cell until the pyramid has `depth` different ones,
    stays, and falls again. `depth=1` is the plain stack. Combinations that give the same scales
    are there once.

    Args:
        cells: Number of cells, or several of them.
        depth: Number of different scales, or several numbers.
        factor: Ratio of neighbouring scales, or several ratios.

    Example:

    >>> pyramids(cells=6, factor=2)
    [(1, 2, 4, 4, 2, 1), (1, 2, 2, 2, 2, 1), (1, 1, 1, 1, 1, 1)]

    Reference:
        Ma et al., arXiv 2206.03010, section 3.
    """
    values = {"cells": cells, "depth": depth, "factor": factor}
    for name, given in values.items():
        given = [given] if isinstance(given, int) else list(given)
        values[name] = [positive_integer(name, value) for value in given]
    found = {
        tuple(f ** min(i, n - 1 - i, d - 1) for i in range(n))
        for n in values["cells"]
        for d in values["depth"]
        for f in values["factor"]
    }
    return sorted(found, key=lambda scales: (sum(1 / s**2 for s in scales), scales))


SPACE = {
    "scales": pyramids(),
    "filters": [8, 16, 32, 64, 128],
    "kernel_size": [3, 5],
    "skip": list(pyramid.SKIPS),
    "pooling": list(pyramid.POOLINGS),
    "interpolation": list(pyramid.INTERPOLATIONS),
    "patch_size": [1, 2, 4],
    "sampling": ["scheduled", "reverse_scheduled", None],
    "learning_rate": [1e-4, 3e-4, 1e-3, 3e-3],
}
_DEFAULTS = {"scales": (1, 2, 4, 4, 2, 1), "sampling": "scheduled", "learning_rate": 3e-4}


def make_part(name, value) -> Callable:
    """The function of `hp` that gives a part of the space its value."""
    options = {option for model in registry.list_models() for option in _options(model)}
    known = {"model", "learning_rate", *_BUILD, *options} - set(_GIVEN)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise TypeError(
            f"`{name}` is not a part of the space. Received: {name}={value!r}. "
            f"{f'Did you mean `{close[0]}`? ' if close else ''}"
            f"The parts are {', '.join(sorted(known))}."
        )
    if inspect.isroutine(value):
        return value
    if name == "model":
        for model in value if isinstance(value, list) else [value]:
            registry.find(model)
    if not isinstance(value, list):
        return lambda hp: _fresh(value)
    if not value:
        raise ValueError(
            f"`{name}` must offer at least one value. Received: {name}=[]. Leave it out for "
            "the values of `keras_msrnn.tuning.SPACE`."
        )
    numbers = any({type(x) for x in value} == {kind} for kind in (int, float))
    labels = {x if numbers else _label(x): x for x in value}
    if len(labels) < len(value):
        raise ValueError(f"`{name}` must offer different values. Received: {name}={value!r}.")
    default = _DEFAULTS.get(name, _BUILD[name].default if name in _BUILD else None)
    default = next((label for label, x in labels.items() if x == default), next(iter(labels)))
    return lambda hp: _fresh(labels[hp.Choice(name, list(labels), default=default)])


def _options(model):
    return registry.find(model)[0].options


def _label(value):
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    simple = value is None or isinstance(value, (bool, int, float, str))
    return str(value) if isinstance(value, str) or not simple else str(value).lower()


def _fresh(value):
    """Sampling schedules count steps, so each model has its own."""
    return value.from_config(value.get_config()) if isinstance(value, Schedule) else value
