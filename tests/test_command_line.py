"""The command line: trainings that survive a kill, scores, forecasts, profiles, and bad input."""

import json
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest
import test_kth
import test_radar
import test_taxibj
from PIL import Image

import keras_msrnn
from keras_msrnn.__main__ import COMMANDS, _make_parser, main
from keras_msrnn.commands import datasets
from keras_msrnn.commands.model import build_model
from keras_msrnn.data import KNMI, save_rain

ROOT = pathlib.Path(__file__).parent.parent
TINY = "--filters 2 --scales 1 2 --patch-size 4 --model convlstm"
DIGITS = (
    "--data moving-mnist --size 32 --digits-per-frame 1 --batches 40 --batch-size 2 "
    "--context 2 --horizon 2"
)
TRAIN = f"{DIGITS} {TINY} --epochs 3 --learning-rate 0.003 --schedule cosine"


LENGTHS = "--context 2 --horizon 2"


def run(*arguments):
    """Exit code of the command line."""
    return main([word for part in arguments for word in str(part).split()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run("train", folder, TRAIN) == 0
    return folder


def weights(path):
    """All that a `.keras` file holds of a training, the state of the optimizer included."""
    with zipfile.ZipFile(path) as file:
        training = json.loads(file.read("training.json"))
        with file.open("model.weights.h5") as content, h5py.File(content, "r") as stored:
            values = {}

            def visit(name, item):
                if isinstance(item, h5py.Dataset):
                    values[name] = item[()]

            stored.visititems(visit)
    return values, training


def test_a_run_has_everything(trained):
    record = json.loads((trained / "run.json").read_text())
    assert record["arguments"]["filters"] == 2 and record["arguments"]["pooling"] == "max"
    assert record["versions"]["keras"] == keras.__version__
    assert record["versions"]["backend"] == keras.backend.backend()
    assert record["data"]["batches"] == {"training": 40, "validation": 4, "test": 4}
    history = np.genfromtxt(trained / "history.csv", delimiter=",", names=True)
    assert history.dtype.names == ("epoch", "loss", "val_loss")
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["val_loss"][-1] < history["val_loss"][0]
    for name in ("training", "forecast", "score_squared_error_per_frame", "score_ssim"):
        with Image.open(trained / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5
    with Image.open(trained / "forecast.gif") as image:
        assert image.n_frames == 4
    best = keras.saving.load_model(trained / "best.keras")
    context, future = keras_msrnn.data.MovingMNIST(
        None, 2, 4, 2, 2, size=32, digits_per_frame=1, seed=2, fixed=True
    )[0]
    assert best.predict(context, verbose=0).shape == future.shape
    assert not list(trained.glob("*new*"))


def test_a_killed_training_ends_as_if_it_had_not_been(trained, tmp_path, capsys):
    folder, history = tmp_path / "run", tmp_path / "run" / "history.csv"
    command = [sys.executable, "-m", "keras_msrnn", "train", str(folder), *TRAIN.split()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not history.exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(0.02)  # in the middle of the next epoch
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    _, state = weights(folder / "last.keras")
    done = len(state["history"]["loss"])
    assert 1 <= done < 3
    # What a kill while files are written may leave as well:
    (folder / "new.keras").write_bytes(b"half of a file")
    history.write_text(history.read_text() + f"{done + 1},1.0,2.0\n")

    keras.utils.set_random_seed(99)
    assert run("train", folder) == 0
    assert f"epoch {done + 1} of 3" in capsys.readouterr().out
    for name in ("last.keras", "best.keras"):
        expected, state = weights(trained / name)
        values, resumed_state = weights(folder / name)
        assert values.keys() == expected.keys() and resumed_state == state
        for key in expected:
            np.testing.assert_allclose(values[key], expected[key], rtol=1e-6, atol=1e-6)
    for name in ("history.csv", "scores.csv"):
        assert (folder / name).read_text() == (trained / name).read_text()


def test_the_same_command_again(trained, capsys):
    before = {path: path.read_bytes() for path in trained.iterdir()}
    for command in (f"{TRAIN}", ""):
        assert run("train", trained, command) == 0
        assert "is complete" in capsys.readouterr().out
    for change in ("--filters 4", "--seed 1", "--horizon 3"):
        assert run("train", trained, TRAIN, change) == 2
        assert f"has `{change.split()[0]}`" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in trained.iterdir()} == before


def test_a_run_goes_on_with_its_own_data_and_backend_only(trained, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    record = json.loads((trained / "run.json").read_text())
    for part, name, value, message in (
        ("data", "frame", [9, 9, 1], "have changed"),
        ("versions", "backend", "abacus", "KERAS_BACKEND=abacus"),
    ):
        changed = {**record, part: {**record[part], name: value}}
        (folder / "run.json").write_text(json.dumps(changed))
        assert run("train", folder) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_two_processes_do_not_train_in_one_folder(trained, capsys):
    from keras_msrnn.tuning.files import lock

    with lock(trained / "run.lock"):
        assert run("train", trained) == 1
    assert "Another process" in capsys.readouterr().err


def test_evaluate(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", trained, "--out scores.csv scores.json") == 0
    assert "persistence" in capsys.readouterr().out
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content == json.loads((trained / "scores.json").read_text())
    assert (tmp_path / "scores.csv").read_text() == (trained / "scores.csv").read_text()
    assert run("evaluate", trained, "--out scores.csv") == 2
    assert "nothing is overwritten" in capsys.readouterr().err

    # A model alone, on given data; a longer horizon; thresholds.
    shutil.copy(trained / "last.keras", tmp_path / "model.keras")
    more = "--thresholds 0.5 --horizon 4 --first-batches 1 --part validation"
    assert run("evaluate model.keras", DIGITS, more, "--out model.json") == 0
    scores = json.loads((tmp_path / "model.json").read_text())
    assert scores["conventions"]["sequences"] == 2
    assert len(scores["scores"]["csi_0.5"]["model"]["by_lead_time"]) == 4
    assert run("evaluate model.keras") == 2
    assert "`--data` must say" in capsys.readouterr().err


def test_forecast(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(256, size=(6, 32, 32), dtype="uint8")
    np.save("frames.npy", frames)
    (tmp_path / "images").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "images" / f"{number}.png")
    assert run("forecast", trained, "--input frames.npy --steps 3 --out a") == 0
    assert run("forecast", trained, "--input images --steps 3 --out b") == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"forecast.npy", "forecast.json", "forecast.png", "forecast.gif"}
    forecast = np.load("a/forecast.npy")
    model = keras.saving.load_model(trained / "best.keras")
    context = frames[None, -2:, ..., None].astype("float32") / 255
    np.testing.assert_allclose(forecast, 255 * model.forecast(context, 3)[0], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(np.load("b/forecast.npy"), forecast)
    capsys.readouterr()
    for arguments, message in (
        ("--input frames.npy --out a", "nothing is overwritten"),
        ("--input nowhere.npy --out c", "no nowhere.npy"),
        ("--input frames.npy --context 7 --out c", "must end in 7 frames"),
    ):
        assert run("forecast", trained, arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_rain_from_files_to_a_forecast_in_mm_per_hour(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "knmi"
    folder.mkdir()
    rain = np.random.default_rng(0).integers(200, size=(30, 14, 12))
    rain[:, 0] = 65535  # not seen by the radars
    for number, values in enumerate(rain):
        time_of = test_radar.START + 5 * number * np.timedelta64(1, "m")
        test_radar.write_knmi(folder / f"{number}.h5", values, time_of)
    size = "--crop 0 0 12 12 --context 2 --horizon 2 --batch-size 4"
    training = f"{TINY} --epochs 1 --loss balanced --thresholds 1 5"
    assert run("train run --data knmi --path knmi", size, training) == 0
    assert "csi_5" in capsys.readouterr().out
    assert (tmp_path / "run" / "score_csi_1.png").is_file()
    assert run("forecast run --input knmi --out nowcast") == 0
    about = json.loads((tmp_path / "nowcast" / "forecast.json").read_text())
    assert about["values"] == "mm/h"
    assert about["times"] == ["2010-08-26T02:25:00", "2010-08-26T02:30:00"]
    model = keras.saving.load_model(tmp_path / "run" / "best.keras")
    units = keras_msrnn.data.Reflectivity()
    pixels = units.from_rain(KNMI(folder)[-2:])[None, :, :12, :12, None].astype("float32")
    expected = units.to_rain(model.forecast(pixels, 2)[0])
    np.testing.assert_allclose(np.load("nowcast/forecast.npy"), expected, rtol=1e-4)

    (folder / "28.h5").unlink()
    assert run("forecast run --input knmi --out gap") == 2
    assert "without a gap" in capsys.readouterr().err


# Data sets


def shapes(command, **options):
    """Shapes of the first batches of the parts of a data set, by options as of the command line."""
    parser = _make_parser(["train"])
    given = vars(parser.parse_args(["train", "folder", *command.split()]))
    names = [name for name in given if name not in ("command", "version", "folder")]
    resolved = datasets.resolve({name: given[name] for name in names} | options)
    parts = datasets.open_parts(json.loads(json.dumps(resolved)), seed=0, workers=1)
    batches = [part[0] for part in (parts.training, parts.validation, parts.test)]
    return [(*context.shape, future.shape[1]) for context, future in batches], parts


def test_published_data_sets_have_the_splits_of_the_papers(tmp_path, monkeypatch):
    for year, days in test_taxibj.DAYS.items():
        path = tmp_path / f"BJ{year}_M32x32_T30_InOut.h5"
        test_taxibj.write(path, test_taxibj.dates_of(year, days))
    found, parts = shapes(f"--data taxibj --path {tmp_path}")
    assert found == [(16, 4, 32, 32, 2, 4)] * 3
    assert len(parts.test.starts) == 48 * 7 * 4 and parts.training.shuffle

    folder = tmp_path / "kth"
    folder.mkdir()
    test_kth.fill(folder)
    found, _ = shapes(f"--data kth --path {folder} --size 32 --batch-size 1 --test-horizon 12")
    assert found == [(1, 10, 32, 32, 1, 10)] * 2 + [(1, 10, 32, 32, 1, 12)]

    path = tmp_path / "RYDL.hdf5"
    test_radar.write_germany(
        path, [s for y in range(2006, 2018) for s in test_radar.stamps(f"{y}-07-01", 13)]
    )
    found, parts = shapes(f"--data germany --path {path} --resize 3 3 --batch-size 2")
    assert found == [(2, 5, 3, 3, 1, 5), (1, 5, 3, 3, 1, 5), (2, 5, 3, 3, 1, 5)]
    assert parts.facts()["units"] == "Reflectivity(zr='germany', low=-10, high=60)"

    digits = tmp_path / "digits"
    images = np.random.default_rng(0).integers(256, size=(100, 28, 28), dtype="uint8")
    digits.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 100, 0, 0, 0, 28, 0, 0, 0, 28]))
    with open(digits, "ab") as file:
        file.write(images.tobytes())
    published = tmp_path / "mnist_test_seq.npy"
    np.lib.format.open_memmap(published, "w+", "uint8", (20, 10000, 64, 64))
    found, parts = shapes(f"--data moving-mnist --digits {digits} --path {published}")
    assert found == [(16, 10, 64, 64, 1, 10)] * 3
    assert [len(parts.training.digits), len(parts.validation.digits)] == [80, 10]
    assert len(parts.test) == 625


def test_frames_of_your_own(tmp_path):
    frames = np.random.default_rng(0).gamma(0.5, 3, size=(60, 16, 12)).astype("float32")
    lengths = "--context 2 --horizon 2 --batch-size 4"
    path = tmp_path / "frames.npy"
    np.save(path, frames)
    found, parts = shapes(f"--data {path} --scaling fit {lengths} --crop 4 2 8 8 --resize 4 4")
    assert found == [(4, 2, 4, 4, 1, 2)] * 3
    low, high = parts.scaling
    assert 0 <= low < high <= frames.max()
    _, parts = shapes(f"--data {path} --scaling rain --zr 300 1.4 {lengths}")
    assert (parts.units.a, parts.units.b) == (300, 1.4)
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        file["group/rain"], file["other"] = frames.reshape(15, 4, 16, 12), 1.0
    options = f"{lengths} --scaling 0 30 --axes nthw"
    found, parts = shapes(f"--data {path} --dataset group/rain {options}")
    assert found == [(n, 2, 16, 12, 1, 2) for n in (4, 3, 2)]
    assert parts.scaling == [0, 30]
    with pytest.raises(ValueError, match="`--dataset` must say .* group/rain, other"):
        shapes(f"--data {path} {options}")
    (tmp_path / "knmi").mkdir()
    for number in range(30):
        time_of = test_radar.START + 5 * number * np.timedelta64(1, "m")
        values = np.round(100 * frames[number]).astype(int)
        test_radar.write_knmi(tmp_path / "knmi" / f"{number}.h5", values, time_of)
    save_rain(KNMI(tmp_path / "knmi"), tmp_path / "saved.h5")
    _, saved = shapes(f"--data {tmp_path / 'saved.h5'} {lengths}")
    _, direct = shapes(f"--data knmi --path {tmp_path / 'knmi'} {lengths}")
    np.testing.assert_array_equal(saved.test[0][0], direct.test[0][0])


# Models, costs, bad input


@pytest.mark.parametrize("name", keras_msrnn.list_models())
def test_every_model_by_options(name):
    options = {"model": name, "filters": 4, "scales": [1, 2], "skip": "none", "remat": "none"}
    own = {"preciplstm": ["window=4"], "trajgru": ["links=3"], "mk-lstm": ["large_kernel_size=7"]}
    model = build_model({**options, "set": own.get(name, [])}, channels=1)
    assert model.rnn.scales == (1, 2) and model.rnn.remat is None
    plain = build_model({**options, "plain": True, "scales": [2]}, channels=1)
    assert plain.rnn.scales == (1, 1)


def test_profile(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = "profile --model predrnn convlstm --height 16 --filters 4 --details --json costs.json"
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "43.75%" in printed and "receptive field" in printed
    costs = json.loads((tmp_path / "costs.json").read_text())
    assert list(costs["values"]) == ["predrnn", "ms-predrnn", "convlstm", "ms-convlstm"]
    assert costs["ratios"]["ms-predrnn"]["parameters"] == 1
    assert run(command) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("train new", "`--data` must say"),
        ("train new --data moving-mnits", "Did you mean 'moving-mnist'"),
        ("train new --data knmi", "needs `--path`"),
        ("train new --data knmi --path nowhere", "nowhere"),
        ("train new --data taxibj --path . --digits x", "`--digits` is not an option"),
        ("train new --data frames.npy --scaling low high", "`--scaling` must be"),
        ("train new --data frames.npy --scaling rain --zr 200", "`zr` must be"),
        (f"train new --data frames.npy {LENGTHS}", "have missing values"),
        (
            "train new --data frames.npy --context 2 --horizon 2 --loss balanced",
            "`--loss balanced`",
        ),
        (f"train new {DIGITS} --model predrn", "Did you mean 'predrnn'"),
        (f"train new {DIGITS} --model ms-predrnn --plain", "`--plain` contradicts"),
        (f"train new {DIGITS} --set links=3", "`links` is not an option of 'predrnn'"),
        (f"train new {DIGITS} --set links", "`--set` must be"),
        (f"train new {DIGITS} --epochs 0", "`epochs` must be at least 1"),
        (f"train new {DIGITS} --learning-rate 0", "`--learning-rate` must be positive"),
        (f"train new {DIGITS} --seed -1", "`--seed` must not be negative"),
        (f"train . {DIGITS}", "must be new, empty"),
        ("evaluate nowhere", "no run and no model nowhere"),
        ("evaluate .", "must be the folder of a run"),
        ("evaluate frames.npy --data moving-mnist", "must be a `.keras` file"),
        ("profile --height 0", "must"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).uniform(size=(60, 8, 8)).astype("float32")
    frames[:, 0] = np.nan
    np.save("frames.npy", frames)
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith(f"keras-msrnn {arguments.split()[0]}: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["frames.npy"]


def test_exit_codes(monkeypatch, capsys):
    def fail(error):
        def raise_error(*args, **kwargs):
            raise error

        monkeypatch.setattr("keras_msrnn.commands.train.run", raise_error)
        return run("train run"), capsys.readouterr().err

    assert fail(KeyboardInterrupt()) == (
        130,
        "\nkeras-msrnn train: stopped; `keras-msrnn train run` goes on where it was.\n",
    )
    assert fail(RuntimeError("no memory")) == (1, "keras-msrnn train: no memory\n")
    assert fail(OSError("disk full")) == (1, "keras-msrnn train: disk full\n")
    assert run("") == 2
    assert run("--version") == 0 and keras_msrnn.__version__ in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        run("train run --no-such-option")
    assert caught.value.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as caught:
        run(command, "--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(r"^  (keras-msrnn .*)$", text, re.M)
    assert examples or command == "list"
    for example in examples:
        parses(example)


def test_commands_of_the_documents_parse():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [
        line
        for page in pages
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        for line in block.replace("\\\n", " ").splitlines()
        if re.search(r"keras-msrnn |-m keras_msrnn ", line)
    ]
    assert len(lines) > 10
    for line in lines:
        parses(line)


def parses(line):
    after = re.split(r"keras-msrnn |-m keras_msrnn ", line, maxsplit=1)[1]
    arguments = shlex.split(after, comments=True)
    assert _make_parser(arguments).parse_args(arguments).command in COMMANDS
