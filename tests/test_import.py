"""What importing the package does and does not do, in fresh processes."""

import os
import subprocess
import sys

import keras

from keras_msrnn.__main__ import main


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_prints_nothing_and_brings_no_other_backend():
    code = (
        "import sys, {module};"
        "print(*[m for m in ('tensorflow', 'jax', 'torch', 'keras_tuner') if m in sys.modules])"
    )
    ours, keras_alone = (
        python(code.format(module=module)).stdout for module in ("keras_msrnn", "keras")
    )
    assert ours == keras_alone  # TensorFlow itself imports JAX where that is installed
    assert keras.backend.backend() in ours


def test_no_backend_installed():
    result = python(
        "import sys; sys.modules['jax'] = None; import keras_msrnn", KERAS_BACKEND="jax"
    )
    assert result.returncode == 1
    assert 'pip install "keras_msrnn[tensorflow]"' in result.stderr


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "keras_msrnn", "demo", "--epochs", "1", "--batches", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "persistence" in result.stdout
    names = {"forecast.gif", "forecast.png", "model.keras"}
    assert {path.name for path in (tmp_path / "msrnn-demo").iterdir()} == names

    assert main(["list"]) == 0
    assert "predrnn++" in capsys.readouterr().out.split()
    for arguments, message in (
        ("demo --out msrnn-demo", "must not exist yet"),
        ("demo --model predrn", "Did you mean 'predrnn'"),
        ("demo --digits nowhere.gz", "nowhere.gz"),
        ("demo --epochs 0", "`epochs` must be at least 1"),
        ("benchmark --height 40", "multiple of 16"),
        ("tune msrnn-demo", "must be new or empty"),
    ):
        assert main(arguments.split()) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["msrnn-demo"]
    assert {path.name for path in (tmp_path / "msrnn-demo").iterdir()} == names
