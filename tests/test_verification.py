import csv
import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_msrnn import metrics
from keras_msrnn.data.units import RainRate
from keras_msrnn.verification import evaluate_forecast

UNITS = RainRate(scale=50)


class Sequences(keras.utils.PyDataset):
    units = UNITS

    def __init__(self, *arrays, batch_size=2, endless=False):
        super().__init__()
        self.arrays, self.batch_size, self.endless = arrays, batch_size, endless

    @property
    def num_batches(self):
        return None if self.endless else -(-len(self.arrays[0]) // self.batch_size)

    def __getitem__(self, index):
        start = self.batch_size * index % len(self.arrays[0])
        return tuple(x[start : start + self.batch_size] for x in self.arrays)


def torch_loader(*arrays):
    import torch

    dataset = torch.utils.data.TensorDataset(*map(torch.tensor, arrays))
    return torch.utils.data.DataLoader(dataset, batch_size=2)


def tensorflow_dataset(*arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(2)


DATASETS = {
    "arrays": lambda *arrays: arrays,
    "PyDataset": Sequences,
    "tf.data": tensorflow_dataset,
    "DataLoader": torch_loader,
    "generator": lambda *arrays: (tuple(x[i : i + 2] for x in arrays) for i in (0, 2, 4)),
}


@pytest.fixture
def data(sequences):
    """Five sequences, so that the last batch is smaller, with missing pixels."""
    context, future = sequences(samples=5, height=12, width=14)
    future[1, 0, :5] = np.nan
    return context, future


def dim(context, steps):
    return 0.5 * np.nan_to_num(context[:, -1:]).repeat(steps, axis=1)


def repeat(context):
    return context[:, -1:].repeat(2, axis=1)


def test_scores_are_those_of_the_metrics(data, small_model):
    context, future = data
    model = small_model(horizon=7)  # the future has two frames
    scores = evaluate_forecast(
        {"convlstm": model, "dim": dim}, data, units=UNITS, thresholds=[5, 20], batch_size=2
    )
    forecasts = {
        "convlstm": model.forecast(context, steps=2),
        "dim": dim(context, 2),
        "persistence": repeat(context),
    }
    alone = [metrics.SSIM, metrics.PSNR, metrics.GDL]
    alone += [lambda m=m, per=per: m(per) for m in (metrics.SquaredError, metrics.AbsoluteError)
              for per in ("frame", "pixel")]  # fmt: skip
    alone += [lambda m=m: m(UNITS)
              for m in (metrics.BalancedSquaredError, metrics.BalancedAbsoluteError)]  # fmt: skip
    alone += [lambda m=m, t=t: m(t, UNITS) for t in (5, 20)
              for m in (metrics.POD, metrics.FAR, metrics.CSI, metrics.HSS)]  # fmt: skip
    assert scores.models == list(forecasts)
    assert set(scores.names) == {make().name for make in alone}
    for name, forecast in forecasts.items():
        for make in alone:
            metric = make()
            metric.update_state(future, forecast)
            expected = ops.convert_to_numpy(metric.result_by_lead_time())
            found = scores.by_lead_time(metric.name)[name]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, equal_nan=True)
            overall = scores.overall(metric.name)[name]
            np.testing.assert_allclose(overall, float(metric.result()), rtol=1e-5, atol=1e-7)
    assert scores.conventions["sequences"] == 5
    np.testing.assert_allclose(scores.conventions["missing_share"], 5 / 12 / 10)


@pytest.mark.parametrize("kind", DATASETS)
def test_every_kind_of_data(kind, sequences):
    context, future = sequences(samples=5)
    future[4, 1, 3] = np.nan
    scores = evaluate_forecast(repeat, DATASETS[kind](context, future), thresholds=[5])
    assert scores.conventions["sequences"] == 5
    error = np.nan_to_num(np.square(repeat(context) - future)).sum((2, 3, 4)).mean(0)
    for found in scores.by_lead_time("squared_error_per_frame").values():
        np.testing.assert_allclose(found, error, rtol=1e-6)
    own = kind == "PyDataset"  # a data set may carry units
    assert scores.conventions["units"] == (repr(UNITS) if own else "pixel values")
    assert ("balanced_squared_error_per_frame" in scores.names) == own


def test_default_thresholds_and_small_frames(sequences):
    data = sequences()
    with_units = evaluate_forecast(repeat, data, units=UNITS)
    assert with_units.conventions["thresholds"] == "0.5, 2, 5, 10, 30 mm/h"
    assert "hss_30" in with_units.names and "ssim" not in with_units.names
    assert "smaller than its window" in with_units.conventions["ssim"]
    without = evaluate_forecast(repeat, data)
    assert "thresholds" not in without.conventions
    assert not [name for name in without.names if name.startswith(("csi", "balanced"))]


def test_missing_pixels(sequences):
    context, future = sequences(samples=5)
    future[1, 0, :5] = np.nan
    context[0, -1, 3, 3] = np.nan  # persistence takes the frame before
    context[2, :, 4:6] = np.nan  # never seen: not scored
    mask = np.ones((5, 1, 8, 8, 1))
    mask[..., 6:, :] = 0
    scores = evaluate_forecast(dim, (context, future, mask))
    last = context[:, -1:].copy()
    last[0, 0, 3, 3] = context[0, -2, 3, 3]
    valid = np.isfinite(future) & np.isfinite(last) & (mask > 0)
    error = np.square(np.where(valid, last - future, 0)).sum((0, 2, 3, 4)) / 5
    np.testing.assert_allclose(
        scores.by_lead_time("squared_error_per_frame")["persistence"], error, rtol=1e-6
    )
    np.testing.assert_allclose(scores.conventions["missing_share"], 1 - valid.mean())
    with pytest.warns(UserWarning, match="The forecast of `model` is not finite where"):
        scores = evaluate_forecast(repeat, (context, future, mask), batch_size=5)
    assert np.isnan(scores.by_lead_time("psnr")["model"]).all()


def test_weights_of_sequences(sequences):
    data = sequences(samples=5)
    weight = np.array([1, 1, 0, 0, 0])
    expected = evaluate_forecast(dim, tuple(x[:2] for x in data)).overall("gdl")
    assert evaluate_forecast(dim, (*data, weight)).overall("gdl") == pytest.approx(expected)


def test_any_model(sequences):
    data = sequences()

    class Model:
        def predict(self, context):
            return repeat(context)

    layer = keras.layers.Lambda(lambda x: ops.concatenate([x[:, -1:], x[:, -1:]], axis=1))
    models = {"object": Model(), "keras": keras.Sequential([layer]), "function": repeat}
    errors = evaluate_forecast(models, data).by_lead_time("absolute_error_per_pixel")
    for name in models:
        np.testing.assert_allclose(errors[name], errors["persistence"], rtol=1e-6)


def test_table_csv_and_json(data, tmp_path):
    data[1][:, 1] = np.nan  # nothing is known at the second lead time
    scores = evaluate_forecast({"dim": dim}, data, units=UNITS, thresholds=[5])
    text = str(scores)
    assert text.startswith("5 sequences, 3 -> 2 frames of 12 x 14 x 1, 54.2% missing")
    assert "csi: hits / (hits + misses + false alarms)" in text and "RainRate(scale=50)" in text
    value = scores.by_lead_time("csi_5")["dim"][0]
    rows = text[text.index("csi_5") :].splitlines()
    assert rows[1].split() == ["dim", f"{value:.4f}", "nan", f"{value:.4f}"]

    scores.to_csv(tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert "# sequences: 5" in lines
    table = list(csv.reader(line for line in lines if not line.startswith("#")))
    assert table[0] == ["score", "model", "all", "1", "2"]
    row = next(row for row in table if row[:2] == ["csi_5", "dim"])
    np.testing.assert_allclose(float(row[3]), value, rtol=1e-6)

    scores.to_json(tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["conventions"] == scores.conventions
    found = content["scores"]["csi_5"]["dim"]["by_lead_time"]
    assert found == [pytest.approx(value), None]

    for write in (scores.to_csv, scores.to_json):
        path = tmp_path / "there"
        path.write_text("mine")
        with pytest.raises(FileExistsError, match="`path` must not exist yet"):
            write(path)
        assert path.read_text() == "mine"
        write(path, overwrite=True)
        assert "csi_5" in path.read_text()
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(KeyError, match="`score` must be one of squared_error_per_frame"):
        scores.by_lead_time("csi")


def test_endless_data(sequences):
    data = sequences()
    endless = Sequences(*data, endless=True)
    with pytest.raises(ValueError, match="Pass the number of `batches` to score"):
        evaluate_forecast(repeat, endless, thresholds=[])
    scores = evaluate_forecast(repeat, endless, thresholds=[], batches=2)
    assert scores.conventions["sequences"] == 4


@pytest.mark.parametrize(
    "model, change, rule",
    [
        ({}, None, "`model` must hold at least one model"),
        ({"persistence": repeat}, None, "none named 'persistence'"),
        (lambda context: context, None, r"must have the shape of the future, \(4, 2"),
        (repeat, lambda c, f: (c, f[:3]), "equally many sequences"),
        (repeat, lambda c, f: (c[..., 0], f), "`context` must have the shape"),
        (repeat, lambda c, f: (c, f[:, :, 1:]), "same height, width and channels"),
        (repeat, lambda c, f: [], "at least one batch. Received: none"),
        (repeat, lambda c, f: [c, f, c, f], "must be \\(context, future\\) of equally many"),
        (repeat, lambda c, f: iter([c]), "must yield batches"),
        (repeat, lambda c, f: iter([(c, f), (c, f[:, :1])]), "same number of future frames"),
    ],
)
def test_bad_input(model, change, rule, sequences):
    data = sequences()
    with pytest.raises(ValueError, match=rule) as error:
        evaluate_forecast(model, change(*data) if change else data)
    assert "Received: " in str(error.value)


def test_not_a_model(sequences):
    data = sequences()
    with pytest.raises(TypeError, match="`model` must be a model with `predict`"):
        evaluate_forecast("model.keras", data)


def test_not_a_metric_of_forecasts(sequences):
    with pytest.raises(TypeError, match="`more` must be metrics of `keras_msrnn.metrics`"):
        evaluate_forecast(lambda context: context, sequences(), more=["lpips"])
