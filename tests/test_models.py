"""What holds for every registered model, plain and multi-scale."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_msrnn

MODELS = keras_msrnn.list_models()
BACKENDS = ("tensorflow", "jax", "torch")


@pytest.mark.parametrize("name", MODELS)
def test_train_forecast_save_and_load(name, small_model, sequences, tmp_path):
    model = small_model(name)
    initial = model.get_weights()
    context, future = sequences(samples=3)
    model.optimizer.learning_rate = 3e-3
    losses = model.fit(context, future, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    forecast = model.predict(context, verbose=0)
    assert forecast.shape == future.shape and np.isfinite(forecast).all()

    # No dead weights: all of them have been changed.
    for old, variable, new in zip(initial, model.weights, model.get_weights(), strict=True):
        # A softmax ignores the bias of the key.
        if variable.trainable and not ("attention" in variable.path and "bias" in variable.path):
            moved = np.abs(new - old).reshape(-1, new.shape[-1]).max(0) > 0
            assert moved.mean() > 0.9, variable.path

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.horizon == future.shape[1]
    variables = zip(
        [*model.weights, *model.optimizer.variables],
        [*loaded.weights, *loaded.optimizer.variables],
        strict=True,
    )
    for old, new in variables:
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (old, new)))


@pytest.mark.parametrize("name", MODELS)
def test_samples_are_independent_and_time_is_causal(name, small_model, sequences):
    model = small_model(name, sampling=None)
    context, future = sequences(samples=2, context=4, horizon=2)

    def outputs(context, future):
        inputs = {"context": context, "future": future}
        return keras.ops.convert_to_numpy(model(inputs, training=True))

    # One batch: two sequences, the first with a frame changed, and with another future.
    changed = context[:1].copy()
    changed[:, 2] += 1
    first, second, after_change, other_future = outputs(
        np.concatenate([context, changed, context[:1]]),
        np.concatenate([future, future[:1], future[:1] + 1]),
    )
    alone = outputs(context[1:], future[1:])[0]
    np.testing.assert_allclose(second, alone, atol=1e-5)
    np.testing.assert_allclose(after_change[:2], first[:2], atol=1e-6)
    assert np.abs(after_change[2] - first[2]).max() > 1e-5
    # With no true frame after the context, the future changes nothing.
    np.testing.assert_allclose(other_future, first, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_any_size_and_channels(name, small_model, sequences):
    model = small_model(name, channels=None, horizon=1)
    context, _ = sequences(samples=1, context=2, height=13, width=10, channels=3)
    forecast = keras.ops.convert_to_numpy(model(context))
    assert forecast.shape == (1, 1, 13, 10, 3)
    assert np.isfinite(forecast).all()


@pytest.mark.parametrize("multiscale", [False, True], ids=["plain", "ms"])
@pytest.mark.parametrize("name", MODELS)
def test_config_round_trip(name, multiscale, small_model):
    model = small_model(name, multiscale, horizon=3, patch_size=2, remat="step")
    config = model.get_config()
    clone = keras_msrnn.Forecaster.from_config(json.loads(json.dumps(config)))
    assert json.dumps(clone.get_config()) == json.dumps(config)
    shapes = [v.shape for v in model.variables]
    assert [v.shape for v in clone.variables] == shapes


LOAD = """
import sys
import numpy as np
import keras_msrnn, keras
folder = sys.argv[1]
context = np.load(f"{folder}/context.npy")
for name in sys.argv[2:]:
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    forecast = keras.ops.convert_to_numpy(model(context))
    error = np.abs(forecast - np.load(f"{folder}/{name}.npy")).max()
    assert error < 1e-4, (name, error)
    assert model.optimizer.iterations == 1
    fresh = keras_msrnn.Forecaster.from_config(model.get_config())
    fresh.load_weights(f"{folder}/{name}.weights.h5")
    for old, new in zip(model.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    print("same forecast:", name)
"""


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    """A folder with every model after one step of the optimizer, and its forecasts."""
    folder = tmp_path_factory.mktemp("models")
    context = np.random.default_rng(0).uniform(size=(2, 2, 8, 8, 1)).astype("float32")
    np.save(folder / "context.npy", context)
    for name in MODELS:
        model = keras_msrnn.build(name, True, filters=4, scales=3, channels=1, horizon=1)
        weights = model.trainable_variables
        model.optimizer.apply([keras.ops.ones(w.shape) for w in weights], weights)
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
        np.save(folder / f"{name}.npy", keras.ops.convert_to_numpy(model(context)))
    return folder


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_in_a_fresh_process_of_each_backend(backend, saved_models):
    result = subprocess.run(
        [sys.executable, "-c", LOAD, str(saved_models), *MODELS],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("same forecast") == len(MODELS)
