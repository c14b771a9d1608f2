"""Exported forecasters give the forecasts of `predict`, in runtimes that know nothing of Keras."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from export_matrix import forecast_elsewhere, forecast_with_tensorflow

from keras_msrnn.export import FORMATS, SUFFIXES

BACKEND = keras.backend.backend()
# Plain, with patches; warping; attention, and a memory that climbs the pyramid.
MODELS = {
    "convlstm": {"multiscale": False, "patch_size": 2},
    "trajgru": {"links": 2},
    "preciplstm": {"window": 3},
}
FROM_FILE = """
import sys
import keras
import keras_msrnn

keras.saving.load_model(sys.argv[1]).export(sys.argv[2])
"""


@pytest.fixture
def context():
    return np.random.default_rng(0).uniform(size=(2, 2, 10, 13, 1)).astype("float32")


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch):
    """OpenVINO reports each conversion to its makers, from a forked process. Not from tests."""
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)


def test_saved_models_are_served_by_tensorflow_alone(small_model, context, tmp_path, capfd):
    folders, expected = [], []
    for name, options in MODELS.items():
        model = small_model(name, horizon=2, **options)
        forecast = model.predict(context, verbose=0)
        if "tf_saved_model" in FORMATS[BACKEND]:
            folders.append(tmp_path / name)
            expected.append(forecast)
            model.export(folders[-1])
    printed = capfd.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("Exported")] == [
        f"Exported to {folder}: context (None, 2, 10, 13, 1), horizon 2." for folder in folders
    ]
    np.testing.assert_allclose(model.predict(context, verbose=0), forecast, atol=1e-6)

    if BACKEND != "tensorflow":  # exported by TensorFlow, from a file
        model.save(tmp_path / "model.keras")
        folders.append(tmp_path / "from_file")
        expected.append(forecast)
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
        command = [sys.executable, "-c", FROM_FILE, tmp_path / "model.keras", folders[-1]]
        subprocess.run(command, env=environment, check=True)

    for served, forecast in zip(forecast_with_tensorflow(folders, context), expected, strict=True):
        assert served["whole"].shape == forecast.shape
        np.testing.assert_allclose(served["whole"], forecast, atol=1e-4)
        np.testing.assert_allclose(served["one"], forecast[:1], atol=1e-4)
        np.testing.assert_allclose(served["streamed"], forecast, atol=1e-4)


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("onnx", "trajgru"),
        ("onnx", "preciplstm"),
        ("openvino", "convlstm"),
        ("litert", "trajgru"),
        ("torch", "trajgru"),
    ],
)
def test_other_formats(format, name, small_model, context, tmp_path):
    model = small_model(name, horizon=2, **MODELS[name])
    expected = model.predict(context, verbose=0)
    path = tmp_path / f"model{SUFFIXES[format]}"
    if format not in FORMATS[BACKEND]:
        with pytest.raises(ValueError, match="save the model.*KERAS_BACKEND="):
            model.export(path, format)
        return
    model.export(path, format, verbose=False)
    for samples in (1,) if format == "litert" else (2, 1):  # one file for any batch
        forecast = forecast_elsewhere(path, context[:samples])
        np.testing.assert_allclose(forecast, expected[:samples], atol=1e-4)
    np.testing.assert_allclose(model.predict(context, verbose=0), expected, atol=1e-6)


def test_missing_values_and_a_fixed_batch(small_model, context, tmp_path):
    model = small_model(fill_missing=0, horizon=2)
    context[0, 1, 2:4] = np.nan
    expected = model.predict(context, verbose=0)
    format = "torch" if BACKEND == "torch" else "tf_saved_model"
    path = tmp_path / f"model{SUFFIXES[format]}"
    model.export(path, format, verbose=False, input_signature=context.shape)
    if format == "torch":
        forecast = forecast_elsewhere(path, context)
    else:
        import tensorflow as tf

        loaded = tf.saved_model.load(path)
        forecast = loaded.serve(context)
        with pytest.raises((TypeError, ValueError), match="shape="):
            loaded.serve(context[:1])
    np.testing.assert_allclose(forecast, expected, atol=1e-4)


def test_the_last_context_is_remembered(small_model, sequences, tmp_path):
    model = small_model(channels=None)
    assert model.context_shape == (None, None, None, None)
    for context in (3, 4, 3):  # the last is compiled already
        model.predict(sequences(context=context)[0], verbose=0)
        assert model.context_shape == (context, 8, 8, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.context_shape == (3, 8, 8, 1)


def test_errors(small_model, context, tmp_path, monkeypatch):
    format = "torch" if BACKEND == "torch" else "tf_saved_model"
    path = tmp_path / f"model{SUFFIXES[format]}"
    with pytest.raises(ValueError, match="must have weights"):
        small_model(channels=None).export(path, format)
    model = small_model()
    with pytest.raises(ValueError, match=r"must be known.*input_signature=None"):
        model.export(path, format)
    model.predict(context, verbose=0)
    with pytest.raises(ValueError, match="must be known"):
        model.export(path, format, input_signature=(None, None, 8, 8, 1))
    with pytest.raises(ValueError, match="must have 1 channels"):
        model.export(path, format, input_signature=(None, 3, 8, 8, 2))
    with pytest.raises(ValueError, match=r"must be one of 'tf_saved_model', .*'caffe'"):
        model.export(path, "caffe")
    with pytest.raises(ValueError, match="`filepath` must"):
        model.export(tmp_path / "model.xml", format)
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="not overwritten"):
        model.export(path, format)
    assert path.read_text() == "precious"
    needed = {"tensorflow": "onnx", "jax": "tf_saved_model", "torch": "onnx"}[BACKEND]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install"):
        model.export(tmp_path / f"new{SUFFIXES[needed]}", needed)
    assert os.listdir(tmp_path) == [path.name]
