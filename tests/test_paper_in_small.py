"""`examples/paper_in_small`: a run that is stopped and goes on, and what its tables say."""

import csv
import json
import pathlib
import sys

import numpy as np
import pytest

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "paper_in_small"


@pytest.fixture
def program(monkeypatch):
    """The modules of the example: its `__main__`, `training`, `report`."""
    monkeypatch.syspath_prepend(EXAMPLE)
    names = ("paper_in_small_main", "training", "report", "figure")
    import importlib.util

    spec = importlib.util.spec_from_file_location(names[0], EXAMPLE / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in names:
        sys.modules.pop(name, None)


def run(program, folder, *more):
    arguments = (
        "--models convlstm --seeds 1 --steps 2 --batch-size 2 --filters 2 --size 16 "
        "--test-batches 1 --processes 1 --rate 1e-3"
    )
    return program.main([*arguments.split(), "--folder", str(folder), *more])


def test_it_goes_on_where_it_was_stopped(program, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results"
    train = program.training.train
    trained = []

    def failing(job, settings, folder):
        if job.multiscale:
            raise RuntimeError("stopped")
        trained.append(job.name)
        return train(job, settings, folder)

    monkeypatch.setattr(program.training, "train", failing)
    assert run(program, folder) == 1
    assert "convlstm-multiscale-1 failed" in capsys.readouterr().err
    times = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*.json")}
    assert len(times) == len(trained) == 1
    assert "ConvLSTM" not in (folder / "tables.md").read_text()

    monkeypatch.setattr(program.training, "train", train)
    assert run(program, folder) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}  # nothing is trained twice
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["multiscale"]) for row in rows] == [
        ("convlstm", "True"), ("convlstm", "False"),
    ]  # fmt: skip
    assert all(0 < float(row["squared_error_per_frame"]) < np.inf for row in rows)
    assert len({row["persistence_ssim"] for row in rows}) == 1  # all on the same sequences
    assert rows[0]["parameters"] == rows[1]["parameters"]
    assert int(rows[0]["training_memory"]) < int(rows[1]["training_memory"])
    text = (folder / "tables.md").read_text()
    assert "| ConvLSTM |" in text and "| persistence |" in text
    assert (folder / "digits.png").stat().st_size > 10_000

    with pytest.raises(SystemExit, match="`--folder` must hold results of the same settings"):
        run(program, folder, "--steps", "3")
    with pytest.raises(SystemExit, match="`--data knmi` needs its folder"):
        run(program, folder, "--data", "knmi")


def test_pairs_get_the_same_batches(program):
    settings = program.training.Settings(
        size=16,
        filters=2,
        batch_size=2,
        steps=3,
        knmi_steps=3,
        test_batches=1,
        window=6,
        backend="any",
    )
    batches = []
    for multiscale in (False, True):
        job = program.training.Job("digits", "convlstm", multiscale, 1, 1e-3)
        steps, test, _, _ = program.training.DATASETS["digits"](job, settings)
        assert len(steps) * steps.epochs == 3
        batches.append([])
        for _ in range(steps.epochs):
            batches[-1] += [steps[index][0] for index in range(len(steps))]
            steps.on_epoch_end()
        batches[-1].append(test[0][0][:2])
    np.testing.assert_array_equal(*batches)
    assert len({batch.tobytes() for batch in batches[0]}) == 4


def test_the_radar_has_batches_of_its_own(program, tmp_path, monkeypatch):
    steps = []

    def knmi(job, settings):
        steps.append(settings.steps)
        raise RuntimeError("enough")

    monkeypatch.setitem(program.training.DATASETS, "knmi", knmi)
    assert run(program, tmp_path, "--knmi-steps", "5", "--data", "knmi", "--knmi", "folder") == 1
    assert steps == [5, 5]  # plain and multi-scale


def result(model, multiscale, seed, error):
    scores = {name: {"model": error, "persistence": 9.0} for name in (
        "squared_error_per_frame", "absolute_error_per_frame", "ssim")}  # fmt: skip
    costs = {"parameters": 10, "multiply_adds": 20, "training_memory": 30, "seconds_per_step": 0.1}
    return {"model": model, "multiscale": multiscale, "seed": seed, "scores": scores,
            "sequences": 8, **costs}  # fmt: skip


def test_tables(program):
    report = program.report
    errors = {"convlstm": [(4, 3), (5, 4)], "mim": [(3, 4), (4, 5)], "predrnn": [(3, 4), (4, 3)]}
    results = [
        result(model, multiscale, seed, error)
        for model, seeds in errors.items()
        for seed, pair in enumerate(seeds)
        for multiscale, error in enumerate(pair)
    ]
    alone = result("trajgru", 0, 1, 5)
    pairs = report.find_pairs([*results, alone])
    assert list(pairs) == ["convlstm", "predrnn", "mim"]  # a form without its partner is left out
    note, mse, _, ssim, cost = report.tables(pairs)
    assert "Seeds of each pair: 2" in note
    assert "| ConvLSTM | 4.50 ± 0.71 | 3.50 ± 0.71 | -22.5 % (-25.0 to -20.0) | better |" in mse
    assert "| persistence | 9.00 |" in mse
    assert mse.endswith("MSE: multi-scale in 3 pairs: 1 better, 1 worse, 1 open.")
    assert "| ConvLSTM | 4.500 ± 0.707 | 3.500 ± 0.707 | -22.5 % (-25.0 to -20.0) | worse" in ssim
    assert "| ConvLSTM | 10 / 10 (100%) | 0.0 / 0.0 (100%)" in cost


def test_one_seed_and_equal_scores_decide_nothing(program):
    verdict = program.report.verdict
    assert verdict([(2, 1)], False) == "open"
    assert verdict([(2, 2), (2, 2)], False) == "open"
    assert verdict([(2, 1), (2, 1)], False) == verdict([(1, 2), (1, 2)], True) == "better"


def test_the_best_learning_rate(program):
    def tried(rate, error):
        return {"rate": rate, "scores": {"squared_error_per_frame": {"model": error}}}

    results = [tried(1e-3, 5), tried(1e-3, 5), tried(3e-3, 4), tried(3e-3, 5), tried(1e-2, 1)]
    results += [tried(1e-2, float("nan"))]
    assert program._best_rate(results) == 3e-3
    with pytest.raises(SystemExit, match="`--rates` must hold one"):
        program._best_rate(results[:1])


def test_results_are_written_as_a_whole(program, tmp_path):
    path = tmp_path / "a.json"
    program.training.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        program.training.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
