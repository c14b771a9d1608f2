"""What strips and animations share: the check of a sample, and the colors of its values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's, told apart by all: context and forecast
MISSING = "#EBCDB9"  # pixels that are not finite
RAIN_LEVELS = (0.1, 0.5, 1, 2, 5, 10, 20, 50)  # mm/h


@dataclasses.dataclass(frozen=True)
class ColorScale:
    """How values become colors."""

    cmap: Colormap
    norm: Normalize
    ticks: tuple[float, ...] | None = None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Colors `uint8` `(..., 3)` of values `(time, height, width)` or of RGB ones."""
        finite = np.isfinite(values)
        if values.ndim == 4:
            low, high = self.norm.vmin, self.norm.vmax
            parts = (np.where(finite, values, low).clip(low, high) - low) / (high - low)
            return np.rint(255 * parts).astype("uint8")
        colors = self.cmap(self.norm(np.where(finite, values, 0)), bytes=True)[..., :3]
        missing = [int(MISSING[i : i + 2], 16) for i in (1, 3, 5)]
        return np.where(finite[..., None], colors, missing).astype("uint8")


def linear_scale(cmap: str, low: float, high: float) -> ColorScale:
    """Colors that change evenly from `low` to `high`."""
    import matplotlib

    return ColorScale(matplotlib.colormaps[cmap], matplotlib.colors.Normalize(low, high))


def rain_scale() -> ColorScale:
    """Steps of rain rate in mm/h from white, which is dry, to dark: safe for the color-blind."""
    import matplotlib
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colors = matplotlib.colormaps["YlGnBu"](np.linspace(0.12, 1, len(RAIN_LEVELS) - 1))
    cmap = ListedColormap(colors).with_extremes(under="white", over="#3B0F2E")
    return ColorScale(cmap, BoundaryNorm(RAIN_LEVELS, len(colors)), RAIN_LEVELS)


def as_array(values: Any) -> np.ndarray:
    """`values` of any backend, dtype or device as a `float32` NumPy array."""
    if keras.ops.is_tensor(values):
        values = keras.ops.convert_to_numpy(values)
    return np.asarray(values).astype("float32")


def check_sample(
    context: Any, truth: Any | None, forecast: Any, channel: int | None, units: Any | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Checks one sample; returns arrays `(time, height, width)`, or with 3 channels for RGB.

    With `units`, they hold mm/h. The forecast is missing where the whole context is.
    """
    arrays = {"context": context, "truth": truth, "forecast": forecast}
    arrays = {name: as_array(values) for name, values in arrays.items() if values is not None}
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
    if units is not None:
        context, truth, forecast = (
            None if frames is None else units.to_rain(frames).astype("float32")
            for frames in (context, truth, forecast)
        )
    never_seen = ~np.isfinite(context).any(axis=0)  # outside the radar, say
    return context, truth, np.where(never_seen, np.nan, forecast)


def choose_scale(
    cmap: str, value_range: tuple[float, float] | None, units: Any | None, *frames: np.ndarray
) -> ColorScale:
    """The rain scale with `units`, else a linear one over `value_range` or that of `frames`."""
    if units is not None:
        return rain_scale()
    if value_range is None:
        low, high = extremes(np.concatenate(frames))
        return linear_scale(cmap, low, high if low < high else low + 1)
    low, high = value_range
    if not low < high:
        raise ValueError(
            "`value_range` must be two numbers, the first smaller. Received: value_range="
            f"{value_range}. Leave it out to use the range of the data."
        )
    return linear_scale(cmap, low, high)


def extremes(values: np.ndarray) -> tuple[float, float]:
    """The smallest and largest finite value; 0 and 0 if there is none."""
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def time_label(time: int) -> str:
    return f"t{time:+d}".replace("-", "\N{MINUS SIGN}") if time else "t"


def make_figure(size: tuple[float, float], layout: str | None = None) -> Figure:
    """A figure unknown to pyplot, so that it cannot leak, that notebooks show nevertheless."""
    import io

    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
            return buffer.getvalue()

    return NotebookFigure(figsize=size, dpi=150, layout=layout)
