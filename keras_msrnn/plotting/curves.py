"""Scores against lead time, and the course of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_msrnn.plotting.frames import BLUE, ORANGE, as_array, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def plot_scores(
    scores: Mapping[str, Any],
    ylabel: str = "score",
    *,
    xlabel: str = "lead time (frames)",
    width: float = 5.0,
) -> Figure:
    """Draws a score against lead time for several models, the legend in the order of the lines.

    Args:
        scores: For every name the scores `(lead,)` at lead times 1, 2, ...; the numbers of lead
            times may differ. "persistence" is drawn in gray, as the reference.
        ylabel: Name of the score, with its unit and which way is better.
        xlabel: Name of the lead time.
        width: Width in inches.

    Returns:
        A Matplotlib figure, as `plot_forecast` returns it.

    Raises:
        ValueError: If there are no scores or not one number for each lead time.

    Example:

    >>> figure = plot_scores({"ConvLSTM": [0.9, 0.8], "persistence": [0.7, 0.5]}, "CSI")
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['ConvLSTM', 'persistence']
    """
    lines = {name: as_array(values) for name, values in scores.items()}
    for name, values in lines.items():
        if values.ndim != 1 or not values.size:
            raise ValueError(
                "`scores` must hold one number for each lead time. Received: scores"
                f"[{name!r}] of shape {values.shape}. Average over all other axes first."
            )
    if not lines:
        raise ValueError(
            "`scores` must hold at least one model. Received: scores={}. Pass a dictionary "
            "such as `{'ConvLSTM': [0.9, 0.8]}`."
        )
    figure = make_figure((width, 0.55 * width), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(lines.items()):
        style = {"color": COLORS[number % 7], "marker": MARKERS[number % 7]}
        style["linestyle"] = ("-", "--", ":")[number // 7 % 3]
        if name.lower() == "persistence":
            style = {"color": "0.45", "linestyle": "--"}
        axes.plot(
            range(1, len(values) + 1), values, label=name, linewidth=1.6, markersize=4, **style
        )
    _dress(axes, xlabel, ylabel)

    # The legend stands beside the ends of the lines, in their order.
    common = min(map(len, lines.values())) - 1
    ends = np.nan_to_num([values[common] for values in lines.values()], nan=-np.inf)
    handles = [axes.lines[i] for i in np.argsort(-ends, kind="stable")]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8.5)
    return figure


def plot_history(history: Any, *, width: float = 7.0) -> Figure:
    """Draws the course of a training: the loss, and each metric beside it, over the epochs.

    Args:
        history: What `fit` returns, or its dictionary `history`: for every name the values
            `(epochs,)`. Names with `val_` are drawn beside those without.
        width: Width in inches.

    Returns:
        A Matplotlib figure, as `plot_forecast` returns it.

    Raises:
        ValueError: If there is no epoch.

    Example:

    >>> figure = plot_history({"loss": [3.0, 2.0], "val_loss": [3.1, 2.5], "mae": [0.4, 0.3]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'mae']
    """
    history = getattr(history, "history", history)
    history = {name: as_array(values) for name, values in history.items()}
    names = list(dict.fromkeys(name.removeprefix("val_") for name in history))
    if not names or not all(values.size for values in history.values()):
        raise ValueError(
            "`history` must hold at least one epoch. "
            f"Received: {list(history)}. Pass what `fit` returns."
        )
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    panel = width / max(columns, 2)
    figure = make_figure((panel * columns, 0.75 * panel * rows), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, number + 1)
        for key, label, color in ((name, "training", BLUE), (f"val_{name}", "validation", ORANGE)):
            if key in history:
                epochs = range(1, len(history[key]) + 1)
                axes.plot(epochs, history[key], color=color, label=label, linewidth=1.6,
                          marker="o" if len(epochs) < 20 else None, markersize=3)  # fmt: skip
        _dress(axes, "epoch", name)
        if number == 0 and f"val_{name}" in history:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _dress(axes: Axes, xlabel: str, ylabel: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
