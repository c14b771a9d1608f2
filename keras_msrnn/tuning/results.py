"""The trials of a search as a table, and error against memory as a picture."""

from __future__ import annotations

import csv
import dataclasses
import os
from typing import TYPE_CHECKING, Any

from keras_msrnn.plotting.frames import BLUE, ORANGE, make_figure
from keras_msrnn.tuning.hypermodel import COSTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Results:
    """The trials of a search, the best first; `print` shows them as a table.

    Attributes:
        rows: A dictionary for each trial: `trial` (its number in the folder), `status`
            (`"completed"`, `"running"`, `"failed"`, `"over budget"`, `"too coarse"` or
            `"impossible"`), the hyperparameters, with Hyperband also `epochs`, `score`, `error`,
            `parameters`, `multiply_adds`, `training_memory` (bytes) and `reason`, a text for the
            trials that have no score.
        error: Name of the metric in `error`.
        direction: `"min"` or `"max"`, which errors are better.
        budget: Limits of the costs.
    """

    rows: tuple[dict[str, Any], ...]
    error: str = "val_loss"
    direction: str = "min"
    budget: dict[str, float] = dataclasses.field(default_factory=dict)

    def pareto(self) -> list[dict[str, Any]]:
        """Returns the rows which no other beats in both error and memory, smallest first."""
        sign = 1 if self.direction == "min" else -1
        done = [row for row in self.rows if row["error"] is not None]
        done.sort(key=lambda row: (row["training_memory"], sign * row["error"]))
        front: list[dict[str, Any]] = []
        for row in done:
            if not front or sign * row["error"] < sign * front[-1]["error"]:
                front.append(row)
        return front

    def to_csv(self, path: str | os.PathLike) -> None:
        """Writes the rows as a CSV file."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def __str__(self):
        if not self.rows:
            return "no trials"
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        values = {name: {str(row.get(name)) for row in self.rows} for name in names}
        always = {"trial", "status", "score", *COSTS}
        shown = [n for n in names if n in always or len(values[n]) > 1]
        if "reason" not in shown and values["reason"] != {"None"}:
            shown.append("reason")
        if "error" in shown and all(row["score"] == row["error"] for row in self.rows):
            shown.remove("error")
        table = [[self.error if n == "error" else n.replace("_", " ") for n in shown]]
        table += [[_text(n, row.get(n)) for n in shown] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*table)]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
            for line in table
        )


def _text(name, value):
    if value is None:
        return ""
    if name in COSTS:
        return COSTS[name](value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def collect(tuner) -> Results:
    """The trials of a tuner with what they cost, by analysis."""
    objective, hypermodel = tuner.oracle.objective, tuner.hypermodel
    error = getattr(objective, "error", objective.name)
    rows = []
    for trial in tuner.oracle.get_best_trials(10**6):
        hp = trial.hyperparameters
        values = {k: v for k, v in hp.values.items() if not k.startswith("tuner/")}
        if "tuner/epochs" in hp.values:  # Hyperband goes on with its best trials
            values["epochs"] = hp.values["tuner/epochs"]
        status, reason = trial.status.lower(), trial.message
        rejection = hypermodel.rejection(hp)
        if status == "failed" and rejection is not None:
            status, _, reason = rejection.partition(": ")
        costs = dict.fromkeys(COSTS) if status == "impossible" else hypermodel.costs(hp)
        found = trial.metrics.exists(error) and trial.score is not None
        rows.append(
            {
                "trial": int(trial.trial_id),
                "status": status,
                **values,
                "score": float(trial.score) if found else None,
                "error": float(trial.metrics.get_best_value(error)) if found else None,
                **{name: costs[name] for name in COSTS},
                "reason": reason.strip().splitlines()[-1] if reason else None,
            }
        )
    return Results(tuple(rows), error, objective.direction, hypermodel.budget)


def plot_pareto(results: Results, *, width: float = 5.5) -> Figure:
    """Draws the error of the completed trials against their training memory.

    Trials which no other beats in both are joined by a line and labelled with their scales. A
    limit of the memory is a dashed line.

    Args:
        results: What `tuner.results()` returns.
        width: Width in inches.

    Returns:
        A Matplotlib figure, as `keras_msrnn.plotting.plot_forecast` returns it.

    Raises:
        ValueError: If no trial is completed.

    Example:

    >>> trials = [("1-1", 4e6, 0.8), ("1-2-1", 2e6, 0.9), ("1-2-2-1", 3e6, 1.0)]
    >>> rows = [{"scales": s, "training_memory": m, "error": e} for s, m, e in trials]
    >>> figure = plot_pareto(Results(tuple(rows)))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1-2-1', '1-1']
    """
    done = [row for row in results.rows if row["error"] is not None]
    if not done:
        raise ValueError(
            "`results` must hold a completed trial. "
            f"Received: {len(results.rows)} trials, none of them completed."
        )
    figure = make_figure((width, 0.7 * width), layout="constrained")
    axes = figure.add_subplot()
    megabytes = [row["training_memory"] / 1e6 for row in done]
    axes.scatter(megabytes, [row["error"] for row in done], color="0.6", s=18, label="trials")
    front = results.pareto()
    x, y = [row["training_memory"] / 1e6 for row in front], [row["error"] for row in front]
    axes.plot(x, y, color=BLUE, marker="o", markersize=5, drawstyle="steps-post", label="front")
    for row, *point in zip(front, x, y):
        label = str(row.get("scales", row.get("trial")))
        right = len(front) > 1 and row is front[-1]  # where labels would leave the picture
        axes.annotate(
            label, point, xytext=(-7 if right else 4, -3 if right else 4), fontsize=7.5,
            textcoords="offset points", ha="right" if right else "left",
        )  # fmt: skip
    if "training_memory" in results.budget:
        limit = results.budget["training_memory"] / 1e6
        axes.axvline(limit, color=ORANGE, linestyle="--", linewidth=1.2, label="limit")
    axes.set_xlabel("training memory (MB)", fontsize=9)
    axes.set_ylabel(results.error, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
    return figure
