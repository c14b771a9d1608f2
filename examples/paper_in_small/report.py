"""`write`: a folder's results as `results.csv`, the tables of `tables.md`, and pictures."""

import csv
import json
import statistics

import figure

NAMES = {
    "convlstm": "ConvLSTM",
    "trajgru": "TrajGRU",
    "predrnn": "PredRNN",
    "predrnnpp": "PredRNN++",
    "mim": "MIM",
    "motionrnn": "MotionRNN",
    "predrnn-v2": "PredRNN-V2",
    "preciplstm": "PrecipLSTM",
}
DATASETS = {"digits": "Moving MNIST", "knmi": "KNMI radar", "taxibj": "TaxiBJ"}
# Score: heading, digits behind the point, and whether more is better.
SCORES = {
    "squared_error_per_frame": ("MSE", 2, False),
    "absolute_error_per_frame": ("MAE", 2, False),
    "ssim": ("SSIM", 3, True),
}
CSI = {f"csi_{threshold}": (f"CSI {threshold} mm/h", 3, True) for threshold in ("0.5", "1", "2")}
COSTS = ("parameters", "multiply_adds", "training_memory", "seconds_per_step")


def write(folder):
    """Replaces the tables and pictures of a folder by those of the results it holds now."""
    results = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]
    tuning = [result for result in results if result["tuning"]]
    results = [result for result in results if not result["tuning"]]
    _write_csv(folder / "results.csv", results)
    parts = [_rates(tuning)] if tuning else []
    for dataset, title in DATASETS.items():
        pairs = find_pairs([result for result in results if result["dataset"] == dataset])
        if pairs:
            parts += [f"## {title}", *tables(pairs)]
            figure.draw(folder, dataset, {model: NAMES.get(model, model) for model in pairs})
    (folder / "tables.md").write_text("\n\n".join(parts) + "\n")


def find_pairs(results):
    """For each model its pairs, a list of `(plain, multi-scale)` of the same seed.

    A form whose partner is missing is left out.
    """
    found = {}
    for result in results:
        key = result["model"], result["seed"]
        found.setdefault(key, {})[result["multiscale"]] = result
    models = [*NAMES, *sorted({model for model, _ in found} - set(NAMES))]
    pairs = {
        model: [
            (forms[False], forms[True])
            for (name, _), forms in sorted(found.items())
            if name == model and len(forms) == 2
        ]
        for model in models
    }
    return {model: pairs for model, pairs in pairs.items() if pairs}


def tables(pairs):
    """Markdown tables: scores, and what the models cost."""
    first = next(iter(pairs.values()))[0][0]
    scores = {**SCORES, **CSI} if "csi_1" in first["scores"] else SCORES
    seeds = sorted({len(seeds) for seeds in pairs.values()})
    seeds = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    note = (
        f"Seeds of each pair: {seeds}. Test sequences: {first['sequences']}. Mean and standard "
        "deviation over seeds; the change is that of the multi-scale form from the plain one of "
        "the same seed, mean and extremes."
    )
    return [note, *(_score_table(pairs, score, *about) for score, about in scores.items()),
            _cost_table(pairs)]  # fmt: skip


def _score_table(pairs, score, heading, digits, more_is_better):
    rows, verdicts = [], []
    for model, seeds in pairs.items():
        values = [[form["scores"][score]["model"] for form in pair] for pair in seeds]
        plain, multiscale = zip(*values)
        verdicts.append(verdict(values, more_is_better))
        rows.append([
            NAMES.get(model, model), spread(plain, digits), spread(multiscale, digits),
            _changes(values), verdicts[-1],
        ])  # fmt: skip
    first = next(iter(pairs.values()))[0][0]["scores"][score]
    rows.append(["persistence", f"{first['persistence']:.{digits}f}", "", "", ""])
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in ("better", "worse", "open"))
    head = [heading, "plain", "multi-scale", "change", "multi-scale is"]
    return f"{markdown(head, rows)}\n\n{heading}: multi-scale in {len(pairs)} pairs: {counts}."


def verdict(values, more_is_better):
    """Whether multi-scale is `"better"` or `"worse"` in every seed, else `"open"`."""
    signs = {(more > less) - (more < less) for less, more in values}
    if len(values) < 2 or len(signs) > 1 or signs == {0}:
        return "open"
    return "better" if (signs == {1}) == more_is_better else "worse"


def spread(values, digits):
    """Mean and standard deviation."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _changes(values):
    if not all(plain for plain, _ in values):
        return ""
    changes = [100 * (multiscale / plain - 1) for plain, multiscale in values]
    mean = f"{statistics.fmean(changes):+.1f} %"
    if len(changes) == 1:
        return mean
    return f"{mean} ({min(changes):+.1f} to {max(changes):+.1f})"


def _cost_table(pairs):
    head = ["cost, plain / multi-scale", "parameters", "multiply-adds, M", "training memory, MB",
            "time of a step, ms"]  # fmt: skip
    scales = {"parameters": 1, "multiply_adds": 1e-6, "training_memory": 1e-6,
              "seconds_per_step": 1e3}  # fmt: skip
    rows = []
    for model, seeds in pairs.items():
        row = [NAMES.get(model, model)]
        for cost in COSTS:
            forms = [[form[cost] for form in forms if form[cost] is not None]
                     for forms in zip(*seeds)]  # fmt: skip
            if not all(forms):
                row.append("")
                continue
            plain, multiscale = (scales[cost] * statistics.median(form) for form in forms)
            digits = 0 if cost in ("parameters", "seconds_per_step") else 1
            values = f"{plain:,.{digits}f} / {multiscale:,.{digits}f}"
            row.append(f"{values} ({multiscale / plain:.0%})")
        rows.append(row)
    return markdown(head, rows)


def _rates(tuning):
    rows = {}
    for result in tuning:
        error = result["scores"]["squared_error_per_frame"]["model"]
        rows.setdefault(result["rate"], {})[result["multiscale"]] = f"{error:.2f}"
    rows = [[f"{rate:g}", row.get(False, ""), row.get(True, "")]
            for rate, row in sorted(rows.items())]  # fmt: skip
    model = NAMES.get(tuning[0]["model"], tuning[0]["model"])
    head = ["learning rate", f"{model}, plain", "multi-scale"]
    return f"## Learning rate\n\nMSE on held-out training digits.\n\n{markdown(head, rows)}"


def markdown(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _write_csv(path, results):
    names = sorted({name for result in results for name in result["scores"]})
    about = ("dataset", "model", "multiscale", "seed", "rate", "sequences")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*about, *names, *COSTS, "seconds", *(f"persistence_{n}" for n in names)])
        for result in results:
            scores = [result["scores"].get(name, {}) for name in names]
            writer.writerow([
                *(result[name] for name in about),
                *(score.get("model") for score in scores),
                *(result[name] for name in (*COSTS, "seconds")),
                *(score.get("persistence") for score in scores),
            ])  # fmt: skip
