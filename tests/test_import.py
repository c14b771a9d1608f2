"""What importing the package does and does not do, in fresh processes."""

import os
import subprocess
import sys

import keras


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


def test_command_line(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "keras_msrnn", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "predrnn++" in run("list").stdout.split()
    result = run("demo", "--epochs", "1", "--batches", "2")
    assert result.returncode == 0, result.stderr
    assert "persistence" in result.stdout
    names = {"forecast.gif", "forecast.png", "model.keras"}
    assert {path.name for path in (tmp_path / "msrnn-demo").iterdir()} == names
    for arguments, message in (
        (["--out", "msrnn-demo"], "must not exist yet"),
        (["--model", "predrn"], "Did you mean 'predrnn'"),
        (["--digits", "nowhere.gz"], "nowhere.gz"),
        (["--epochs", "0"], "`epochs` must be at least 1"),
    ):
        result = run("demo", *arguments)
        assert result.returncode == 2
        assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["msrnn-demo"]
