import pathlib

import keras
import numpy as np
import pytest
import torch
from keras import ops

import keras_msrnn
from keras_msrnn import metrics
from keras_msrnn.data.units import RainRate, Reflectivity
from keras_msrnn.metrics import perceptual
from keras_msrnn.verification import _compile

GOLDEN = pathlib.Path(__file__).parent / "golden" / "metrics"
UNITS = {"mnist": Reflectivity("hong-kong"), "germany": Reflectivity("germany")}
RAIN = RainRate(scale=50)
ALL = {
    "squared_error_per_frame": lambda **k: metrics.SquaredError(**k),
    "squared_error_per_pixel": lambda **k: metrics.SquaredError("pixel", **k),
    "absolute_error_per_frame": lambda **k: metrics.AbsoluteError(**k),
    "absolute_error_per_pixel": lambda **k: metrics.AbsoluteError("pixel", **k),
    "balanced_squared_error_per_frame": lambda **k: metrics.BalancedSquaredError(RAIN, **k),
    "balanced_absolute_error_per_pixel": lambda **k: metrics.BalancedAbsoluteError(
        RAIN, "pixel", **k
    ),
    "gdl": lambda **k: metrics.GDL(**k),
    "ssim": lambda **k: metrics.SSIM(**k),
    "psnr": lambda **k: metrics.PSNR(**k),
    "pod_5": lambda **k: metrics.POD(5, RAIN, **k),
    "far_0.3": lambda **k: metrics.FAR(0.3, **k),
    "csi_5": lambda **k: metrics.CSI(5, RAIN, **k),
    "hss_5": lambda **k: metrics.HSS(5, RAIN, **k),
}


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth, forecast = rng.uniform(size=(2, 3, 2, 13, 24, 2)).astype("float32")
    return truth, 0.7 * truth + 0.3 * forecast


def by_lead_time(metric, *data):
    metric.update_state(*data)
    return ops.convert_to_numpy(metric.result_by_lead_time())


# Right numbers


@pytest.mark.parametrize("name", UNITS)
def test_golden(name):
    golden, units = np.load(GOLDEN / f"metrics_{name}.npz"), UNITS[name]
    scores = {
        "ssim": metrics.SSIM(),
        "psnr": metrics.PSNR(),
        "gdl": metrics.GDL(),
        "mse": metrics.SquaredError(),
        "mae": metrics.AbsoluteError(),
        "balanced_mse": metrics.BalancedSquaredError(units),
        "balanced_mae": metrics.BalancedAbsoluteError(units),
    }
    for key, metric in scores.items():
        scores = by_lead_time(metric, golden["truth"], golden["pred"])
        np.testing.assert_allclose(scores, golden[key], rtol=1e-5, err_msg=key)
        np.testing.assert_allclose(float(metric.result()), golden[key].mean(), rtol=1e-5)
    for key in ("pod", "far", "csi", "hss"):
        for i, threshold in enumerate(golden["thresholds_mm_per_h"]):
            metric = getattr(metrics, key.upper())(threshold, units)
            scores = by_lead_time(metric, golden["truth"], golden["pred"])
            np.testing.assert_allclose(scores, golden[key][:, i], rtol=1e-5, equal_nan=True)


@pytest.fixture(scope="module")
def lpips(tmp_path_factory):
    """LPIPS with the weights for which `lpips.npz` has the distances of its authors' package."""
    rng, trunk, heads, channels = np.random.default_rng(0), {}, {}, 3
    for index, (name, filters, size, *_) in enumerate(perceptual.CONVOLUTIONS):
        scale = (2 / (channels * size**2)) ** 0.5
        shape = (filters, channels, size, size)
        trunk[f"{name}.weight"] = rng.normal(0, scale, shape)
        trunk[f"{name}.bias"] = rng.normal(0, 0.1, filters)
        heads[f"lin{index}.model.1.weight"] = rng.uniform(size=(1, filters, 1, 1))
        channels = filters
    paths = []
    for name, arrays in (("trunk", trunk), ("heads", heads)):
        paths.append(tmp_path_factory.mktemp("lpips") / f"{name}.pth")
        torch.save({key: torch.tensor(array).float() for key, array in arrays.items()}, paths[-1])
    return metrics.LPIPS(*paths)


@pytest.mark.parametrize("channels", [1, 3])
def test_lpips(lpips, channels):
    golden = np.load(GOLDEN / "lpips.npz")[f"distance_{channels}"]
    rng = np.random.default_rng(1)
    pairs = {c: rng.uniform(size=(2, 2, 3, 40, 64, c)).astype("float32") for c in (1, 3)}
    truth, forecast = pairs[channels]
    lpips.reset_state()
    np.testing.assert_allclose(by_lead_time(lpips, truth, forecast), golden.mean(0), rtol=1e-4)

    truth[1, 2, 5, 5] = np.nan
    lpips.reset_state()
    expected = [*golden.mean(0)[:2], golden[0, 2]]
    np.testing.assert_allclose(by_lead_time(lpips, truth, forecast), expected, rtol=1e-4)

    def persist(context, steps):
        return np.repeat(context[:, -1:], steps, axis=1)

    data = (forecast[:, 2:], truth)
    scores = keras_msrnn.evaluate_forecast(persist, data, more=[lpips]).by_lead_time("lpips")
    np.testing.assert_allclose(scores["model"], scores["persistence"], rtol=1e-6)


def test_lpips_without_its_weights(lpips, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    frames = np.zeros((1, 1, 32, 32, 1))
    with pytest.raises(FileNotFoundError, match="`LPIPS` needs the weights.*Received: trunk=None"):
        metrics.LPIPS()(frames, frames)
    with pytest.raises(ValueError, match=r"must have 'features.0.weight'.*Received: none in"):
        metrics.LPIPS(lpips.heads, lpips.heads)(frames, frames)
    with pytest.raises(ValueError, match="at least 31 x 31 pixels. Received: "):
        metrics.LPIPS()(frames[:, :, :30], frames[:, :, :30])
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(lpips))
    assert twin.get_config() == lpips.get_config()


def table(hits, false_alarms, misses, correct_negatives):
    """Truth and forecast with these counts."""
    counts = (hits, false_alarms, misses, correct_negatives)
    truth = np.repeat([1.0, 0.0, 1.0, 0.0], counts).reshape(1, 1, 1, -1, 1)
    return truth, np.repeat([1.0, 1.0, 0.0, 0.0], counts).reshape(1, 1, 1, -1, 1)


def test_tornado_forecasts_of_finley():
    scores = {"POD": 0.549, "FAR": 0.720, "CSI": 0.228, "HSS": 0.355}
    for name, expected in scores.items():
        metric = getattr(metrics, name)(threshold=0.5)
        assert round(float(metric(*table(28, 72, 23, 2680))), 3) == expected
        assert metric.name == f"{name.lower()}_0.5"


@pytest.mark.parametrize(
    "counts, undefined",
    [
        ((0, 0, 0, 9), {"POD", "FAR", "CSI", "HSS"}),
        ((0, 0, 3, 9), {"FAR"}),
        ((0, 3, 0, 9), {"POD"}),
        ((9, 0, 0, 0), {"HSS"}),
    ],
)
def test_undefined_is_nan(counts, undefined):
    for name in ("POD", "FAR", "CSI", "HSS"):
        metric = getattr(metrics, name)(threshold=0.5)
        assert np.isnan(float(metric(*table(*counts)))) == (name in undefined)


def test_no_data_is_nan():
    for make in ALL.values():
        metric = make(horizon=2)
        assert np.isnan(float(make().result())) and np.isnan(float(metric.result()))
        assert np.isnan(ops.convert_to_numpy(metric.result_by_lead_time())).all()


def test_an_event_is_at_or_above_the_threshold():
    rain = np.array([4.9, 5.0, 5.1, 0.0]).reshape(1, 1, 2, 2, 1)
    for units in (RAIN, Reflectivity("germany"), Reflectivity("marshall-palmer", 0, 70)):
        truth = units.from_rain(rain).astype("float32")
        metric = metrics.POD(5, units)
        metric.update_state(truth, truth)
        assert [float(x[0]) for x in metric.totals_by_lead_time()] == [2, 0, 0, 2]


def ssim_map(x, y):
    """SSIM of every window of two images, one by one in float64."""
    line = np.exp(-((np.arange(11) - 5.0) ** 2) / 4.5)
    window = np.outer(line, line) / line.sum() ** 2
    result = np.empty((x.shape[0] - 10, x.shape[1] - 10))
    for i, j in np.ndindex(result.shape):
        a, b = (z[i : i + 11, j : j + 11].astype("float64") for z in (x, y))
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
        cov = (window * (a - ma) * (b - mb)).sum()
        result[i, j] = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
        result[i, j] /= (ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)
    return result


def test_ssim_leaves_out_windows_that_touch_missing_pixels(pair):
    truth, forecast = (frames[:1, :1, ..., :1] for frames in pair)
    full = ssim_map(truth[0, 0, ..., 0], forecast[0, 0, ..., 0])
    np.testing.assert_allclose(float(metrics.SSIM()(truth, forecast)), full.mean(), rtol=1e-5)
    truth[0, 0, 1, 4] = np.nan
    full[:2, :5] = np.nan
    np.testing.assert_allclose(float(metrics.SSIM()(truth, forecast)), np.nanmean(full), rtol=1e-5)


# Missing data


@pytest.mark.parametrize("name", ALL)
def test_missing_pixels_are_left_out(name, pair):
    truth, forecast = pair
    expected = by_lead_time(ALL[name](), truth[:, :, :, :12], forecast[:, :, :, :12])
    hole = truth.copy()
    hole[:, :, :, 12:] = np.nan
    np.testing.assert_allclose(by_lead_time(ALL[name](), hole, forecast), expected, rtol=1e-6)
    mask = np.broadcast_to(np.arange(24) < 12, (3, 2, 13, 24))[..., None]
    bad = forecast.copy()
    bad[:, :, :, 12:] = np.nan  # what is left out may be anything
    np.testing.assert_allclose(by_lead_time(ALL[name](), truth, bad, mask), expected, rtol=1e-6)


FEW = ("squared_error_per_frame", "absolute_error_per_pixel", "ssim", "csi_5")


@pytest.mark.parametrize("name", FEW)
def test_weights_of_frames(name, pair):
    truth, forecast = pair
    expected = by_lead_time(ALL[name](), truth[:2], forecast[:2])
    truth[2], forecast[2] = 0.5, np.nan
    kept = np.array([1, 1, 0])
    for weight in (kept, np.stack([kept, kept], 1), kept.reshape(3, 1, 1, 1, 1) > 0):
        np.testing.assert_allclose(
            by_lead_time(ALL[name](), truth, forecast, weight), expected, rtol=1e-6
        )
    truth[2] = np.nan
    np.testing.assert_allclose(by_lead_time(ALL[name](), truth, forecast), expected, rtol=1e-6)
    twice = by_lead_time(ALL[name](), *(np.concatenate([x[:2], x[:1]]) for x in (truth, forecast)))
    weighted = by_lead_time(ALL[name](), truth, forecast, np.array([2, 1, 0]))
    np.testing.assert_allclose(weighted, twice, rtol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_a_forecast_of_nan_has_no_score(name, pair):
    truth, forecast = pair
    forecast[1, 1, 6, 6] = np.nan
    scores = by_lead_time(ALL[name](), truth, forecast)
    assert np.isfinite(scores[0]) and np.isnan(scores[1])


# Streaming


@pytest.mark.parametrize("name", ["squared_error_per_frame", "csi_5", "ssim"])
def test_batches_do_not_matter(name, pair):
    truth, forecast = pair
    whole, parts = ALL[name](), ALL[name]()
    scores = by_lead_time(whole, truth, forecast)
    for i in range(3):
        parts.update_state(truth[i : i + 1], forecast[i : i + 1])
    np.testing.assert_allclose(ops.convert_to_numpy(parts.result_by_lead_time()), scores, rtol=3e-7)
    parts.reset_state()
    np.testing.assert_array_equal(by_lead_time(parts, truth, forecast), scores)


def compiled_totals(metric, batches):
    update = _compile(lambda state, *data: metric.stateless_update_state(state, *data))
    state = metric.stateless_reset_state()
    for data in batches:
        state = update(state, *(x.astype("float32") for x in data))
    return sum(ops.convert_to_numpy(part).astype("float64") for part in state)


def test_long_sums_are_exact():
    rng = np.random.default_rng(0)
    batches = rng.uniform(0.2, 1, (2, 300, 2, 1, 8, 8, 1)).astype("float32")
    total, count = compiled_totals(metrics.SquaredError(horizon=1), zip(*batches))
    exact = np.square(np.diff(batches.astype("float64"), axis=0)).sum() / 600
    np.testing.assert_allclose(total / count, exact, rtol=1e-6)
    # A count of 2 ** 24, from which on float32 skips numbers, and one more pixel 99 times.
    frame = np.ones((1, 1, 1, 1, 1))
    batches = [(frame, frame, np.array([2.0**24]))] + 99 * [(frame, frame, np.ones(1))]
    hits, *_ = compiled_totals(metrics.CSI(0.5, horizon=1), batches)
    assert hits == 2**24 + 99


def test_large_frames():
    frames = np.random.default_rng(0).uniform(size=(1, 1, 900, 900, 1)).astype("float32")
    score = float(metrics.SquaredError()(frames, np.zeros_like(frames)))
    np.testing.assert_allclose(score, np.square(frames.astype("float64")).sum(), rtol=1e-6)


def test_horizon(pair):
    truth, forecast = pair
    metric = metrics.SquaredError(horizon=4)
    scores = by_lead_time(metric, truth, forecast)
    np.testing.assert_array_equal(scores[:2], by_lead_time(metrics.SquaredError(), truth, forecast))
    assert np.isnan(scores[2:]).all() and np.isfinite(float(metric.result()))
    with pytest.raises(ValueError, match="was made for 1 lead times.*SquaredError\\(horizon=2\\)"):
        metrics.SquaredError(horizon=1).update_state(truth, forecast)


# In Keras models


def test_in_compile_and_evaluate(sequences, tmp_path):
    context, future = sequences(height=12, width=12, channels=2, context=2)
    future[0, 0, :, 0] = np.nan
    model = keras.Sequential([keras.layers.Conv3D(2, 1, kernel_initializer="ones")])
    scores = {name: make() for name, make in ALL.items()}
    loss = keras_msrnn.losses.SquaredPlusAbsoluteError()
    model.compile(keras.optimizers.SGD(1e-4), loss, metrics=list(scores.values()))
    evaluated = model.evaluate(context, future, batch_size=3, return_dict=True, verbose=0)
    forecast = model.predict(context, verbose=0)
    for name, make in ALL.items():
        alone = make()
        expected = by_lead_time(alone, future, forecast)
        np.testing.assert_allclose(evaluated[name], float(alone.result()), rtol=1e-4)
        found = ops.convert_to_numpy(scores[name].result_by_lead_time())
        np.testing.assert_allclose(found, expected, rtol=1e-4, equal_nan=True)
    saved = ["balanced_squared_error_per_frame", "csi_5", "far_0.3"]
    model.compile(keras.optimizers.SGD(1e-4), loss, metrics=[ALL[name]() for name in saved])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = loaded.evaluate(context, future, batch_size=3, return_dict=True, verbose=0)
    assert set(again) == {"loss", *saved}
    for name, value in again.items():
        np.testing.assert_allclose(value, evaluated[name], rtol=1e-4)


def test_scores_of_a_forecaster_are_those_of_its_forecasts(small_model, sequences):
    context, future = sequences()
    model = small_model(sampling=None, horizon=2)
    scores = [metrics.SquaredError(), metrics.CSI(0.5)]
    model.compile(keras.optimizers.SGD(0.0), model.loss, metrics=scores)
    history = model.fit(context, future, verbose=0).history  # more frames are predicted here
    error = np.square(model.predict(context, verbose=0) - future).sum((2, 3, 4)).mean(0)
    np.testing.assert_allclose(history["squared_error_per_frame"], [error.mean()], rtol=1e-4)
    found = ops.convert_to_numpy(scores[0].result_by_lead_time())
    np.testing.assert_allclose(found, error, rtol=1e-4)
    assert "csi_0.5" in history


def test_weighted_metrics(sequences):
    context, future = sequences(context=2)
    model = keras.Sequential([keras.layers.Conv3D(1, 1, kernel_initializer="ones")])
    model.compile(loss="mse", weighted_metrics=[metrics.SquaredError("pixel")])
    mask = np.ones((4, 2, 8, 8, 1), "float32")
    mask[:, :, 3:] = 0
    scored = model.evaluate(context, future, sample_weight=mask, return_dict=True, verbose=0)
    error = np.square(context - future)[:, :, :3].mean()
    np.testing.assert_allclose(scored["squared_error_per_pixel"], error, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_config(name):
    metric = ALL[name](horizon=3)
    config = keras.saving.serialize_keras_object(metric)
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(metric) and twin.get_config() == metric.get_config()
    assert metric.name == name == ALL[name]().name


# Bad input

FRAMES = np.zeros((2, 3, 4, 4, 1))


@pytest.mark.parametrize(
    "call, rule",
    [
        (lambda: metrics.SquaredError(per="image"), "`per` must be 'frame' or 'pixel'"),
        (lambda: metrics.SquaredError(horizon=0), "`horizon` must be"),
        (lambda: metrics.SquaredError()(FRAMES, FRAMES[:, :2]), "`y_true` and `y_pred` must have"),
        (lambda: metrics.SquaredError()(FRAMES[0], FRAMES[0]), r"`frames\[..., None\]`"),
        (lambda: metrics.PSNR()(FRAMES, FRAMES, FRAMES[..., 0]), r"`mask\[..., None\]`"),
        (lambda: metrics.PSNR()(FRAMES, FRAMES, np.ones(3)), "`sample_weight` must have"),
        (lambda: metrics.SSIM()(FRAMES, FRAMES), "`SSIM` needs frames of at least 11 x 11"),
        (lambda: metrics.CSI(float("nan")), "`threshold` must be a finite number"),
        (lambda: metrics.CSI([0.5, 2]), "Make one metric for each threshold"),
        (lambda: metrics.CSI(0, RAIN), "`threshold` must be a rain rate in mm/h.*above 0"),
        (lambda: metrics.CSI(1e6, UNITS["germany"]), "whose nearest pixel 1 is"),
        (lambda: metrics.BalancedAbsoluteError(Reflectivity(low=0, high=30)), "threshold=5"),
        (lambda: metrics.CSI(0.5).totals_by_lead_time(), "no lead times before the first data"),
    ],
)
def test_bad_input(call, rule):
    with pytest.raises(ValueError, match=rule) as error:
        call()
    assert "Received: " in str(error.value)


def test_units_of_another_kind():
    for call in (lambda: metrics.CSI(5, "mm/h"), lambda: metrics.BalancedSquaredError(None)):
        with pytest.raises(TypeError, match="`units` must be the units of the pixels"):
            call()
