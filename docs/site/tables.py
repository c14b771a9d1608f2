"""Writes the tables of costs in the pages from the code: `python docs/site/tables.py`."""

import pathlib

import keras_msrnn
from keras_msrnn.profiling.tables import count, size

DOCS = pathlib.Path(__file__).parents[1]
BEGIN, END = "<!-- table from docs/site/tables.py -->\n", "<!-- end of the table -->"
OPTIONS = (
    {"multiscale": False},
    {},
    {"remat": "step"},
    {"remat": "sqrt"},
    {"dtype": "mixed_bfloat16"},
    {"filters": 32},
    {"filters": {1: 16, 2: 32, 4: 64}},
    {"patch_size": 2},
    {"scales": (2, 4, 4, 2)},
)


def models():
    """The table of `models.md`: what every model costs, plain and multi-scale."""
    head = ["model", "states", "parameters"]
    head += ["multiply-adds, plain", "multi-scale", "memory, plain", "multi-scale"]
    return _table(head, "--", map(_model, keras_msrnn.list_models()))


def memory():
    """The table of `memory.md`: what options of `build` make of the memory of training."""
    profiles = []
    for options in OPTIONS:
        model = keras_msrnn.build("predrnn", channels=1, **options)
        profiles.append(keras_msrnn.profile(model, (10, 500, 500, 1), horizon=10))
    default = profiles[OPTIONS.index({})]
    # Training is three times the forward pass, which `remat` repeats once or twice.
    arithmetic = [p.multiply_adds * (3 + (None, "step", "sqrt").index(p.remat)) for p in profiles]
    rows = [
        (
            ", ".join(f"`{key}={value!r}`" for key, value in options.items()) or "as built",
            size(costs.training_memory),
            f"{costs.training_memory / default.training_memory:.2f}",
            f"{work / (3 * default.multiply_adds):.2f}",
        )
        for options, costs, work in zip(OPTIONS, profiles, arithmetic)
    ]
    return _table(['`build("predrnn", ...)`', "memory", "ratio", "arithmetic"], "-", rows)


def replace_table(text, table):
    """The text of a page with another table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table + END + rest.split(END)[1]


def _model(name):
    built = [keras_msrnn.build(name, multiscale, channels=1) for multiscale in (False, True)]
    plain, ms = (
        keras_msrnn.profile(model, (10, 64, 64, 1), horizon=10, batch_size=16) for model in built
    )
    if plain.parameters != ms.parameters:
        raise ValueError(f"{name}: the page says that both forms have the same parameters.")
    cell = built[0].rnn.cells[1]
    states = (f"`{s}`{' ↑' if s in cell.climbing_states else ''}" for s in cell.state_names)
    return (
        f"`{name}`",
        ", ".join(states),
        count(plain.parameters),
        count(plain.multiply_adds),
        f"{count(ms.multiply_adds)} ({ms.multiply_adds / plain.multiply_adds:.0%})",
        size(plain.training_memory),
        f"{size(ms.training_memory)} ({ms.training_memory / plain.training_memory:.0%})",
    )


def _table(head, texts, rows):
    """Markdown; the first columns, one for each character of `texts`, are aligned to the left."""
    rule = ["---"] * len(texts) + ["--:"] * (len(head) - len(texts))
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))


PAGES = {"models.md": models, "memory.md": memory}

if __name__ == "__main__":
    for name, table in PAGES.items():
        page = DOCS / name
        page.write_text(replace_table(page.read_text("utf-8"), table()), "utf-8")
