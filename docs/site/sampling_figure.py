"""Draws `docs/images/sampling.svg` from the schedules: `python docs/site/sampling_figure.py`."""

import pathlib

import matplotlib
import numpy as np
from keras import ops
from matplotlib.figure import Figure

from keras_msrnn.sampling import ReverseScheduledSampling, ScheduledSampling

PATH = pathlib.Path(__file__).parents[1] / "images" / "sampling.svg"
STEPS = 300
GREY = "#808080"  # is seen on white and on black


def draw():
    """A panel for each schedule: the probability in the context and after it, over the batches."""
    figure = Figure(figsize=(6, 2.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, schedule in zip(panels, (ScheduledSampling(STEPS), ReverseScheduledSampling(STEPS))):
        schedule.build()
        curves = []
        for step in range(STEPS + 1):
            schedule.step.assign(step)
            curves.append(ops.convert_to_numpy(schedule.probabilities(2, 2))[1:])
        fraction = np.linspace(0, 1, STEPS + 1)
        for values, label, style in zip(np.transpose(curves), ("context", "after it"), ("--", "-")):
            axes.plot(fraction, values, style, label=label, linewidth=2)
        axes.set_title(type(schedule).__name__, fontsize=10, color=GREY)
        axes.set_xlabel("fraction of the batches done", color=GREY)
        axes.tick_params(colors=GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
    panels[0].set_ylabel("probability of the true frame", color=GREY)
    panels[1].legend(frameon=False, labelcolor=GREY)
    return figure


if __name__ == "__main__":
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sampling"}):
        draw().savefig(PATH, transparent=True, metadata={"Date": None})
