"""What holds for every registered model, plain and multi-scale."""

import importlib.util
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


def every_model(test):
    plain_or_ms = pytest.mark.parametrize("multiscale", [False, True], ids=["plain", "ms"])
    return plain_or_ms(pytest.mark.parametrize("name", MODELS)(test))


@every_model
def test_train_forecast_save_and_load(name, multiscale, small_model, sequences, tmp_path):
    model = small_model(name, multiscale, channels=None)
    context, future = sequences(samples=3)
    before = model.evaluate(context, future, verbose=0)
    model.optimizer.learning_rate = 3e-3
    model.fit(context, future, epochs=4, verbose=0)
    assert model.evaluate(context, future, verbose=0) < before
    forecast = model.predict(context, verbose=0)
    assert forecast.shape == future.shape

    # No dead weights: all of them have been changed.
    initial = small_model(name, multiscale)
    for old, new in zip(initial.trainable_variables, model.trainable_variables, strict=True):
        moved = np.abs(keras.ops.convert_to_numpy(old) - keras.ops.convert_to_numpy(new))
        if "attention" not in new.path or "bias" not in new.path:  # softmax ignores the key's bias
            assert (moved.reshape(-1, moved.shape[-1]).max(0) > 0).mean() > 0.9, new.path

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(context, verbose=0), forecast, atol=1e-6)
    for old, new in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (old, new)))


@every_model
def test_samples_are_independent_and_time_is_causal(name, multiscale, small_model, sequences):
    model = small_model(name, multiscale, sampling=None)
    context, future = sequences(samples=2, context=4, horizon=2)

    def outputs(context, future):
        inputs = {"context": context, "future": future}
        return keras.ops.convert_to_numpy(model(inputs, training=True))

    both = outputs(context, future)
    single = [outputs(context[i : i + 1], future[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(both, np.concatenate(single), atol=1e-5)

    changed = context.copy()
    changed[:, 2] += 1
    after = outputs(changed, future)
    np.testing.assert_array_equal(after[:, :2], both[:, :2])
    assert np.abs(after[:, 2] - both[:, 2]).max() > 1e-5
    # With no true frame after the context, the future changes nothing.
    np.testing.assert_array_equal(outputs(context, future + 1), both)


@every_model
def test_any_size_and_channels(name, multiscale, small_model, sequences):
    model = small_model(name, multiscale, channels=None)
    context, _ = sequences(samples=1, context=2, height=13, width=10, channels=3)
    forecast = keras.ops.convert_to_numpy(model(context))
    assert forecast.shape == (1, 10, 13, 10, 3)
    assert np.isfinite(forecast).all()


@every_model
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
    again = keras.ops.convert_to_numpy(fresh(context))
    assert np.abs(again - forecast).max() < 1e-5, name
    print("same forecast:", name)
"""


@pytest.fixture(scope="module")
def saved_models(tmp_path_factory):
    """A folder with every model after one training step, and its forecasts."""
    folder = tmp_path_factory.mktemp("models")
    context, future = np.random.default_rng(0).uniform(size=(2, 2, 2, 8, 8, 1)).astype("float32")
    np.save(folder / "context.npy", context)
    names = []
    for name in MODELS:
        for prefix in ("", "ms-"):
            model = keras_msrnn.build(
                name, bool(prefix), filters=4, scales=3, channels=1, horizon=2
            )
            model.compile(model.optimizer, model.loss, run_eagerly=True)
            model.train_on_batch(context, future)
            file = f"{prefix}{name}"
            model.save(folder / f"{file}.keras")
            model.save_weights(folder / f"{file}.weights.h5")
            np.save(folder / f"{file}.npy", keras.ops.convert_to_numpy(model(context)))
            names.append(file)
    return folder, names


@pytest.mark.parametrize("backend", BACKENDS)
def test_load_in_a_fresh_process_of_each_backend(backend, saved_models):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder, names = saved_models
    result = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), *names],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("same forecast") == len(names)
