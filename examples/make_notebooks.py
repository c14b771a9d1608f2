"""Makes the notebooks from their sources, runs them, and stores what they print and draw.

    pip install -e ".[tensorflow,notebooks]"
    python examples/make_notebooks.py                      # all of them
    python examples/make_notebooks.py 01_quickstart        # one
    python examples/make_notebooks.py --data FOLDER        # where `knmi/` and `TaxiBJ/` are

The truth is `source/NAME.py`, in jupytext's percent format. A notebook is run in a new kernel, on
the backend of KERAS_BACKEND (TensorFlow by default), in an empty folder. With `--text` nothing
runs: what was written in the sources' text is renewed, and the outputs stay.
"""

import argparse
import ast
import os
import pathlib
import re
import sys
import tempfile

import jupytext
import nbformat

# Where the repository is on GitHub: the badges and the install cells follow from it.
REPOSITORY, BRANCH = "keras-msrnn/keras_msrnn", "main"

FOLDER = pathlib.Path(__file__).parent
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/{branch}/examples/{name}.ipynb)"
)
INSTALL = """\
import importlib.util

if importlib.util.find_spec("keras_msrnn") is None:  # as in a new Colab tab
    %pip install -q "keras_msrnn[tensorflow] @ git+https://github.com/{repository}\""""


def names():
    """The names of all notebooks, in order."""
    return sorted(path.stem for path in (FOLDER / "source").glob("*.py"))


def make(name):
    """The notebook of a source, without outputs: its cells, a badge, and a cell that installs."""
    title, *cells = jupytext.read(FOLDER / "source" / f"{name}.py").cells
    where = {"repository": REPOSITORY, "branch": BRANCH, "name": name}
    badge = nbformat.v4.new_markdown_cell(BADGE.format(**where))
    install = nbformat.v4.new_code_cell(INSTALL.format(**where), metadata={"tags": ["install"]})
    notebook = nbformat.v4.new_notebook(cells=[badge, title, install, *cells])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same in every run, so that differences stay small
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return notebook


def run(notebook, data=None):
    """Runs a notebook in place, in an empty folder into which the entries of `data` are linked."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        for path in pathlib.Path(data).absolute().iterdir() if data else ():
            (pathlib.Path(folder) / path.name).symlink_to(path)
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=None, resources=resources, record_timing=False, coalesce_streams=True
        )
        client.execute(cwd=folder)
    notebook.metadata["language_info"] = {"name": "python"}  # the version would be noise
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_log(output)]


def is_log(output):
    """Whether an output is what TensorFlow logs when it is imported or exports, and no more."""
    log = r"[IW]\d{4} [\d:. ]+\w+\.cc:\d+\]|WARNING: All log messages before|INFO:tensorflow:"
    lines = output.text.strip().split("\n") if output.get("name") == "stderr" else [""]
    return all(re.match(log, line) for line in lines)


def keep_outputs(notebook, path):
    """Takes the outputs from the notebook at `path`, whose code must be the same but for layout."""
    old = nbformat.read(path, as_version=4).cells
    old = {what_it_does(cell.source): cell for cell in old if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if what_it_does(cell.source) not in old:
                raise SystemExit(f"{path.name} has other code, so it must run. In:\n{cell.source}")
            same = old[what_it_does(cell.source)]
            cell.outputs = [output for output in same.outputs if not is_log(output)]
            cell.execution_count = same.execution_count


def what_it_does(code):
    """Code without its layout and comments."""
    code = re.sub(r"^( *)%pip (.*)$", r"\1pip = '\2'", code, flags=re.M)
    return ast.dump(ast.parse(code))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=names(), help="such as 01_quickstart")
    parser.add_argument("--data", help="folder with data sets, such as knmi/ and TaxiBJ/")
    parser.add_argument("--text", action="store_true", help="renew the text, run nothing")
    parser.add_argument("--out", default=FOLDER, help="folder of the notebooks")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no source of {', '.join(unknown)}; the notebooks are {', '.join(names())}")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's greetings on stderr
    for name in options.names:
        print(name, flush=True)
        notebook, path = make(name), pathlib.Path(options.out) / f"{name}.ipynb"
        if options.text:
            keep_outputs(notebook, path)
        else:
            run(notebook, options.data)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    sys.exit(main())
