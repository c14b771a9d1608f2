"""`ForecastScores`: the scores of several models by lead time, as a table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import pathlib

import numpy as np


class ForecastScores:
    """Scores of models by lead time, from `evaluate_forecast`.

    Attributes:
        conventions: Dictionary of what the numbers are, and of what.
        names: Names of the scores.
        models: Names of the models; the last is `"persistence"`.
    """

    def __init__(self, scores: dict, conventions: dict) -> None:
        self._scores = scores
        self.conventions = conventions
        self.models = list(scores)
        self.names = list(scores[self.models[0]])

    def by_lead_time(self, score: str) -> dict[str, np.ndarray]:
        """For each model the score by lead time `(time,)`, as `plotting.plot_scores` takes it."""
        return {model: self._of(model, score)[1] for model in self.models}

    def overall(self, score: str) -> dict[str, float]:
        """For each model the score of all lead times together."""
        return {model: self._of(model, score)[0] for model in self.models}

    def to_csv(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes a row for each score and model; lines of `# ` before them hold the conventions.

        Args:
            path: Path of the file.
            overwrite: Whether a file of that name is replaced.

        Raises:
            FileExistsError: If there is such a file and `overwrite` is false.
        """
        text = io.StringIO()
        for key, value in self.conventions.items():
            text.write(f"# {key}: {value}\n")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["score", "model", "all", *range(1, self.conventions["horizon"] + 1)])
        for score, model in itertools.product(self.names, self.models):
            overall, by_lead_time = self._of(model, score)
            writer.writerow([score, model, overall, *by_lead_time.tolist()])
        _write(path, text.getvalue(), overwrite)

    def to_json(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes conventions and scores; a score that is undefined is `null`.

        Args:
            path: Path of the file.
            overwrite: Whether a file of that name is replaced.

        Raises:
            FileExistsError: If there is such a file and `overwrite` is false.
        """

        def number(value):
            return value if math.isfinite(value) else None

        scores = {score: {} for score in self.names}
        for score, model in itertools.product(self.names, self.models):
            overall, by_lead_time = self._of(model, score)
            by_lead_time = [number(value) for value in by_lead_time.tolist()]
            scores[score][model] = {"all": number(overall), "by_lead_time": by_lead_time}
        content = {"conventions": self.conventions, "scores": scores}
        _write(path, json.dumps(content, indent=1, allow_nan=False) + "\n", overwrite)

    def _of(self, model, score):
        if score not in self._scores[model]:
            raise KeyError(f"`score` must be one of {', '.join(self.names)}. Received: {score!r}.")
        return self._scores[model][score]

    def __str__(self) -> str:
        about = self.conventions
        width = max(14, *(len(name) + 4 for name in self.models), *map(len, self.names)) + 1
        heads = [*range(1, about["horizon"] + 1), "all"]
        lines = [
            f"{about['sequences']} sequences, {about['context']} -> {about['horizon']} frames of "
            f"{about['frame']}, {about['missing_share']:.1%} missing",
            "",
            f"{'frames ahead':<{width}}" + "".join(f"{head:>10}" for head in heads),
        ]
        for score in self.names:
            lines.append(score)
            for model in self.models:
                overall, by_lead_time = self._of(model, score)
                cells = "".join(f"{_short(value):>10}" for value in (*by_lead_time, overall))
                lines.append(f"{'  ' + model:<{width}}{cells}")
        lines += ["", *(f"{key}: {value}" for key, value in about.items())]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<ForecastScores of {', '.join(self.models)}: {', '.join(self.names)}>"


def _short(value):
    """At most 9 characters."""
    size = abs(value)
    return f"{value:.4f}" if not size >= 100 else f"{value:.1f}" if size < 1e6 else f"{value:.2e}"


def _write(path, text, overwrite):
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"`path` must not exist yet. Received: path={str(path)!r}. Pass `overwrite=True` to "
            "replace it."
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
