"""The benchmark: its PyTorch reference against the golden numbers, and a small run."""

import argparse
import json
import pathlib
import shutil
import sys

import keras
import numpy as np
import pytest
import torch
from test_golden import weights_and_frames

import keras_msrnn
from keras_msrnn import benchmark
from keras_msrnn.benchmark import floor, table, worker
from keras_msrnn.benchmark.reference import Reference

ROOT = pathlib.Path(__file__).parent / "golden"
# The ablated skip connections are not part of the benchmark.
FILES = [
    path
    for path in sorted(ROOT.glob("*.npz"))
    if not path.stem.startswith(("ms_convlstm_", "metrics"))
]


def reference(config, **options):
    name = config["model"]
    model, multiscale = keras_msrnn.registry.find(name)
    return Reference(
        model.name,
        multiscale and name.startswith("MS-"),
        config["C"],
        config["chan"],
        config["kernel"],
        window=config["la"],
        links=config["links"],
        compat=None if config["exact_warp"] else "reference",
        **options,
    )


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_reference_computes_the_golden_numbers(path):
    golden = np.load(path)
    config = json.loads(str(golden["config"]))
    weights, frames = weights_and_frames(golden, config)
    model = reference(config)
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    frames = torch.from_numpy(frames).movedim(-1, 2)

    outputs = golden["outputs"]
    forecasts, cosines = model(frames[:, : config["tin"]], config["tout"])
    forecasts = forecasts.movedim(2, -1).detach().numpy()
    assert np.abs(forecasts - outputs).max() < 1e-4 * np.abs(outputs).max()
    if cosines is not None:
        np.testing.assert_allclose(cosines.detach(), golden["decouple"], rtol=1e-3, atol=1e-5)

    loss = model.loss(frames, config["tout"])
    np.testing.assert_allclose(loss.item(), golden["loss"], rtol=1e-5)
    loss.backward()
    norms = json.loads(str(golden["gradient_norms"]))
    largest = max(norm for norm in norms.values() if norm)
    for name, weight in model.named_parameters():
        if norms[name] is None:
            assert weight.grad is None, name
        else:
            tolerance = max(1e-3 * norms[name], 1e-6 * largest)
            assert abs(float(weight.grad.norm()) - norms[name]) < tolerance, name


def test_unused_parts_change_no_number():
    frames = torch.rand(1, 5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for name in ("predrnn++", "mim", "motionrnn"):
        models = [Reference(name, True, 4, unused_parts=unused) for unused in (True, False)]
        models[1].load_state_dict(models[0].state_dict())
        with torch.no_grad():
            losses = [model.loss(frames, 2).item() for model in models]
        assert losses[0] == losses[1]


SETTINGS = {
    "model": "convlstm", "multiscale": True, "height": 16, "filters": 4, "batch": 2,
    "context": 2, "horizon": 2, "dtype": "float32", "remat": None, "ours": {}, "reference": {},
}  # fmt: skip


def test_both_sides_train_alike(tmp_path):
    reference, ours = worker.ReferenceSide(SETTINGS), worker.KerasSide(SETTINGS)
    path = str(tmp_path / "weights.npz")
    reference.save_weights(path)
    ours.load_weights(path)
    expected = [reference.step()[1] for _ in range(4)]
    assert expected == sorted(expected, reverse=True)
    means = np.cumsum(expected) / np.arange(1, 5)
    received = [ours.first_step()[1], *(ours.step()[1] for _ in range(3))]
    np.testing.assert_allclose(received[0], means[0], rtol=1e-5)
    # Where the reference adds two convolutions it trains two biases, the Keras model one.
    np.testing.assert_allclose(received, means, rtol=0, atol=0.2 * (means[0] - means[-1]))
    assert len(ours.fit(3)) == 2
    for side in (reference, ours):
        assert side.predict() > 0
        assert side.next_frame() > 0
        memory = side.memory()  # of a model as small as this, often nothing that the system sees
        assert memory is None or memory > 0


def test_peak_memory_is_that_of_the_step():
    peak = worker.peak_memory(lambda: np.ones(2**23), worker.cpu_memory())
    assert peak == (pytest.approx(2**26, rel=0.1) if sys.platform == "linux" else None)


def test_command_line_compares_and_writes(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    path = tmp_path / "results.json"
    arguments = "--model ConvLSTM --plain --height 16 --filters 2 --batch 1 --context 2 --horizon 1"
    options = parser.parse_args([*arguments.split(), "--rounds", "1", "--json", str(path)])
    [result] = benchmark.run(**vars(options))
    assert result["model"] == "convlstm"
    for what in ("step", "first_step", "predict", "next_frame"):
        assert set(result[what]) == {"reference", "keras"}
        assert min(result[what].values()) > 0
    document = json.loads(path.read_text())
    assert document["settings"]["filters"] == 2 and not document["settings"]["multiscale"]
    assert document["machine"]["backend"] == keras.backend.backend()
    assert document["results"] == [result]
    assert capsys.readouterr().out.strip().split("\n")[-1].startswith("convlstm")


def test_convolutions_alone(monkeypatch):
    settings = {
        name: SETTINGS[name] for name in ("height", "filters", "batch", "context", "horizon")
    }
    monkeypatch.setitem(benchmark.SIZES, "S", settings)
    monkeypatch.setattr(worker, "clock", worker.clock)
    for times in floor.compare("convlstm", rounds=1).values():
        assert min(times.values()) > 0
    # A model that does little else.
    model = keras_msrnn.build("ms-predrnn", filters=4, channels=1)
    multiply_adds = sum(
        np.prod(inputs[:3]) * np.prod(kernel)
        for inputs, kernel, *_ in floor.recorded_convolutions(model, (1, 16, 16, 1))
    )
    costs = keras_msrnn.profile(model, (2, 16, 16, 1), horizon=2)
    assert 0.9 < 3 * multiply_adds / costs.multiply_adds <= 1


def test_means_are_those_of_what_was_measured():
    def result(*pair):
        return {"model": "x", "step": dict(zip(("reference", "keras"), pair))}

    results = [result(4, 2), result(8, 1), result(3, None), {"model": "y", "error": "too large"}]
    means = table.geometric_means(results)
    assert means == {"model": "geometric mean", "step": pytest.approx(4)}
    assert "4.00" in table.row(means)
    assert "too large" in table.row(results[-1])
    assert table.geometric_means(results[-1:]) == {}


def test_errors():
    for options, message in (
        ({"model": "convlst"}, "Did you mean 'convlstm'"),
        ({"size": "L"}, "`size` must be one of S, M, paper"),
        ({"height": 40}, "multiple of 16"),
        ({"batch": 0}, "`batch` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            benchmark.run(**options)
    with pytest.raises(ValueError, match="no PyTorch reference"):
        Reference("mine", True, 4)
    benchmark._check_losses(2.0, 2.0001, 1e-4)
    for loss in (2.1, float("nan")):
        with pytest.raises(RuntimeError, match="must compute the same loss"):
            benchmark._check_losses(2.0, loss, 1e-4)


def test_a_process_that_dies_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark.sys, "executable", shutil.which("false"))
    settings = {**SETTINGS, "one_core": False}
    with pytest.raises(RuntimeError, match="reference side ended with code 1"):
        benchmark._Worker("reference", settings, "torch", str(tmp_path)).call("step")
