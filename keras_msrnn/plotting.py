"""Pictures of forecasts: strips of frames, animations, and scores against lead time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec, SubplotSpec
    from PIL import Image

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's, told apart by all: context and forecast
COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
MISSING = "#B7D3E8"  # pixels that are not finite
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
    width: float = 7.0,
) -> Figure:
    """Draws one sample as strips of frames: the truth, the forecast below it, and its error.

    Times count frames from the last one of the context, `t`. When not all frames fit, every
    second, third, ... one is shown. Pixels that are not finite are light blue.

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
    context, truth, forecast = _sample(context, truth, forecast, channel)
    future = forecast if truth is None else truth
    low, high = _value_range(value_range, context, future)
    margins = (0.65, 0.6 if unit else 0.45)  # inches: row labels, color bars
    before, after = _shown_times(len(context), len(future), (width - sum(margins)) / NARROWEST)

    rows = {"truth": np.concatenate([context[before - 1], future[after - 1]])}
    if truth is not None:
        rows["forecast"] = forecast[after - 1]
    if persistence:
        rows["persistence"] = np.repeat(context[-1:], len(after), 0)
    looks = [(cmap, low, high)] * len(rows)
    values = np.concatenate(list(rows.values()))
    if truth is not None:
        rows["forecast error"] = _absolute_error(forecast, truth)[after - 1]
        worst = _extremes(rows["forecast error"])[1]
        looks.append((error_cmap, 0.0, worst or high - low))

    panel = min((width - sum(margins)) / (len(before) + len(after)), WIDEST)
    shape = (panel * context.shape[1] / context.shape[2], panel)
    figure, cells, grid = _grid(len(rows), len(before), len(after), shape, margins)
    for cell, label, look in zip(cells, rows, looks):
        _strip(figure, cell[-len(rows[label]) :], label if len(rows) > 1 else "", rows[label], look)

    for axes, time in zip(figure.axes, (*before, *after)):
        axes.set_title(_time(time), fontsize=8, pad=3)
    split = len(before)
    _heading(figure.axes[:split], "context", BLUE)
    label = "forecast" if truth is None else "future"
    _heading(figure.axes[split : split + len(after)], label, ORANGE)
    inner = len(rows) - (truth is not None)
    if values.ndim == 3:
        _color_bar(figure, grid[:inner, -1], looks[0], values, unit)
    if truth is not None:
        _color_bar(figure, grid[inner:, -1], looks[-1], rows["forecast error"], unit)
    return figure


def animate_forecast(
    path: str | os.PathLike,
    context: Any,
    truth: Any | None,
    forecast: Any,
    *,
    channel: int | None = None,
    value_range: tuple[float, float] | None = None,
    cmap: str = "gray",
    frames_per_second: float = 5.0,
    overwrite: bool = False,
) -> Path:
    """Writes one sample as an animated GIF, the truth beside the forecast.

    Both sides show the context first, in blue frames; the forecast follows in orange ones, with
    its lead time below. Small frames are enlarged to about 256 pixels.

    Args:
        path: File to write; ".gif" is customary.
        context: The frames that the model saw, `(time, height, width)` or
            `(time, height, width, channels)`, one channel or three (RGB).
        truth: The frames that followed; None if they are unknown, which leaves the forecast alone.
        forecast: The frames that the model forecast, as many as `truth` has.
        channel: The channel to draw, where there are others than one or three.
        value_range: Values that get the first and last color. By default the smallest and
            largest of `context` and `truth`.
        cmap: Matplotlib colormap of the values.
        frames_per_second: Speed; the last frame stays for one second longer.
        overwrite: Whether to replace the file if there is one.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: If there is such a file and `overwrite` is False.
        ValueError: If the arrays are not one sample of matching shapes.

    Example:

    >>> import numpy as np, tempfile
    >>> frames = np.random.default_rng(0).random((6, 16, 16))
    >>> path = Path(tempfile.mkdtemp(), "forecast.gif")
    >>> animate_forecast(path, frames[:3], frames[3:], frames[3:] ** 2).name
    'forecast.gif'
    """
    from PIL import Image

    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"`path` must not exist yet. Received: path={str(path)!r}. Pass another path, or "
            "`overwrite=True` to replace the file."
        )
    if not frames_per_second > 0:
        raise ValueError(
            "`frames_per_second` must be positive. Received: frames_per_second="
            f"{frames_per_second}. Pass a number such as 5."
        )
    context, truth, forecast = _sample(context, truth, forecast, channel)
    future = forecast if truth is None else truth
    look = (cmap, *_value_range(value_range, context, future))
    sides = {"forecast": forecast} if truth is None else {"truth": truth, "forecast": forecast}
    sides = {name: _colors(np.concatenate([context, side]), look) for name, side in sides.items()}
    times = range(1 - len(context), len(forecast) + 1)
    images = [
        _animation_frame({name: side[i] for name, side in sides.items()}, time, times)
        for i, time in enumerate(times)
    ]

    palette = _palette(np.concatenate([side.reshape(-1, 3) for side in sides.values()]))
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    duration = [round(1000 / frames_per_second)] * len(images)
    duration[-1] += 1000
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)
    return path


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
    from matplotlib.ticker import MaxNLocator

    lines = {name: _array(values) for name, values in scores.items()}
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
    figure = _figure((width, 0.55 * width), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(lines.items()):
        style = {"color": COLORS[number % 7], "marker": MARKERS[number % 7]}
        style["linestyle"] = ("-", "--", ":")[number // 7 % 3]
        if name.lower() == "persistence":
            style = {"color": "0.45", "linestyle": "--"}
        axes.plot(
            range(1, len(values) + 1), values, label=name, linewidth=1.6, markersize=4, **style
        )
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)

    # The legend stands beside the ends of the lines, in their order.
    common = min(map(len, lines.values())) - 1
    ends = np.nan_to_num([values[common] for values in lines.values()], nan=-np.inf)
    handles = [axes.lines[i] for i in np.argsort(-ends, kind="stable")]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8.5)
    return figure


def _array(values: Any) -> np.ndarray:
    """`values` of any backend, dtype or device as a `float32` NumPy array."""
    if keras.ops.is_tensor(values):
        values = keras.ops.convert_to_numpy(values)
    return np.asarray(values).astype("float32")


def _sample(
    context: Any, truth: Any | None, forecast: Any, channel: int | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Checks one sample; returns arrays `(time, height, width)`, or with 3 channels for RGB."""
    arrays = {"context": context, "truth": truth, "forecast": forecast}
    arrays = {name: _array(values) for name, values in arrays.items() if values is not None}
    for name, values in arrays.items():
        if values.ndim not in (3, 4) or not values.size:
            raise ValueError(
                f"`{name}` must be one sample of shape (time, height, width) or (time, height, "
                f"width, channels). Received: {name}.shape={values.shape}. Take one of a batch "
                f"with `{name}[0]`."
            )
        if values.ndim == 4 and channel is not None:
            if not 0 <= channel < values.shape[-1]:
                raise ValueError(
                    f"`channel` must be one of the {values.shape[-1]} of `{name}`. Received: "
                    f"channel={channel}. Count from 0."
                )
            arrays[name] = values[..., channel]
        elif values.ndim == 4 and values.shape[-1] == 1:
            arrays[name] = values[..., 0]
        elif values.ndim == 4 and values.shape[-1] != 3:
            raise ValueError(
                f"`{name}` must have one channel or three. Received: {name}.shape={values.shape}. "
                "Choose one with `channel`, or take one of a batch with "
                f"`{name}[0]`."
            )
    context, truth, forecast = (arrays.get(name) for name in ("context", "truth", "forecast"))
    if context.shape[1:] != forecast.shape[1:]:
        raise ValueError(
            "`context` and `forecast` must have frames of one shape. Received: context.shape="
            f"{context.shape}, forecast.shape={forecast.shape}. Crop or resize the larger ones."
        )
    if truth is not None and truth.shape != forecast.shape:
        raise ValueError(
            "`truth` and `forecast` must have the same shape. Received: truth.shape="
            f"{truth.shape}, forecast.shape={forecast.shape}. Cut the longer one, or pass "
            "`truth=None`."
        )
    return context, truth, forecast


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """The smallest and largest finite value; 0 and 0 if there is none."""
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _value_range(
    value_range: tuple[float, float] | None, context: np.ndarray, future: np.ndarray
) -> tuple[float, float]:
    if value_range is None:
        low, high = _extremes(np.concatenate([context, future]))
        return (low, high) if low < high else (low, low + 1)
    low, high = value_range
    if not low < high:
        raise ValueError(
            "`value_range` must be two numbers, the first smaller. Received: value_range="
            f"{value_range}. Leave it out to use the range of the data."
        )
    return low, high


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


def _time(time: int) -> str:
    return f"t{time:+d}".replace("-", "\N{MINUS SIGN}") if time else "t"


def _colors(values: np.ndarray, look: tuple[str, float, float]) -> np.ndarray:
    """Colors `uint8` `(..., 3)` of values `(time, height, width)` or of RGB ones."""
    import matplotlib

    cmap, low, high = look
    finite = np.isfinite(values)
    parts = (np.where(finite, values, low).clip(low, high) - low) / (high - low)
    if values.ndim == 4:
        return np.rint(255 * parts).astype("uint8")
    colors = matplotlib.colormaps[cmap](parts, bytes=True)[..., :3]
    missing = [int(MISSING[i : i + 2], 16) for i in (1, 3, 5)]
    return np.where(finite[..., None], colors, missing).astype("uint8")


def _figure(size: tuple[float, float], layout: str | None = None) -> Figure:
    """A figure unknown to pyplot, so that it cannot leak, that notebooks show nevertheless."""
    import io

    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
            return buffer.getvalue()

    return NotebookFigure(figsize=size, dpi=150, layout=layout)


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
    figure = _figure(size)
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
    look: tuple[str, float, float],
) -> None:
    for number, (cell, image) in enumerate(zip(cells, _colors(frames, look))):
        axes = figure.add_subplot(cell)
        axes.imshow(image, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color="white", linewidth=1)
        if number == 0:
            axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)


def _heading(strip: Sequence[Axes], label: str, color: str) -> None:
    """Writes `label` over a line above the titles of a strip."""
    figure = strip[0].figure
    left, right = strip[0].get_position().x0, strip[-1].get_position().x1
    y = 1 - 0.2 / figure.get_figheight()
    arrow = {"arrowstyle": "-", "color": color, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    points = {"xycoords": "figure fraction", "textcoords": "figure fraction"}
    strip[0].annotate("", (left, y), (right, y), arrowprops=arrow, **points)
    y += 0.03 / figure.get_figheight()
    figure.text((left + right) / 2, y, label, ha="center", fontsize=8, color=color)


def _color_bar(
    figure: Figure,
    cell: SubplotSpec,
    look: tuple[str, float, float],
    values: np.ndarray,
    unit: str,
) -> None:
    """Draws a color bar in `cell`, pointed where `values` go beyond it."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    cmap, low, high = look
    least, most = _extremes(values)
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    axes = figure.add_subplot(cell)
    box = axes.get_position()
    apart = 0.04 / figure.get_figheight()  # two bars may stand one above the other
    axes.set_position((box.x0, box.y0 + apart, box.width, box.height - 2 * apart))
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, high), cmap),
        cax=axes,
        extend=extend[least < low, most > high],
        ticks=MaxNLocator(3),
    )
    axes.tick_params(labelsize=7, length=2, pad=2)
    bar.outline.set_linewidth(0.5)
    bar.set_label(unit, fontsize=7)


def _animation_frame(
    sides: Mapping[str, np.ndarray], time: int, times: Sequence[int]
) -> Image.Image:
    """One picture of an animation: named frames side by side, framed, with their time below."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    font = ImageFont.truetype(str(font), 16)
    color = ORANGE if time > 0 else BLUE
    border, space, head, foot = 4, 10, 26, 40
    height, width = next(iter(sides.values())).shape[:2]
    zoom = max(1, round(256 / max(height, width)))
    height, width = height * zoom, width * zoom
    pitch = width + 2 * border + space
    size = (max(pitch * len(sides) + space, 180), height + 2 * border + head + foot)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, (name, frame) in enumerate(sides.items()):
        left = space + pitch * number
        right, bottom = left + width + 2 * border - 1, head + height + 2 * border - 1
        draw.rectangle((left, head, right, bottom), fill=color)
        enlarged = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        image.paste(enlarged, (left + border, head + border))
        draw.text((left, 4), name, fill="black", font=font)

    # Below: what is seen, and a bar of the whole time which fills up.
    middle = size[0] / 2
    caption = f"{'lead time' if time > 0 else 'context'}  {_time(time)}"
    draw.text((middle, size[1] - foot + 4), caption, fill=color, font=font, anchor="ma")
    step = (size[0] - 2 * space) / len(times)
    for number, other in enumerate(times):
        shade = (ORANGE if other > 0 else BLUE) if other <= time else "#DDDDDD"
        left = space + number * step
        draw.rectangle((left, size[1] - 10, left + step - 2, size[1] - 5), fill=shade)
    return image


def _palette(colors: np.ndarray) -> Image.Image:
    """One palette for a whole file, which keeps it small and its colors steady."""
    from PIL import Image, ImageColor

    own = [np.array(ImageColor.getrgb(name)) for name in ("black", BLUE, ORANGE, "#DDDDDD")]
    own = [255 - (255 - color) * part // 4 for color in own for part in range(5)]  # smooth letters
    pixels = colors[:: -(-len(colors) // 200_000), None]
    chosen = Image.fromarray(pixels).quantize(256 - len(own)).getpalette()[: 3 * (256 - len(own))]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*chosen, *np.ravel(own).tolist()])
    return palette
