"""The examples of the docstrings and of the README run."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import numpy as np
import pytest

import keras_msrnn

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [
    info.name
    for info in pkgutil.walk_packages(keras_msrnn.__path__, "keras_msrnn.")
    if not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_msrnn.registry, "_MODELS", dict(keras_msrnn.registry._MODELS))
    module = importlib.import_module(name)
    names = {**vars(module), "np": np, "keras_msrnn": keras_msrnn}
    failed, _ = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert failed == 0


PAGES = ["README.md", "docs/data.md", "docs/tuning.md", "docs/verification.md"]


@pytest.mark.parametrize("page", PAGES)
def test_code_of_the_page_runs(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_msrnn.registry, "_MODELS", dict(keras_msrnn.registry._MODELS))
    text = (ROOT / page).read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
