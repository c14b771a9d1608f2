"""The table of the benchmark."""

import math

SIDES = ("reference", "keras")
COLUMNS = (
    # title, key, factor from seconds or bytes, number format
    ("train step (ms)", "step", 1e3, ".1f"),
    ("predict (ms)", "predict", 1e3, ".1f"),
    ("next frame (ms)", "next_frame", 1e3, ".1f"),
    ("memory (MB)", "memory", 1e-6, ".0f"),
)
WIDTH = 16


def heading(settings, machine):
    """The lines above the table."""
    form = "multi-scale" if settings["multiscale"] else "plain"
    side = settings["height"]
    lines = [
        f"{form}, {side} x {side} pixels, {settings['filters']} filters, batch "
        f"{settings['batch']}, {settings['context']} -> {settings['horizon']} frames, "
        f"{settings['dtype']}, remat={settings['remat']}",
        f"Keras {machine.get('keras')} with {machine.get('backend')} "
        f"{machine.get(machine.get('backend'))} on {machine.get('keras_device')}, PyTorch "
        f"{machine.get('torch')} on {machine.get('device')}, {machine.get('cores')} cores",
        "PyTorch / Keras, and x: how many times less Keras needs",
    ]
    titles = [f"{title:>{WIDTH}}       x" for title, *_ in COLUMNS]
    lines.append(f"{'':15}{''.join(titles)}  first step (s)  fit")
    return "\n".join(lines)


def row(result):
    """The line of a model, or of the geometric means."""
    if "error" in result:
        return f"{result['model']:15}{result['error']}"
    cells = []
    for _, key, factor, number in COLUMNS:
        values = result.get(key)
        pair = ratio = ""
        if isinstance(values, dict) and None not in values.values():
            pair = " / ".join(format(values[side] * factor, number) for side in SIDES)
            ratio = format(speed_up(values), ".2f")
        elif isinstance(values, float):
            ratio = format(values, ".2f")
        cells.append(f"{pair:>{WIDTH}}{ratio:>8}")
    first = fit = ""
    if isinstance(result.get("first_step"), dict):
        first = " / ".join(format(result["first_step"][side], ".1f") for side in SIDES)
        fit = f"{100 * (result['fit']['fit'] / result['fit']['step'] - 1):+.0f} %"
    return f"{result['model']:15}{''.join(cells)}{first:>16}{fit:>7}".rstrip()


def speed_up(values):
    """How many times less the Keras model needs than the reference."""
    return values["reference"] / max(values["keras"], 1e-9)


def geometric_means(results):
    """The geometric means of the ratios of all models that were measured."""
    means = {}
    for _, key, *_ in COLUMNS:
        ratios = [
            speed_up(result[key])
            for result in results
            if key in result and None not in result[key].values()
        ]
        if ratios:
            means[key] = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return {"model": "geometric mean", **means} if means else {}
