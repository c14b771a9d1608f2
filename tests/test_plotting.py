import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_msrnn.data.units import Reflectivity
from keras_msrnn.plotting import animate_forecast, plot_forecast, plot_history, plot_scores
from keras_msrnn.plotting.strips import _shown_times


def sample(shape=(16, 24), context=3, horizon=4, seed=0):
    frames = np.random.default_rng(seed).random((context + 2 * horizon, *shape), "float32")
    return frames[:context], frames[context : context + horizon], frames[context + horizon :]


def draw(figure) -> None:
    assert figure._repr_png_().startswith(b"\x89PNG")  # as notebooks do


def labels(figure) -> list[str]:
    return [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


# Strips


def test_rows_and_times():
    context, truth, forecast = sample()
    figure = plot_forecast(context, truth, forecast, persistence=True)
    assert labels(figure) == ["truth", "forecast", "persistence", "forecast error"]
    assert titles(figure) == ["t−2", "t−1", "t", "t+1", "t+2", "t+3", "t+4"]
    assert [text.get_text() for text in figure.texts] == ["context", "future"]
    assert len(figure.axes) == 7 + 3 * 4 + 2


def test_panels_show_the_frames_they_name_and_line_up():
    context, truth, forecast = sample()
    context[:], truth[:] = 0, 0
    for lead in range(4):
        truth[lead], forecast[lead] = lead / 4, lead / 8
    figure = plot_forecast(context, truth, forecast, persistence=True, value_range=(0, 1))
    shown = [axes.images[0].get_array()[0, 0, 0] for axes in figure.axes if axes.images]
    gray = [round(255 * value) for value in (0, 0.25, 0.5, 0.75)]
    assert np.allclose(shown[:7], [0, 0, 0, *gray], atol=1)
    assert np.allclose(shown[7:11], [0, 32, 64, 96], atol=1)
    assert np.allclose(shown[11:15], 0)
    left = [axes.get_position().x0 for axes in figure.axes if axes.images]
    assert left[3:7] == left[7:11] == left[11:15] == left[15:19]


def test_what_the_context_never_shows_is_missing_in_the_forecast_too():
    context, truth, forecast = sample()
    context[:, 0], context[0, 1] = np.nan, np.nan
    figure = plot_forecast(context, truth, forecast)
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images][-8:-4]
    for image in shown:
        missing = (image == [0xEB, 0xCD, 0xB9]).all(-1)
        assert missing[0].all() and not missing[1:].any()


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_a_long_sample_stays_legible(width):
    figure = plot_forecast(*sample(context=30, horizon=50), width=width)
    panels = [axes.get_position().width * figure.get_figwidth() for axes in figure.axes[:3]]
    assert min(panels) >= 0.5 and figure.get_figwidth() <= width + 0.3
    assert "t" in titles(figure) and "t+50" in titles(figure)


@pytest.mark.parametrize("context, horizon", [(1, 1), (10, 10), (4, 12), (40, 1), (1, 40), (5, 3)])
def test_shown_times(context, horizon):
    before, after = _shown_times(context, horizon, 8)
    assert len(before) + len(after) <= 8
    assert before[-1] == 0 and before[0] > -context and after[0] >= 1 and after[-1] == horizon
    steps = np.unique([*np.diff(before), *np.diff(after)])
    assert len(steps) <= 1


def test_unknown_truth_leaves_the_forecast():
    context, _, forecast = sample()
    figure = plot_forecast(context, None, forecast)
    assert labels(figure) == []
    assert [text.get_text() for text in figure.texts] == ["context", "forecast"]
    assert len(figure.axes) == 7 + 1


def test_channels():
    rgb = plot_forecast(*sample((16, 24, 3)))
    assert len(rgb.axes) == 7 + 2 * 4 + 1  # no color bar of RGB, one of its error
    context, truth, forecast = sample((16, 24, 5))
    with pytest.raises(ValueError, match="one channel or three.*Choose one with `channel`"):
        plot_forecast(context, truth, forecast)
    chosen = plot_forecast(context, truth, forecast, channel=4)
    assert len(chosen.axes) == 7 + 2 * 4 + 2


def test_odd_values_are_drawn():
    context, truth, forecast = sample()
    truth[0, :3], forecast[1, :3] = np.nan, np.inf
    draw(plot_forecast(context, truth, forecast))
    draw(plot_forecast(context * 0, truth * 0 + 1e-30, np.full_like(forecast, np.nan)))
    draw(plot_forecast(context[:1] * 0, context[:1] * 0, context[:1] * 0))


# Keras 3.15 converts torch tensors in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_tensors_of_the_backend():
    tensors = [keras.ops.convert_to_tensor(values) for values in sample((16, 24, 1))]
    assert labels(plot_forecast(*tensors)) == ["truth", "forecast", "forecast error"]


def test_notebooks_show_the_figure_and_pyplot_does_not_keep_it():
    import matplotlib.pyplot as plt

    figure = plot_forecast(*sample())
    draw(figure)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "change, rule",
    [
        (lambda c, t, f: (c[None, ..., None], t, f), r"`context` must be one sample.*context\[0\]"),
        (lambda c, t, f: (c[:, 1:], t, f), "`context` and `forecast` must have frames of one"),
        (lambda c, t, f: (c, t[1:], f), "`truth` and `forecast` must have the same shape"),
        (lambda c, t, f: (c[:0], t, f), "`context` must be one sample"),
    ],
)
def test_arrays_that_do_not_match(tmp_path, change, rule):
    arrays = change(*sample())
    with pytest.raises(ValueError, match=rule):
        plot_forecast(*arrays)
    with pytest.raises(ValueError, match=rule):
        animate_forecast(tmp_path / "x.gif", *arrays)
    assert not list(tmp_path.iterdir())


def test_bad_options():
    with pytest.raises(ValueError, match="`value_range` must be"):
        plot_forecast(*sample(), value_range=(1, 1))
    with pytest.raises(ValueError, match="`channel` must be"):
        plot_forecast(*sample((8, 8, 2)), channel=2)


# Animations


def test_animation(tmp_path):
    context, truth, forecast = sample()
    path = animate_forecast(tmp_path / "forecast.gif", context, truth, forecast)
    with Image.open(path) as gif:
        assert gif.n_frames == 7 and gif.info["loop"] == 0
        assert gif.width > 2 * 240 and gif.height > 160
        borders, halves = [], []
        for number in range(7):
            gif.seek(number)
            pixels = np.asarray(gif.convert("RGB")).astype(int)
            borders.append(pixels[100, 11])
            middle = pixels.shape[1] // 2
            halves.append(
                np.abs(pixels[40:150, 20:240] - pixels[40:150, middle + 15 : middle + 235])
            )
    blue, orange = (0, 0x72, 0xB2), (0xD5, 0x5E, 0)
    np.testing.assert_allclose(borders, [blue] * 3 + [orange] * 4, atol=12)
    difference = np.array([half.mean() for half in halves])
    assert difference[:3].max() < 2 and difference[3:].min() > 20  # the context is on both sides


def test_animation_without_truth_or_of_rgb(tmp_path):
    context, truth, forecast = sample((16, 24, 3))
    narrow = animate_forecast(tmp_path / "1.gif", context, None, forecast)
    wide = animate_forecast(tmp_path / "2.gif", context, truth, forecast)
    with Image.open(narrow) as one, Image.open(wide) as two:
        assert one.n_frames == two.n_frames == 7 and two.width > 1.8 * one.width


def test_animation_never_overwrites_unasked(tmp_path):
    path = tmp_path / "mine.gif"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="mine.gif.*overwrite=True"):
        animate_forecast(path, *sample())
    assert path.read_bytes() == b"precious"
    animate_forecast(str(path), *sample(), overwrite=True)
    assert path.read_bytes()[:3] == b"GIF"
    with pytest.raises(ValueError, match="`frames_per_second` must be positive"):
        animate_forecast(path, *sample(), frames_per_second=0, overwrite=True)


# Scores


def test_scores():
    scores = {"MS-PredRNN": [0.9, 0.8, 0.7], "persistence": [0.5, 0.3], "MIM": [0.9, 0.85, 0.6]}
    figure = plot_scores(scores, "CSI")
    axes = figure.axes[0]
    assert axes.get_ylabel() == "CSI" and axes.get_xlabel() == "lead time (frames)"
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["MIM"].get_ydata(), scores["MIM"], rtol=1e-6)
    np.testing.assert_array_equal(lines["persistence"].get_xdata(), [1, 2])
    ordered = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ordered == ["MIM", "MS-PredRNN", "persistence"]  # as at the last common lead time
    draw(figure)


def test_many_scores_look_different():
    figure = plot_scores({f"model {i}": np.full(3, i) for i in range(15)}, "MSE")
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 15
    draw(plot_scores({"one": [np.nan], "two": [1.0]}))


def test_bad_scores():
    with pytest.raises(ValueError, match="at least one model"):
        plot_scores({})
    with pytest.raises(ValueError, match=r"scores\['x'\] of shape \(2, 3\)"):
        plot_scores({"x": np.zeros((2, 3))})


# Rain


def test_rain_is_drawn_in_steps_of_mm_per_hour():
    units = Reflectivity("hong-kong")
    rain = np.zeros((2, 16, 24))
    rain[:, 0], rain[:, 1], rain[:, 2], rain[:, 3] = 0.3, 0.4, 3.0, 80.0
    rain[:, 4] = np.nan
    frames = units.from_rain(rain)
    figure = plot_forecast(frames, frames, frames, units=units)
    colors = figure.axes[0].images[0].get_array()[:6, 0].tolist()
    assert colors[0] == colors[1]  # both from 0.1 to 0.5 mm/h
    assert len(set(map(tuple, colors))) == 5 and colors[5] == [255, 255, 255]
    bars = [axes.get_ylabel() for axes in figure.axes[-2:]]
    assert bars == ["mm/h", "mm/h"]
    ticks = [tick.get_text() for tick in figure.axes[-2].get_yticklabels()]
    assert ticks == ["0.1", "0.5", "1", "2", "5", "10", "20", "50"]
    draw(figure)


# Videos


def test_video(tmp_path):
    import av

    path = animate_forecast(tmp_path / "forecast.mp4", *sample((15, 21)), frames_per_second=4)
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 4
    assert len(frames) == 7 + 4
    blue, orange = (0, 0x72, 0xB2), (0xD5, 0x5E, 0)
    np.testing.assert_allclose(frames[0][100, 12], blue, atol=40)
    np.testing.assert_allclose(frames[6][100, 12], orange, atol=40)
    assert [file.name for file in tmp_path.iterdir()] == ["forecast.mp4"]
    with pytest.raises(ValueError, match="must end in .gif or .mp4"):
        animate_forecast(tmp_path / "forecast.avi", *sample())


def test_video_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "keras_msrnn\[video\]"'):
        animate_forecast(tmp_path / "forecast.mp4", *sample())
    assert not list(tmp_path.iterdir())


# Training curves


def test_history():
    history = {"loss": [3, 2, 1], "mae": [1, 0.5, 0.2], "val_loss": [3, 2.5, 2.4]}
    figure = plot_history(history)
    assert labels(figure) == ["loss", "mae"]
    loss, mae = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), history["val_loss"], rtol=1e-6)
    assert len(mae.lines) == 1
    draw(figure)
    draw(plot_history({f"score {i}": [1.0] for i in range(7)}))
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_history({"loss": []})
