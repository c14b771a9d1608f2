"""`draw`: forecasts of one test sequence, each model's plain beside its multi-scale form."""

import numpy as np

from keras_msrnn.data import Reflectivity
from keras_msrnn.plotting import frames as colors

PANEL, LABEL, GAP, HEAD, BAR = 0.6, 0.85, 0.12, 0.36, 0.65  # inches


def draw(folder, dataset, names):
    """Writes `DATASET.png` into the folder, of the first seed and the first kept sequence.

    Args:
        folder: Path of the results.
        dataset: Name of the data set.
        names: Dictionary from models to their labels, from above to below.
    """
    forecasts = {model: [_load(folder, dataset, model, form) for form in ("plain", "multiscale")]
                 for model in names}  # fmt: skip
    context, truth, _ = next(iter(forecasts.values()))[0]
    rain = dataset == "knmi"
    scale = colors.rain_scale() if rain else colors.linear_scale("gray", 0, max(1, truth.max()))
    strips = {"truth": [truth, truth]}
    for model, label in names.items():
        strips[label] = [forecast for _, _, forecast in forecasts[model]]
    strips["persistence"] = [np.repeat(context[-1:], len(truth), 0)] * 2

    columns, bar = 2 * len(truth), BAR if rain else 0.1
    size = (LABEL + columns * PANEL + GAP + bar, HEAD + len(strips) * PANEL + 0.05)
    figure = colors.make_figure(size)
    for row, (label, halves) in enumerate(strips.items()):
        for column, frame in enumerate(scale(np.concatenate(halves))):
            left = LABEL + column * PANEL + GAP * (column >= len(truth))
            bottom = size[1] - HEAD - (row + 1) * PANEL
            place = (left / size[0], bottom / size[1], PANEL / size[0], PANEL / size[1])
            axes = figure.add_axes(place, xticks=[], yticks=[])
            axes.imshow(frame, interpolation="nearest", aspect="auto")
            axes.spines[:].set(color="0.75" if rain else "white", linewidth=1)
            if row == 0:
                axes.set_title(f"t+{column % len(truth) + 1}", fontsize=8, pad=2)
        figure.text((LABEL - 0.06) / size[0], (bottom + PANEL / 2) / size[1], label,
                    ha="right", va="center", fontsize=8)  # fmt: skip
    for half, (label, color) in enumerate((("plain", colors.BLUE), ("multi-scale", colors.ORANGE))):
        middle = LABEL + (half + 0.5) * len(truth) * PANEL + half * GAP
        figure.text(middle / size[0], 1 - 0.1 / size[1], label, ha="center", va="center",
                    fontsize=9, color=color)  # fmt: skip
    if rain:
        _color_bar(figure, scale, size, bar)
    figure.savefig(folder / f"{dataset}.png", dpi=130)


def _load(folder, dataset, model, form):
    """Context, future and forecast `(time, height, width)` of the first sequence."""
    with np.load(folder / "runs" / f"{dataset}-{model}-{form}-1.npz") as file:
        sequence = [file[name][0, ..., 0] for name in ("context", "future", "forecast")]
    if dataset == "knmi":
        sequence = [Reflectivity().to_rain(frames) for frames in sequence]
    return sequence


def _color_bar(figure, scale, size, width):
    from matplotlib.cm import ScalarMappable

    left = size[0] - width + 0.1
    axes = figure.add_axes((left / size[0], 0.2, 0.1 / size[0], 0.6))
    bar = figure.colorbar(
        ScalarMappable(scale.norm, scale.cmap), cax=axes, ticks=scale.ticks, spacing="uniform"
    )
    axes.set_yticklabels([f"{tick:g}" for tick in scale.ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=7, length=2, pad=2)
    bar.set_label("mm/h", fontsize=7)
