import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# The tests compile far more than they compute.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
import pytest

import keras_msrnn

SMALL = {"filters": 4, "scales": 3, "channels": 1, "seed": 0}


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _no_second_look_at_old_graphs():
    """TensorFlow keeps the graphs of all tests, and Python would look for garbage in them."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def small_model():
    """Makes a small forecaster: 3 cells of 4 filters, a few options changed."""

    def make(name="convlstm", multiscale=True, **options):
        return keras_msrnn.build(name, multiscale, **{**SMALL, **options})

    return make


@pytest.fixture
def sequences():
    """Makes `(context, future)` of drifting patterns."""

    def make(samples=4, context=3, horizon=2, height=8, width=8, channels=1):
        rng = np.random.default_rng(0)
        base = rng.uniform(size=(samples, height, width, channels)).astype("float32")
        frames = np.stack([np.roll(base, t, axis=1) for t in range(context + horizon)], axis=1)
        return frames[:, :context], frames[:, context:]

    return make
