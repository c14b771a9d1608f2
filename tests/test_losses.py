import keras
import numpy as np
import pytest
from keras import ops

from keras_msrnn import losses
from keras_msrnn.data.units import RainRate, Reflectivity
from keras_msrnn.metrics import BalancedAbsoluteError, BalancedSquaredError

UNITS = RainRate(scale=50)
LOSSES = {
    "paper": losses.SquaredPlusAbsoluteError,
    "balanced": lambda **k: losses.BalancedSquaredPlusAbsoluteError(UNITS, **k),
}


@pytest.fixture
def pair():
    return np.random.default_rng(0).uniform(size=(2, 2, 3, 4, 6, 2)).astype("float32")


def test_balanced_loss_by_hand():
    rain = np.array([0.1, 0.5, 2.0, 5.0, 10.0, 30.0, 45.0])
    truth = UNITS.from_rain(rain).reshape(1, 1, 1, 7, 1).astype("float32")
    loss = losses.BalancedSquaredPlusAbsoluteError(UNITS)
    expected = (1 + 1 + 2 + 5 + 10 + 30 + 30) * (0.5 + 0.25)
    np.testing.assert_allclose(float(loss(truth, truth + 0.5)), expected, rtol=1e-5)


def test_balanced_loss_is_the_sum_of_its_metrics(pair):
    expected = BalancedSquaredError(UNITS)(*pair) + BalancedAbsoluteError(UNITS)(*pair)
    np.testing.assert_allclose(float(LOSSES["balanced"]()(*pair)), float(expected), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_missing_pixels_are_left_out(name, pair):
    truth, forecast = pair
    loss = LOSSES[name]()
    expected = float(loss(truth[:, :, :, :4], forecast[:, :, :, :4]))
    hole = truth.copy()
    hole[:, :, :, 4:] = np.nan
    np.testing.assert_allclose(float(loss(hole, forecast)), expected, rtol=1e-6)
    mask = np.broadcast_to(np.arange(6) < 4, (2, 3, 4, 6))[..., None]
    np.testing.assert_allclose(float(loss(truth, forecast, mask)), expected, rtol=1e-6)
    np.testing.assert_allclose(float(loss(hole, forecast, 1.0 * mask)), expected, rtol=1e-6)
    hole = truth.copy()
    hole[:, 1:] = np.nan  # whole frames
    expected = float(loss(truth[:, :1], forecast[:, :1]))
    np.testing.assert_allclose(float(loss(hole, forecast)), expected, rtol=1e-6)
    assert float(loss(np.full_like(truth, np.nan), forecast)) == 0


@pytest.mark.parametrize("name", LOSSES)
def test_weights_and_reductions(name, pair):
    truth, forecast = pair
    frames = ops.convert_to_numpy(LOSSES[name](reduction=None)(truth, forecast))
    assert frames.shape == (2, 3)
    weight = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    for reduction, expected in {
        "sum": (frames * weight).sum(),
        "sum_over_batch_size": (frames * weight).mean(),
        "mean_with_sample_weight": (frames * weight).sum() / weight.sum(),
    }.items():
        loss = LOSSES[name](reduction=reduction)
        np.testing.assert_allclose(float(loss(truth, forecast, weight)), expected, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_stay_finite_beside_missing_pixels(name, pair):
    context, future = pair
    mask = np.ones((2, 3, 4, 6, 1), "float32")
    mask[:, :, 1:3, 2:] = 0
    mask[1, 2] = 0
    trained = []
    for missing in (False, True):
        model = keras.Sequential([keras.layers.Conv3D(2, 1, kernel_initializer="ones")])
        model.compile(keras.optimizers.SGD(1e-3), LOSSES[name]())
        if missing:
            model.fit(context, np.where(mask > 0, future, np.nan), epochs=2, verbose=0)
        else:
            model.fit(context, future, sample_weight=mask, epochs=2, verbose=0)
        trained.append(model.get_weights())
    for by_mask, by_nan in zip(*trained, strict=True):
        assert np.isfinite(by_nan).all()
        np.testing.assert_allclose(by_nan, by_mask, rtol=1e-6)
    assert np.abs(trained[0][0] - 1).max() > 1e-4


def test_forecaster_trains_with_missing_frames(small_model, sequences, tmp_path):
    context, future = sequences()
    future[:, 0, :4] = np.nan
    model = small_model(sampling=None)
    loss = losses.BalancedSquaredPlusAbsoluteError(Reflectivity("germany"))
    model.compile(keras.optimizers.Adam(3e-3), loss)
    history = model.fit(context, future, epochs=4, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == loss.get_config()
    np.testing.assert_allclose(
        loaded.evaluate(context, future, verbose=0),
        model.evaluate(context, future, verbose=0),
        rtol=1e-5,
    )


def test_bad_input(pair):
    with pytest.raises(TypeError, match="`units` must be the units of the pixels"):
        losses.BalancedSquaredPlusAbsoluteError("germany")
    with pytest.raises(ValueError, match="threshold=5"):
        losses.BalancedSquaredPlusAbsoluteError(Reflectivity(low=0, high=30))
    with pytest.raises(ValueError, match="`y_true` and `y_pred` must have one shape"):
        losses.SquaredPlusAbsoluteError()(pair[0], pair[1][:, :2])
    with pytest.raises(ValueError, match="`sample_weight` must have the shape"):
        losses.SquaredPlusAbsoluteError()(*pair, np.ones((2, 3, 4, 6)))
