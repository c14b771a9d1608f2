"""Profiles as text."""

import math


def profile_table(profile):
    """A profile as a table: cells, totals, memory."""
    time, height, width, channels = profile.input_shape
    rows = [
        ["", "scale", "maps", "parameters", "multiply-adds", "activations", "kept", "field"],
        *(_part_row(index, part) for index, part in enumerate(profile.parts)),
    ]
    frames = f"{time} + {profile.horizon}" if profile.horizon else f"{time}"
    lines = [
        f"{profile.name}: {frames} frames of {height} x {width} x {channels}, "
        f"batch {profile.batch_size}, {profile.dtype}",
        *_align(rows),
        "One step, one sample: multiply-adds; elements written; bytes kept for the backward "
        "pass; receptive field in the newest frame, pixels.",
        "",
        f"parameters             {count(profile.parameters)}",
        f"multiply-adds          {count(profile.multiply_adds)} forward, one sequence of "
        f"{profile.steps} steps",
        f"receptive field        {_field(profile.receptive_field)} in the newest frame, "
        f"{_field(profile.receptive_field_sequence)} from the last forecast in the first frame",
        f"memory of forecasting  {size(profile.forecast_memory)}",
        f"memory of training     {size(profile.training_memory)} with remat={profile.remat!r}",
    ]
    for mode in (None, "step", "sqrt"):
        lines.append(
            f"  activations          {size(profile.activation_memory(mode))} with {mode!r}"
        )
    if profile.uncounted:
        lines.append(f"not looked into        {', '.join(profile.uncounted)}")
    if profile.measured:
        lines.append(_measured(profile))
    return "\n".join(lines)


def _part_row(index, part):
    name = part.name if part.scale is None else f"{index} {part.name}"
    maps = "" if part.map_shape is None else " x ".join(map(str, part.map_shape))
    numbers = [part.parameters, part.multiply_adds, part.activations]
    field = "" if part.scale is None else _field(part.receptive_field)
    scale = "" if part.scale is None else str(part.scale)
    return [name, scale, maps, *map(count, numbers), size(part.kept_bytes), field]


def _measured(profile):
    measured = profile.measured
    memory, flops = measured["activation_bytes"], measured["flops"]
    expected = profile.activation_memory(profile.remat)
    counted = 2 * profile.batch_size * sum(part.multiply_adds for part in profile.parts)
    texts = []
    if memory is not None:
        texts.append(f"activations {size(memory)}, {memory / expected:.2f} of the analysis")
    if flops is not None:
        texts.append(f"{count(flops)} flops a step, {flops / counted:.2f} of the analysis")
    return f"measured               {'; '.join(texts) or 'nothing'} ({measured['source']})"


def comparison_table(comparison):
    """Profiles side by side, with ratios to the first."""
    names = {
        "parameters": ("parameters", count),
        "multiply_adds": ("multiply-adds", count),
        "cell_multiply_adds": ("of the cells", count),
        "cell_activations": ("cells' activations", count),
        "activation_memory": ("kept for training", size),
        "training_memory": ("memory of training", size),
    }
    rows = [["", *(title for title, _ in names.values())]]
    for profile in comparison.profiles:
        values, ratios = comparison.values[profile.name], comparison.ratios[profile.name]
        cells = [f"{form(values[key])} {ratios[key]:8.2%}" for key, (_, form) in names.items()]
        rows.append([profile.name, *cells])
    return "\n".join(_align(rows))


def _align(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def count(value):
    """A number with three digits: `1.77 M`."""
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            scaled = value / factor
            return f"{scaled:.{max(0, 2 - int(math.log10(max(scaled, 1))))}f}{unit}"
    return f"{value:.0f}"


def size(value):
    """Bytes as text: `1.77 GB`, in powers of 1000."""
    text = count(value)
    return f"{text}B" if " " in text else f"{text} B"


def _field(value):
    return "unbounded" if value is None else str(value)
