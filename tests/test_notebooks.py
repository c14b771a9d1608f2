"""The notebooks run, agree with their sources, and hold what they printed and drew."""

import ast
import importlib.util
import pathlib
import re

import nbformat
import pytest

import keras_msrnn

ROOT = pathlib.Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("make", ROOT / "examples" / "make_notebooks.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

NAMES = make.names()
LARGEST = 400_000  # bytes of a file


def stored(name):
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


def run_cell(code, names):
    """Runs code as a notebook does; returns the value of its last expression."""
    *body, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        body, last = [*body, last], None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return last and eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(name, monkeypatch, tmp_path):
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMOKE", "1")
    monkeypatch.setattr(keras_msrnn.registry, "_MODELS", dict(keras_msrnn.registry._MODELS))
    names, pictures = {"__name__": "notebook"}, 0
    try:
        for cell in stored(name).cells:
            if cell.cell_type == "code" and "install" not in cell.metadata.get("tags", ()):
                value = run_cell(cell.source, names)
                if hasattr(value, "_repr_png_"):
                    pictures += value._repr_png_().startswith(b"\x89PNG")
    finally:
        matplotlib.pyplot.close("all")
    assert pictures, "no forecast was drawn"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_its_source(name):
    cells, made = stored(name).cells, make.make(name).cells
    assert [(c.id, c.cell_type, c.source) for c in cells] == [
        (c.id, c.cell_type, c.source) for c in made
    ], f"run `python examples/make_notebooks.py {name}`"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_starts_as_colab_needs_it(name):
    badge, title, install, *cells = stored(name).cells
    assert f"{make.REPOSITORY}/blob/{make.BRANCH}/examples/{name}.ipynb" in badge.source
    assert title.source.startswith("# ")
    assert "find_spec" in install.source and make.REPOSITORY in install.source
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert code.index("KERAS_BACKEND") < re.search("import keras|from keras", code).start()


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs(name):
    path = ROOT / "examples" / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    cells = [c for c in stored(name).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {(output.output_type, output.get("name")) for output in outputs}
    assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    assert not re.search(r"/(home|root|tmp|work|Users)/|site-packages|[A-Z]:\\\\", text)
    assert "Warning" not in text


def test_text_is_renewed_without_a_run(tmp_path):
    notebook = make.make(NAMES[0])
    make.keep_outputs(notebook, ROOT / "examples" / f"{NAMES[0]}.ipynb")
    assert [c.get("outputs") for c in notebook.cells] == [
        c.get("outputs") for c in stored(NAMES[0]).cells
    ]
    notebook.cells[4].source += "\n1 + 1"
    nbformat.write(notebook, tmp_path / "changed.ipynb")
    with pytest.raises(SystemExit, match="has other code"):
        make.keep_outputs(make.make(NAMES[0]), tmp_path / "changed.ipynb")
