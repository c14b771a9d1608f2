"""Pictures of a run and of a forecast."""

import numpy as np

from keras_msrnn import plotting

LOOKED_AT = 16  # batches from which the wettest sequence is taken
LABELS = {
    "squared_error_per_frame": "squared error per frame",
    "ssim": "SSIM (higher is better)",
}


def draw_history(folder, history):
    """Draws `training.png`."""
    figure = plotting.plot_history(history)
    figure.savefig(folder / "training.png", dpi=150)


def names_to_draw(scores):
    """The squared error, SSIM, and CSI at each threshold that occurs."""
    names = [name for name in scores.names if name in LABELS or name.startswith("csi_")]
    return [n for n in names if np.isfinite(list(scores.overall(n).values())).all()]


def draw_scores(folder, scores):
    """Draws `score_NAME.png` for each of `names_to_draw`."""
    unit = "" if scores.conventions["units"] == "pixel values" else " mm/h"
    for name in names_to_draw(scores):
        label = LABELS.get(name)
        if label is None:
            label = f"CSI at {name.removeprefix('csi_')}{unit} (higher is better)"
        figure = plotting.plot_scores(scores.by_lead_time(name), label)
        figure.savefig(folder / f"score_{name}.png", dpi=150)


def draw_forecast(folder, model, dataset, units):
    """Draws `forecast.png` and `forecast.gif` of one sequence: the first, or the wettest."""
    context, future = _choose(dataset, units)
    forecast = model.forecast(context[None], len(future))[0]
    draw_sample(folder, context, future, forecast, units)


def draw_sample(folder, context, future, forecast, units):
    """Draws one sequence; `future` may be `None`."""
    options = {"units": units}
    if context.shape[-1] not in (1, 3):
        options["channel"] = 0
    width = 7.0 if future is not None else 12.0  # one row only, beside which a color bar must fit
    figure = plotting.plot_forecast(
        context, future, forecast, persistence=future is not None, width=width, **options
    )
    figure.savefig(folder / "forecast.png", dpi=150)
    plotting.animate_forecast(
        folder / "forecast.gif", context, future, forecast, overwrite=True, **options
    )


def _choose(dataset, units):
    """`(context, future)` of one sequence."""
    if units is None:
        context, future = dataset[0]
        return context[0], future[0]
    places = np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int)
    wettest, most = None, -1.0
    for place in places:
        for context, future in zip(*dataset[int(place)]):
            wetness = np.nanmean(np.nan_to_num(future))
            if wetness > most:
                wettest, most = (context, future), wetness
    return wettest
