"""The code of docstrings, README and documentation runs, and the pages say what the code says."""

import doctest
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import re

import keras
import numpy as np
import pytest

import keras_msrnn

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [
    info.name
    for info in pkgutil.walk_packages(keras_msrnn.__path__, "keras_msrnn.")
    if not info.name.endswith("__main__")
]
PARTS = [name for name in keras_msrnn.__all__ if inspect.ismodule(getattr(keras_msrnn, name))]
PUBLIC = ["keras_msrnn", *(f"keras_msrnn.{name}" for name in PARTS)]
NOT_IN_THE_REFERENCE = {*PARTS, "__version__", "convert.Entry", "convert.Source", "sampling.get"}
NOT_IN_THE_REFERENCE |= {"profiling.compare", "profiling.profile"}  # under `keras_msrnn` itself


@pytest.fixture(autouse=True)
def own_folder_and_registry(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_msrnn.registry, "_MODELS", dict(keras_msrnn.registry._MODELS))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    names = {**vars(module), "np": np, "keras_msrnn": keras_msrnn}
    failed, _ = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert failed == 0


# A block of Python runs, after those before it on its page, unless a comment above it says
# `<!-- runs on: BACKENDS -->` or `<!-- does not run: REASON -->`. It then must compile at least.
BLOCK = re.compile(
    r"(?:<!-- (runs on|does not run): (.*?) -->\n)?^```python\n(.*?)^```", re.M | re.S
)
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md")))
}


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if "```python" in text])
def test_code_of_the_page_runs(page):
    blocks = BLOCK.findall(TEXTS[page])
    assert len(blocks) == TEXTS[page].count("```python")
    names = {"__name__": page}
    for mark, value, block in blocks:
        code = compile(block, page, "exec")
        backends = {"": [keras.backend.backend()], "runs on": re.split(r"[\s,]+", value)}
        if keras.backend.backend() in backends.get(mark, []):
            exec(code, names)


def test_tables_of_costs_are_those_of_the_code(monkeypatch):
    def zeros(initializer, shape, dtype=None):  # the values do not matter, and take seconds
        return np.zeros(shape, "float32")

    monkeypatch.setattr(keras_msrnn.cells.cell.BlockwiseUniform, "__call__", zeros)
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/site/tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page, table in tables.PAGES.items():
        text = TEXTS[f"docs/{page}"]
        assert tables.replace_table(text, table()) == text, "run `python docs/site/tables.py`"


@pytest.mark.parametrize("page", TEXTS)
def test_links_to_files(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", TEXTS[page]):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_model_has_a_section():
    built = re.findall(r'^model = keras_msrnn.build\("(.*?)"', TEXTS["docs/models.md"], re.M)
    names = [keras_msrnn.registry.find(name)[0].name for name in built]
    assert sorted(names) == keras_msrnn.list_models()


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    pages = "\n".join(text for page, text in TEXTS.items() if page.startswith("docs/api/"))
    documented = set(re.findall(r"^::: keras_msrnn\.(\S+)$", pages, re.M)) | NOT_IN_THE_REFERENCE
    prefix = module.removeprefix("keras_msrnn").removeprefix(".")
    public = {f"{prefix}.{name}".removeprefix(".") for name in _public_names(module)}
    assert public
    assert public - documented == set()


def _public_names(module):
    module = importlib.import_module(module)
    if hasattr(module, "__all__"):
        return module.__all__
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
