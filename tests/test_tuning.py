"""Search with KerasTuner: the space, its budget, and searches that are killed and shared."""

import gc
import json
import os
import re
import socket
import subprocess
import sys
import time

import keras
import keras_tuner
import numpy as np
import pytest

import keras_msrnn
from keras_msrnn.sampling import ScheduledSampling
from keras_msrnn.tuning import (
    SPACE,
    ErrorMemoryObjective,
    ForecasterHyperModel,
    Results,
    create_tuner,
    plot_pareto,
    pyramids,
)

SHAPE, HORIZON = (2, 8, 8, 1), 2
SCHEDULE = ScheduledSampling(steps=7)
FIXED = {
    "model": "convlstm",
    "scales": (1, 1),
    "filters": 2,
    "kernel_size": 1,
    "skip": "add",
    "pooling": "max",
    "interpolation": "bilinear",
    "patch_size": 2,
    "sampling": None,
    "learning_rate": 1e-3,
}


def hypermodel(kind=ForecasterHyperModel, **changes):
    return kind(SHAPE, HORIZON, batch_size=2, **{**FIXED, **changes})


class WithoutTraining(ForecasterHyperModel):
    """Trials that take no time: the score is the learning rate times the filters."""

    runs = []

    def fit(self, hp, model, *args, **kwargs):
        if self.rejection(hp):
            return super().fit(hp, model, *args, **kwargs)
        arguments = self.arguments(hp)
        self.runs.append((arguments["filters"], arguments["learning_rate"]))
        if len(self.runs) == 3:
            raise KeyboardInterrupt  # leaves the folder as a killed process does
        for callback in kwargs["callbacks"]:
            callback.set_model(model)
            callback.on_epoch_end(0, {"val_loss": 0.0})
        return {"val_loss": arguments["filters"] * arguments["learning_rate"]}


def frames(samples=2):
    rng = np.random.default_rng(0)
    x = rng.random((samples, 4, *SHAPE[1:])).astype("float32")
    return {"x": x[:, :2], "y": x[:, 2:], "validation_data": (x[:, :2], x[:, 2:]), "verbose": 0}


def test_pyramids():
    assert pyramids(6, 3, 2) == [(1, 2, 4, 4, 2, 1)]
    assert pyramids(3, [1, 2, 3], [2, 4]) == [(1, 4, 1), (1, 2, 1), (1, 1, 1)]
    assert (1, 2, 4, 8, 8, 4, 2, 1) in pyramids() and (1, 4, 16, 4, 1) in pyramids()
    with pytest.raises(ValueError, match="`depth` must be at least 1"):
        pyramids(depth=0)


def test_parts_are_fixed_narrowed_replaced_and_added():
    space = hypermodel(
        model=["convlstm", "trajgru"],
        scales=pyramids(cells=[2, 3]),
        filters=lambda hp: 2 * hp.Int("half", 1, 4),
        links=[1, 3],
        remat="step",
        sampling=SCHEDULE,
    )
    hp = keras_tuner.HyperParameters()
    space.declare_hyperparameters(hp)
    assert [parameter.name for parameter in hp.space] == ["model", "scales", "half", "links"]
    hp.values.update(model="trajgru", scales="1-2-1", half=3, links=3)
    model, other = space.build(hp), space.build(hp)
    assert model.rnn.scales == (1, 2, 1) and model.rnn.remat == "step"
    assert [cell.filters for cell in model.rnn.cells] == [6, 6, 6]
    assert model.rnn.cells[0].links == 3 and model.horizon == HORIZON
    assert model.sampling.steps == 7 and model.sampling is not other.sampling
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
    hp.values["model"] = "convlstm"
    assert not hasattr(space.build(hp).rnn.cells[0], "links")


def test_default_space_has_every_model_and_variant():
    hp = keras_tuner.HyperParameters()
    arguments = ForecasterHyperModel((5, 64, 64, 1), 5).arguments(hp)
    assert set(arguments) == {"model", *SPACE}
    offered = {parameter.name: parameter.values for parameter in hp.space}
    assert offered["model"] == keras_msrnn.list_models()
    assert "none" in offered["skip"] and arguments["scales"] == (1, 2, 4, 4, 2, 1)


def test_costs_are_those_of_the_profile_and_make_no_weights():
    space, hp = hypermodel(filters=4), keras_tuner.HyperParameters()
    costs = space.costs(hp)
    with keras.StatelessScope():  # makes the weights that wait for their values
        pass
    profile = keras_msrnn.profiling.profile(space.build(hp), SHAPE, horizon=2, batch_size=2)
    assert costs == {name: getattr(profile, name) for name in costs}
    assert set(costs) == {"parameters", "multiply_adds", "training_memory"}


@pytest.mark.parametrize("limit", ["training_memory", "parameters", "multiply_adds"])
def test_budget(limit):
    hp = keras_tuner.HyperParameters()
    costs = hypermodel().costs(hp)[limit]
    assert hypermodel(**{f"max_{limit}": costs}).rejection(hp) is None
    space = hypermodel(**{f"max_{limit}": costs - 1})
    assert space.rejection(hp).startswith(f"over budget: {limit.replace('_', ' ')} ")
    assert not space.build(hp).built
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="over budget"):
        space.fit(hp, None)
    with pytest.raises(ValueError, match="must hold a configuration.*over budget"):
        space.declare_hyperparameters(hp)
    narrow = hypermodel(**{f"max_{limit}": costs}, filters=[64, 2], scales=[(1, 1, 1), (1, 1)])
    narrow.declare_hyperparameters(hp)  # the defaults are over the budget, others are not


def test_too_coarse():
    assert hypermodel(scales=(1, 4)).rejection(keras_tuner.HyperParameters()) is None
    reason = hypermodel(scales=(1, 8)).rejection(keras_tuner.HyperParameters())
    assert reason == "too coarse: scale 8 with patches of 2 for frames of 8 x 8"


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"filters": []}, ValueError, "`filters` must offer at least one value"),
        ({"filters": [2, 2]}, ValueError, "`filters` must offer different values"),
        ({"filter": 2}, TypeError, "Did you mean `filters`"),
        ({"horizon": 0}, TypeError, "horizon"),
        ({"max_parameters": 0}, ValueError, "`max_parameters` must be positive"),
        ({"model": ["convlstm", "predrm"]}, ValueError, "Did you mean 'predrnn'"),
    ],
)
def test_bad_space(changes, error, message):
    with pytest.raises(error, match=message):
        hypermodel(**changes)


def test_space_in_which_nothing_can_be_built(tmp_path):
    with pytest.raises(ValueError, match="`scales` of cells that feed each other"):
        create_tuner(hypermodel(scales=[(2, 3), (3, 2)]), tmp_path / "s", max_trials=2)


@pytest.mark.parametrize(
    "kind", ["RandomSearch", "Hyperband", "BayesianOptimization", "GridSearch"]
)
def test_works_with_tuners_of_keras_tuner(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(WithoutTraining, "runs", [None] * 9)
    trains = kind == "RandomSearch"
    options = {"max_epochs": 2, "factor": 2} if kind == "Hyperband" else {"max_trials": 2}
    space = hypermodel(
        ForecasterHyperModel if trains else WithoutTraining, learning_rate=[1e-3, 1e-2, 1e-4, 1e-5]
    )
    tuner = getattr(keras_tuner, kind)(space, "val_loss", directory=tmp_path, seed=1, **options)
    tuner.search(**frames())
    [model] = tuner.get_best_models()
    assert len(tuner.oracle.trials) == (5 if kind == "Hyperband" else 2)
    if trains:
        data = frames()
        loss = model.evaluate(data["x"], data["y"], batch_size=2, verbose=0)
        best = tuner.oracle.get_best_trials()[0]
        assert loss == pytest.approx(best.score, rel=1e-4)
        memory = space.costs(best.hyperparameters)["training_memory"]
        assert best.metrics.get_best_value("memory_gb") == memory / 1e9


def test_search_with_training(tmp_path, capsys, monkeypatch):
    space = hypermodel(filters=[64, 2], learning_rate=[1e-3, 1e-2], max_parameters=1000)
    objective = ErrorMemoryObjective("val_loss", 0.5)
    tuner = create_tuner(space, tmp_path / "s", "grid", objective=objective)
    end, left = tuner.on_trial_end, []

    def end_and_count(trial):
        end(trial)
        kinds = [type(x).__name__ for x in gc.get_objects()]
        left.append([kinds.count(kind) for kind in ("Forecaster", "FuncGraph", "Variable")])

    monkeypatch.setattr(tuner, "on_trial_end", end_and_count)
    tuner.search(**frames())
    assert left[-1] == left[-2]  # no trial leaves its model or graph behind
    results = tuner.results()
    statuses = [row["status"] for row in results.rows]
    assert statuses == ["completed"] * 2 + ["over budget"] * 2
    best, other, over, _ = results.rows
    assert best["score"] == best["error"] * (best["training_memory"] / 1e9) ** 0.5
    assert best["score"] <= other["score"]
    assert over["parameters"] > 1000 and over["reason"].startswith("parameters ")
    assert "over budget" in str(results) and "val_loss" in str(results)
    assert "Not trained, over budget: parameters" in capsys.readouterr().out
    data = frames()
    loss = tuner.best_model().evaluate(data["x"], data["y"], batch_size=2, verbose=0)
    assert loss == pytest.approx(best["error"], rel=1e-4)
    results.to_csv(tmp_path / "trials.csv")
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("kind", ["random", "hyperband", "bayesian", "grid"])
def test_killed_search_goes_on(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(WithoutTraining, "runs", [])
    options = {"max_epochs": 4, "factor": 2} if kind == "hyperband" else {"max_trials": 6}
    if kind == "bayesian":
        options["num_initial_points"] = 2

    def tuner():
        rates = [1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3]
        space = hypermodel(
            WithoutTraining, filters=[1, 2, 64], learning_rate=rates, max_parameters=1000
        )
        return create_tuner(space, tmp_path / "s", kind, seed=3, **options)

    with pytest.raises(KeyboardInterrupt):
        tuner().search(**frames())
    before = {row["trial"]: row for row in tuner().results().rows}
    done = [trial for trial, row in before.items() if row["status"] == "completed"]
    assert len(done) == 2
    resumed = tuner()
    resumed.search(**frames())
    rows = {row["trial"]: row for row in resumed.results().rows}
    assert all(rows[trial] == before[trial] for trial in done)
    statuses = [row["status"] for row in rows.values()]
    completed = statuses.count("completed")
    assert set(statuses) - {"over budget"} == {"completed"}
    assert "over budget" in statuses or kind == "bayesian"
    # Over-budget trials do not count, and none is run again but the one that was killed.
    assert len(resumed.hypermodel.runs) == completed + 1
    assert completed == {"hyperband": 4 + 2 + 1 + 3 + 2 + 3}.get(kind, 6)
    assert {row.get("epochs") for row in rows.values()} == (
        {1, 2, 4} if kind == "hyperband" else {None}
    )
    resumed.search(**frames())
    assert len(resumed.hypermodel.runs) == completed + 1


def test_failures_stop_the_search_and_rejections_do_not(tmp_path, monkeypatch):
    class Broken(ForecasterHyperModel):
        def fit(self, hp, model, *args, **kwargs):
            raise OSError("the disk is gone")

    space = hypermodel(Broken, filters=[1, 65, 2, 66], max_parameters=1000)
    tuner = create_tuner(space, tmp_path / "s", "grid", max_consecutive_failed_trials=2)
    with pytest.raises(RuntimeError, match="2 trials in a row(.|\n)*the disk is gone"):
        tuner.search(**frames())
    rows = tuner.results().rows
    assert [row["status"] for row in rows] == ["failed", "over budget", "failed"]
    assert rows[0]["reason"] == "OSError: the disk is gone"
    assert "the disk is gone" in str(Results((rows[0],)))
    with pytest.raises(ValueError, match="needs a completed trial"):
        tuner.best_model()

    space = hypermodel(filters=[*range(60, 70), 2], max_parameters=1000)
    tuner = create_tuner(space, tmp_path / "t", "grid")
    monkeypatch.setattr("keras_msrnn.tuning.search.MAX_REJECTED", 5)
    with pytest.raises(RuntimeError, match="5 configurations in a row were rejected"):
        tuner.search(**frames())


def test_combinations_that_cannot_be_built(tmp_path, monkeypatch):
    monkeypatch.setattr(WithoutTraining, "runs", [None] * 9)
    space = hypermodel(
        WithoutTraining, scales=[(1, 1), (2, 3)], patch_size=1, learning_rate=[1e-3, 1e-2]
    )
    tuner = create_tuner(space, tmp_path / "s", "grid", max_consecutive_failed_trials=1)
    tuner.search(**frames())
    rows = tuner.results().rows
    assert [row["status"] for row in rows] == ["completed"] * 2 + ["impossible"] * 2
    assert rows[-1]["reason"].startswith("ValueError: `scales` of cells that feed each other")
    assert rows[-1]["training_memory"] is None and "impossible" in str(tuner.results())


def test_folder_of_another_search(tmp_path):
    space = hypermodel(WithoutTraining, filters=[1, 2])
    first = create_tuner(space, tmp_path / "s", max_trials=1)
    first.search(**frames())
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.json")}
    other = hypermodel(filters=[1, 2, 4])
    for space_, kind, options, difference in (
        (other, "random", {}, "another space"),
        (hypermodel(filters=[1, 2], max_parameters=500), "random", {}, "another budget"),
        (
            hypermodel(filters=[1, 2], kernel_size=3, sampling=SCHEDULE),
            "random",
            {},
            re.escape('{"kernel_size": 1, "sampling": null} there and {"kernel_size": 3, "samp'),
        ),
        (space, "grid", {}, "another tuner"),
        (space, "random", {"objective": "loss"}, "another objective"),
    ):
        with pytest.raises(ValueError, match=difference):
            create_tuner(space_, tmp_path / "s", kind, **options)
    with pytest.raises(ValueError, match='another training.*"batches": 1} there and.* 2} here'):
        create_tuner(space, tmp_path / "s", max_trials=2).search(**frames(4))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "best.keras").touch()
    for name in ("notes", "notes/best.keras"):
        with pytest.raises(ValueError, match="which holds something else"):
            create_tuner(space, tmp_path / name)
    keras_tuner.RandomSearch(space, "val_loss", directory=tmp_path, project_name="p").save()
    with pytest.raises(ValueError, match="`folder` must be new or empty"):
        create_tuner(space, tmp_path / "p")
    with pytest.raises(TypeError, match="`overwrite` is not an option"):
        create_tuner(space, tmp_path / "s", overwrite=True)
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.json")}


def test_bad_calls(tmp_path):
    with pytest.raises(TypeError, match="must be a ForecasterHyperModel"):
        create_tuner(lambda hp: None, tmp_path / "s")
    with pytest.raises(ValueError, match="`tuner` must be one of"):
        create_tuner(hypermodel(), tmp_path / "s", "evolution")
    tuner = create_tuner(hypermodel(), tmp_path / "s", max_trials=1)
    with pytest.raises(ValueError, match="needs validation data"):
        tuner.search(frames()["x"], frames()["y"])
    data = frames()
    with pytest.raises(ValueError, match="must have the `input_shape`"):
        tuner.search(data["x"][:, :, :4], data["y"], validation_data=data["validation_data"])


def test_two_searches_in_one_folder(tmp_path):
    class Nested(WithoutTraining):
        def fit(self, hp, model, *args, **kwargs):
            if "second" not in vars(self):
                self.second = create_tuner(self, tmp_path / "s", max_trials=3)
                with pytest.raises(RuntimeError, match="Another process is at work"):
                    self.second.search(**frames())
            return super().fit(hp, model, *args, **kwargs)

    tuner = create_tuner(hypermodel(Nested, filters=[1, 2]), tmp_path / "s", max_trials=1)
    tuner.search(**frames())
    assert [row["status"] for row in tuner.results().rows] == ["completed"]


def test_pareto_front():
    points = {"a": (1, 9.0), "b": (2, 5.0), "c": (3, 6.0), "d": (4, 4.0), "e": (2, 7.0)}
    rows = [
        {"scales": name, "training_memory": memory * 10**6, "error": error}
        for name, (memory, error) in points.items()
    ]
    rows.append({"scales": "f", "training_memory": 1, "error": None})
    results = Results(tuple(rows), budget={"training_memory": 3.5e6})
    assert [row["scales"] for row in results.pareto()] == ["a", "b", "d"]
    most = Results(tuple(rows), direction="max")
    assert [row["scales"] for row in most.pareto()] == ["a"]
    import matplotlib.pyplot as plt

    figure = plot_pareto(results)
    assert not plt.get_fignums()
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "d"]
    with pytest.raises(ValueError, match="must hold a completed trial"):
        plot_pareto(Results(tuple(rows[-1:])))


WORKER = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {tests!r})
import test_tuning as t

class Model(t.WithoutTraining):
    runs = [None] * 9
    def fit(self, hp, model, *args, **kwargs):
        if os.environ["KERASTUNER_TUNER_ID"] == "killed":
            open({folder!r} + ".started", "w").close()
            time.sleep(600)
        while not os.path.exists({folder!r} + ".started"):
            time.sleep(0.1)
        return super().fit(hp, model, *args, **kwargs)

space = t.hypermodel(Model, filters=[1, 2, 64], learning_rate=[1e-3, 2e-3], max_parameters=1000)
tuner = t.create_tuner(space, {folder!r}, max_trials=4, seed=1)
tuner.search(**t.frames())
"""


def test_chief_and_two_workers_of_which_one_is_killed(tmp_path):
    folder = str(tmp_path / "search")
    code = WORKER.format(tests=os.path.dirname(__file__), folder=folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}

    def start(name):
        environment = {**os.environ, **address, "KERASTUNER_TUNER_ID": name}
        return subprocess.Popen([sys.executable, "-c", code], env=environment)

    processes = {name: start(name) for name in ("chief", "killed", "worker")}
    try:
        end = time.monotonic() + 300
        while not os.path.exists(f"{folder}.started") and time.monotonic() < end:
            time.sleep(0.1)
        assert os.path.exists(f"{folder}.started")
        processes["killed"].kill()
        assert processes["worker"].wait(300) == 0
        assert processes["chief"].wait(300) == 0
    finally:
        for process in processes.values():
            process.kill()
    trials = [json.loads(path.read_text()) for path in (tmp_path / "search").glob("*/trial.json")]
    statuses = [trial["status"] for trial in trials]
    over = [trial for trial in trials if trial["hyperparameters"]["values"]["filters"] == 64]
    assert statuses.count("COMPLETED") == 3  # of 4, one was killed; 64 filters do not count
    assert statuses.count("FAILED") == 1 + len(over)
    assert [t["message"] for t in trials if t["message"]] == ["The worker killed was killed."]
