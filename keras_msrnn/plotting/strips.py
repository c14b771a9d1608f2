"""`plot_forecast`: one sample as strips of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_msrnn.plotting.frames import (
    BLUE,
    ORANGE,
    ColorScale,
    check_sample,
    choose_scale,
    extremes,
    linear_scale,
    make_figure,
    time_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec, SubplotSpec

NARROWEST, WIDEST = 0.5, 1.5  # frame in a figure, in inches


def plot_forecast(
    context: Any,
    truth: Any | None,
    forecast: Any,
    *,
    persistence: bool = False,
    channel: int | None = None,
    value_range: tuple[float, float] | None = None,
    cmap: str = "gray",
    error_cmap: str = "cividis",
    unit: str = "",
    units: Any | None = None,
    width: float = 7.0,
) -> Figure:
    """Draws one sample as strips of frames: the truth, the forecast below it, and its error.

    Times count frames from the last one of the context, `t`. When not all frames fit, every
    second, third, ... one is shown. Pixels that are not finite are light brown, and so are
    forecasts of pixels that are missing in the whole context.

    Args:
        context: The frames that the model saw, `(time, height, width)` or
            `(time, height, width, channels)`, one channel or three (RGB).
        truth: The frames that followed; None if they are unknown, which leaves the error out.
        forecast: The frames that the model forecast, as many as `truth` has.
        persistence: Whether to add the forecast that repeats the last frame of the context.
        channel: The channel to draw, where there are others than one or three.
        value_range: Values that get the first and last color, the same in all rows. By default
            the smallest and largest of `context` and `truth`.
        cmap: Colormap of the values; "viridis" is safe for the color-blind too.
        error_cmap: Colormap of the absolute error, the mean over the channels of RGB.
        unit: Unit of the values, such as "mm/h", for the color bars.
        units: `data.Reflectivity` or `data.RainRate`, if the values are pixels of rain: they are
            drawn in mm/h, on a rain scale that is the same in every figure.
        width: Largest width in inches: 7 fills a page or a notebook, 3.4 a column of a paper.

    Returns:
        A Matplotlib figure, which notebooks show and `savefig` writes. `pyplot` does not know
        it, so that there is nothing to close.

    Raises:
        ValueError: If the arrays are not one sample of matching shapes.

    Example:

    >>> import numpy as np
    >>> frames = np.random.default_rng(0).random((20, 16, 16))
    >>> figure = plot_forecast(frames[:10], frames[10:], frames[10:] ** 2, persistence=True)
    >>> [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    ['truth', 'forecast', 'persistence', 'forecast error']
    """
    context, truth, forecast = check_sample(context, truth, forecast, channel, units)
    future = forecast if truth is None else truth
    scale = choose_scale(cmap, value_range, units, context, future)
    unit = unit if units is None else "mm/h"
    margins = (0.65, 0.6 if unit else 0.45)  # inches: row labels, color bars
    before, after = _shown_times(len(context), len(future), (width - sum(margins)) / NARROWEST)

    rows = {"truth": np.concatenate([context[before - 1], future[after - 1]])}
    if truth is not None:
        rows["forecast"] = forecast[after - 1]
    if persistence:
        rows["persistence"] = np.repeat(context[-1:], len(after), 0)
    scales = [scale] * len(rows)
    values = np.concatenate(list(rows.values()))
    if truth is not None:
        rows["forecast error"] = _absolute_error(forecast, truth)[after - 1]
        worst = extremes(rows["forecast error"])[1]
        scales.append(linear_scale(error_cmap, 0.0, worst or scale.norm.vmax - scale.norm.vmin))

    panel = min((width - sum(margins)) / (len(before) + len(after)), WIDEST)
    shape = (panel * context.shape[1] / context.shape[2], panel)
    figure, cells, grid = _grid(len(rows), len(before), len(after), shape, margins)
    for cell, label, row_scale in zip(cells, rows, scales):
        _strip(
            figure,
            cell[-len(rows[label]) :],
            label if len(rows) > 1 else "",
            rows[label],
            row_scale,
        )

    for axes, time in zip(figure.axes, (*before, *after)):
        axes.set_title(time_label(time), fontsize=8, pad=3)
    split = len(before)
    _heading(figure.axes[:split], "context", BLUE)
    label = "forecast" if truth is None else "future"
    _heading(figure.axes[split : split + len(after)], label, ORANGE)
    inner = len(rows) - (truth is not None)
    if values.ndim == 3:
        _color_bar(figure, grid[:inner, -1], scales[0], values, unit)
    if truth is not None:
        _color_bar(figure, grid[inner:, -1], scales[-1], rows["forecast error"], unit)
    return figure


def _absolute_error(forecast: np.ndarray, truth: np.ndarray) -> np.ndarray:
    error = np.abs(forecast - truth)
    return error if error.ndim == 3 else error.mean(-1)


def _shown_times(context: int, horizon: int, columns: float) -> tuple[np.ndarray, np.ndarray]:
    """The times to show, evenly spaced: up to 0 of the context, 1 and up of the future."""
    stride = 1
    while -(-context // stride) - (-horizon // stride) > max(columns, 2):
        stride += 1
    before = np.arange(0, -context, -stride)[::-1]
    return before, np.arange(horizon, 0, -stride)[::-1]  # the end of the forecast always shows


def _grid(
    rows: int,
    before: int,
    after: int,
    shape: tuple[float, float],
    margins: tuple[float, float],
) -> tuple[Figure, list[list[SubplotSpec]], GridSpec]:
    """A figure, its cells for `rows` of frames of `shape` inches, and its grid, which ends in a
    column for color bars."""
    height, width = shape
    gaps = (0.12, 0.06, 0.09)  # inches: between context and future, before the bar, the bar
    inner = (before + after) * width + sum(gaps)
    head, foot = 0.42, 0.06
    size = (margins[0] + inner + margins[1], head + rows * height + foot)
    figure = make_figure(size)
    ratios = [width] * before + [gaps[0]] + [width] * after + list(gaps[1:])
    grid = figure.add_gridspec(
        rows,
        len(ratios),
        width_ratios=ratios,
        left=margins[0] / size[0],
        right=1 - margins[1] / size[0],
        top=1 - head / size[1],
        bottom=foot / size[1],
        wspace=0,
        hspace=0,
    )
    columns = [*range(before), *range(before + 1, before + 1 + after)]
    cells = [[grid[row, column] for column in columns] for row in range(rows)]
    return figure, cells, grid


def _strip(
    figure: Figure,
    cells: Sequence[SubplotSpec],
    label: str,
    frames: np.ndarray,
    scale: ColorScale,
) -> None:
    for number, (cell, image) in enumerate(zip(cells, scale(frames))):
        axes = figure.add_subplot(cell)
        axes.imshow(image, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="0.75" if scale.ticks else "white", linewidth=1)
        if number == 0:
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)


def _heading(strip: Sequence[Axes], label: str, color: str) -> None:
    """Writes `label` over a line above the titles of a strip."""
    from matplotlib.lines import Line2D

    figure = strip[0].figure
    left, right = strip[0].get_position().x0, strip[-1].get_position().x1
    y = 1 - 0.2 / figure.get_figheight()
    # Not an annotation in figure fractions: those are off where a notebook cuts the margins.
    line = Line2D((left, right), (y, y), color=color, linewidth=1.5, solid_capstyle="butt")
    figure.add_artist(line)
    y += 0.03 / figure.get_figheight()
    figure.text((left + right) / 2, y, label, ha="center", fontsize=8, color=color)


def _color_bar(
    figure: Figure,
    cell: SubplotSpec,
    scale: ColorScale,
    values: np.ndarray,
    unit: str,
) -> None:
    """Draws a color bar in `cell`, pointed where `values` go beyond it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    least, most = extremes(values)
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    beyond = least < scale.norm.vmin and scale.ticks is None, most > scale.norm.vmax
    axes = figure.add_subplot(cell)
    box = axes.get_position()
    apart = 0.04 / figure.get_figheight()  # two bars may stand one above the other
    axes.set_position((box.x0, box.y0 + apart, box.width, box.height - 2 * apart))
    bar = figure.colorbar(
        ScalarMappable(scale.norm, scale.cmap),
        cax=axes,
        extend=extend[beyond],
        ticks=scale.ticks or MaxNLocator(3),
        spacing="uniform",
    )
    if scale.ticks:
        axes.set_yticklabels([f"{tick:g}" for tick in scale.ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=7, length=2, pad=2)
    bar.outline.set_linewidth(0.5)
    bar.set_label(unit, fontsize=7)
