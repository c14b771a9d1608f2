import pickle

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from keras_msrnn.data import RainRate, Reflectivity, Windows, split_in_time


def ramp(count=30, height=4, width=5, channels=1, dtype="float32"):
    """Frames whose pixels say which frame, row, column and channel they are."""
    shape = (count, height, width, channels)
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def minutes(*stamps):
    return np.datetime64("2020-01-01T00:00") + np.array(stamps, "timedelta64[m]")


def frame_numbers(data, size=20):
    """The frames of every window, `(windows, context + horizon)`, as `ramp` marks them."""
    batches = [np.concatenate(batch, axis=1) for batch in data]
    return np.rint(np.concatenate(batches)[:, :, 0, 0, 0] / size).astype(int)


def assert_same(batch, expected):
    for part, expected_part in zip(batch, expected, strict=True):
        np.testing.assert_array_equal(part, expected_part)


# Windows


def test_batches_hold_the_frames_that_they_should():
    frames = ramp()
    data = Windows(frames, 3, 2, batch_size=4)
    assert len(data) == 7 and len(data.starts) == 26  # 30 - 5 + 1 windows, the last 2 in a batch
    for index in (0, 6):
        context, future = data[index]
        assert context.dtype == future.dtype == np.float32
        for place, start in enumerate(data.starts[4 * index : 4 * index + 4]):
            np.testing.assert_array_equal(context[place], frames[start : start + 3])
            np.testing.assert_array_equal(future[place], frames[start + 3 : start + 5])
    assert len(data[6][0]) == 2
    with pytest.raises(IndexError, match="`index` must be from 0 to 6"):
        data[7]


def test_stride_and_spacing():
    data = Windows(ramp(), 2, 2, stride=5, spacing=3)
    numbers = [[s, s + 3, s + 6, s + 9] for s in (0, 5, 10, 15, 20)]
    np.testing.assert_array_equal(frame_numbers(data), numbers)
    with pytest.raises(ValueError, match="the longest of 1 stretches has 30 of 30 frames"):
        Windows(ramp(), 6, 5, spacing=3)
    assert len(Windows(ramp(), 6, 4, spacing=3).starts) == 3
    assert len(Windows(ramp(), 10, 20).starts) == 1


def test_no_window_crosses_a_gap_a_step_back_or_a_break():
    stamps = [*range(0, 50, 5), *range(55, 90, 5), *range(20, 60, 5)]  # 10, a gap, 7, back, 8
    data = Windows(ramp(25), 2, 1, times=minutes(*stamps), stride=2)
    assert data.starts.tolist() == [0, 2, 4, 6, 10, 12, 14, 17, 19, 21]
    steps = np.diff(data.times, axis=1)
    assert data.times.shape == (10, 3) and (steps == np.timedelta64(5, "m")).all()
    data = Windows(ramp(25), 2, 1, times=minutes(*stamps), stride=2, breaks=[5, 13])
    assert data.starts.tolist() == [0, 2, 5, 7, 10, 13, 17, 19, 21]
    # The most common step is taken, unless said otherwise.
    stamps = minutes(0, 5, 10, 15, 25, 35, 45)
    assert Windows(ramp(7), 1, 1, times=stamps).starts.tolist() == [0, 1, 2]
    ten = Windows(ramp(7), 1, 1, times=stamps, interval=np.timedelta64(10, "m"))
    assert ten.starts.tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="longest of 3 stretches has 3 of 5 frames"):
        Windows(ramp(5), 3, 1, times=minutes(0, 5, 10, 12, 5)[[3, 4, 0, 1, 2]])


AXES = [("tchw", (0, 3, 1, 2)), ("hwct", (1, 2, 3, 0)), ("cthw", (3, 0, 1, 2))]


@pytest.mark.parametrize("axes, order", AXES)
@pytest.mark.parametrize("crop", [None, (1, 2, 3, 2)])
def test_axes(axes, order, crop):
    frames = ramp(height=6, channels=3)
    data = Windows(frames.transpose(order), 3, 2, axes=axes, crop=crop)
    same = Windows(frames, 3, 2, crop=crop)
    assert_same(data[1], same[1])
    assert data[1][0].shape[2:] == (frames.shape[1:] if crop is None else (3, 2, 3))


def test_sequences_are_never_left():
    frames = ramp(24, channels=2).reshape(3, 8, 4, 5, 2)
    whole = Windows(frames, 3, 2)
    assert whole.starts.tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19]
    np.testing.assert_array_equal(np.concatenate(whole[0], 1)[5], frames[1, 1:6])
    for axes, order in (("tnhwc", (1, 0, 2, 3, 4)), ("ntchw", (0, 1, 4, 2, 3))):
        assert_same(Windows(frames.transpose(order), 3, 2, axes=axes)[1], whole[1])
    grey = Windows(frames[..., 0], 3, 2, axes="nthw")
    np.testing.assert_array_equal(grey[1][0], whole[1][0][..., :1])


@pytest.mark.parametrize(
    "shape, axes, message",
    [
        ((9, 2, 32, 32), None, "Axis 1 seems to hold channels.*`axes='tchw'`"),
        ((9, 1, 6, 6), None, "Axis 1 seems to hold channels.*`axes='tchw'`"),
        ((3, 9, 2, 32, 32), None, "Axis 2 seems to hold channels.*`axes='ntchw'`"),
        ((9, 20, 64, 64), None, "Axis 3, the last, seems not to hold channels.*'nthw'"),
        ((9, 32), None, r"`axes` must name each axis.*axes=None for frames of shape \(9, 32\)"),
        ((9, 32, 32, 1), "thw", "axes='thw' for frames of shape"),
        ((9, 32, 32), "tht", "axes='tht'"),
        ((9, 32, 32), 3, "axes=3"),
        ((0, 32, 32), None, "must not be empty"),
    ],
)
def test_axes_that_cannot_be(shape, axes, message):
    with pytest.raises(ValueError, match=message):
        Windows(np.zeros(shape), 2, 2, axes=axes)


def test_axes_that_were_said_are_believed():
    frames = np.random.default_rng(0).random((9, 2, 6, 17))
    assert Windows(frames, 2, 2, axes="thwc")[0][0].shape[1:] == (2, 2, 6, 17)


# Sources


def folder_of(tmp_path, frames, suffix="png"):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{number}.{suffix}")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(params=["npy", "hdf5", "images", "reader"])
def source(request, tmp_path):
    """Frames `(30, 4, 5)` of `uint8` that come from somewhere, and the same as an array."""
    frames = np.random.default_rng(0).integers(256, size=(30, 4, 5), dtype="uint8")
    if request.param == "npy":
        np.save(tmp_path / "frames.npy", frames)
        yield tmp_path / "frames.npy", frames
    elif request.param == "images":
        yield folder_of(tmp_path, frames), frames
    elif request.param == "reader":
        yield Reader(frames), frames
    else:
        with h5py.File(tmp_path / "frames.h5", "w") as file:
            yield file.create_dataset("group/frames", data=frames, chunks=(4, 4, 5)), frames


class Reader:
    """Has what a reader must have, and records what is read."""

    def __init__(self, frames):
        self.times = minutes(*range(0, 5 * len(frames) - 5, 5), 999)  # a gap before the last
        self.frames, self.shape, self.dtype, self.read = frames, frames.shape, frames.dtype, []

    def __getitem__(self, index):
        assert isinstance(index, slice)
        self.read.append(index)
        return self.frames[index]


def test_sources(source):
    source, frames = source
    data = Windows(source, 3, 2, stride=3, crop=(1, 0, 2, 4))
    same = Windows(frames, 3, 2, stride=3, crop=(1, 0, 2, 4))
    for batch, expected in zip(data, same):
        assert_same(batch, expected)
    np.testing.assert_array_equal(data[0][0][1, :, :, :, 0], frames[3:6, 1:3, :4] / np.float32(255))


def test_other_processes_open_files_anew(source):
    source, frames = source
    data = Windows(source, 3, 2)
    if isinstance(source, h5py.Dataset):
        source.file.flush()
        source.file.close()  # the data set is opened again, here and there
    copied = pickle.dumps(data)
    assert_same(pickle.loads(copied)[1], Windows(frames, 3, 2)[1])
    assert_same(data[1], Windows(frames, 3, 2)[1])


def test_a_memory_map_is_not_copied_to_other_processes(tmp_path):
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).random((500, 8, 8)))
    assert len(pickle.dumps(Windows(tmp_path / "frames.npy", 2, 2))) < 20_000


def test_a_batch_reads_its_windows_only():
    reader = Reader(np.random.default_rng(0).integers(256, size=(30, 4, 5), dtype="uint8"))
    data = Windows(reader, 2, 2, batch_size=2)
    assert len(data.starts) == 26  # not 27: the times of the reader count
    reader.read.clear()
    data[3]
    assert reader.read == [slice(6, 10, 1), slice(7, 11, 1)]


def test_images_come_in_numeric_order_in_colour_too(tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(12, 6, 7, 3), dtype="uint8")
    data = Windows(folder_of(tmp_path, frames), 10, 2, scaling=None)
    np.testing.assert_array_equal(np.concatenate(data[0], axis=1)[0], frames)


def test_images_that_cannot_be(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="`frames` must hold images.*empty without any"):
        Windows(tmp_path / "empty")
    folder = folder_of(tmp_path, np.random.default_rng(0).integers(256, size=(9, 4, 5)).astype("B"))
    whole = (folder / "frame_7.png").read_bytes()
    Image.new("L", (6, 4)).save(folder / "frame_7.png")
    with pytest.raises(ValueError, match=r"one size and mode.*frame_7.png with 6 x 4.*5 x 4 of L"):
        Windows(folder, 2, 2)
    (folder / "frame_7.png").write_bytes(whole[:50])
    with pytest.raises(ValueError, match=r"frame_7.png is not an image that can be read"):
        list(Windows(folder, 2, 2))
    (folder / "frame_7.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"frame_7.png is not an image that can be read"):
        Windows(folder, 2, 2)


def test_files_that_cannot_be(tmp_path):
    path = tmp_path / "frames.npy"
    np.save(path, np.zeros((30, 4, 5)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="frames.npy is not a whole `.npy` file"):
        Windows(path)
    with pytest.raises(ValueError, match="an `.npy` file or a folder.*h5py.File"):
        Windows(tmp_path / "frames.h5")
    with pytest.raises(FileNotFoundError, match="none.npy"):
        Windows(tmp_path / "none.npy")
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        values = np.random.default_rng(0).random((30, 4, 5))
        data = Windows(file.create_dataset("frames", data=values), 2, 2)
    (tmp_path / "frames.h5").write_bytes(b"broken")
    with pytest.raises(OSError, match="frames.h5 cannot be read at /frames"):
        data[0]


# Size


def test_resize_averages_areas_exactly():
    frames = np.random.default_rng(0).random((6, 12, 8, 2)).astype("float32")
    frames[0, 5, 3, 1] = np.nan
    context, _ = Windows(frames, 3, 2, resize=(3, 4))[0]
    expected = frames.reshape(6, 3, 4, 4, 2, 2).mean((2, 4))[:3]
    np.testing.assert_allclose(context[0], expected, rtol=1e-6)
    assert np.isnan(context[0, 0, 1, 1, 1]) and np.isnan(context[0]).sum() == 1
    context, _ = Windows(frames, 3, 2, resize=(24, 16))[0]
    np.testing.assert_array_equal(context[0], frames[:3].repeat(2, 1).repeat(2, 2))
    shape = Windows(frames, 3, 2, crop=(2, 1, 7, 6), resize=(5, 3))[0][0].shape
    assert shape == (2, 3, 5, 3, 2)


# Values


def test_bytes_become_0_to_1_and_floats_stay():
    frames = np.random.default_rng(0).integers(256, size=(9, 4, 5), dtype="uint8")
    data = Windows(frames, 2, 2)
    expected = frames[:2, :, :, None] / np.float32(255)
    np.testing.assert_array_equal(data[0][0][0], expected)
    np.testing.assert_allclose(data.inverse(data[0][0])[0, ..., 0], frames[:2], atol=1e-4)
    floats = Windows(frames.astype("float16"), 2, 2)
    np.testing.assert_array_equal(floats[0][0][0, ..., 0], frames[:2])
    np.testing.assert_array_equal(floats.inverse(floats[0][0]), floats[0][0])
    for dtype in ("int16", "uint16", "int64"):
        with pytest.raises(ValueError, match="`scaling` must be given"):
            Windows(frames.astype(dtype), 2, 2)
        Windows(frames.astype(dtype), 2, 2, scaling=None)
    with pytest.raises(TypeError, match="`frames` must hold numbers.*complex"):
        Windows(frames.astype(complex), 2, 2)


def test_scaling_by_a_range_keeps_missing_data_and_inverts():
    frames = np.random.default_rng(0).uniform(200, 300, (9, 4, 5, 2))
    frames[1, 2, 3] = np.nan
    data = Windows(frames, 2, 2, scaling=([200, 150], 300))
    context, _ = data[0]
    expected = (frames[:2] - [200, 150]) / [100, 150]
    np.testing.assert_allclose(context[0], expected, rtol=1e-5)
    assert np.isnan(context).sum() == 4  # in windows 0 and 1, in both channels
    tensor = keras.ops.convert_to_tensor(context)
    np.testing.assert_allclose(data.inverse(tensor)[0], frames[:2], rtol=1e-6)


def test_fitted_scaling_takes_the_frames_of_the_windows_alone(monkeypatch):
    monkeypatch.setattr("keras_msrnn.data.windows._BLOCK", 90)  # a few frames at a time
    rng = np.random.default_rng(0)
    frames = rng.uniform(2, 7, (40, 4, 5, 2)) * [1, 10]
    frames[3, 0, 0] = np.nan
    frames[20] = 1000  # alone between two breaks
    options = {"breaks": [20, 21], "scaling": "fit"}
    used = np.delete(frames, 20, axis=0)
    data = Windows(frames, 3, 2, **options)
    np.testing.assert_allclose(data.scaling, [np.nanmin(used), np.nanmax(used)], rtol=1e-6)
    batches = np.concatenate([np.concatenate(batch, 1) for batch in data])
    assert np.nanmin(batches) == 0 and np.nanmax(batches) == 1
    sequences = Windows(used[:36].reshape(4, 9, 4, 5, 2), 3, 2, scaling="fit_channels")
    low, high = sequences.scaling
    np.testing.assert_allclose(low, np.nanmin(used[:36], (0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(high, np.nanmax(used[:36], (0, 1, 2)), rtol=1e-6)


def test_rain_becomes_pixels_of_its_units():
    rain = np.random.default_rng(0).gamma(0.3, 5, (9, 4, 5)).astype("float32")
    rain[0, 0, 0] = np.nan
    units = Reflectivity("germany")
    data = Windows(rain, 2, 2, scaling="rain", units=units)
    assert data.units == units
    context, _ = data[0]
    np.testing.assert_allclose(context[0, ..., 0], units.from_rain(rain[:2]), atol=1e-6)
    back = data.inverse(context)[0, ..., 0]
    seen = (context[0, ..., 0] > 0) & (context[0, ..., 0] < 1)
    assert seen.sum() > 20
    np.testing.assert_allclose(back[seen], rain[:2][seen], rtol=1e-4)
    # Averages are of rain, not of its logarithm.
    context, _ = Windows(rain, 2, 2, scaling="rain", units=units, resize=(1, 1))[0]
    np.testing.assert_allclose(units.to_rain(context[0, 1]).item(), rain[1].mean(), rtol=1e-5)


def test_rain_without_doubt():
    rain = np.random.default_rng(0).gamma(0.3, 5, (9, 4, 5)).astype("float32")
    with pytest.raises(ValueError, match="floats with `units`"):  # pixels, or mm/h?
        Windows(rain, 2, 2, units=RainRate(50))
    with pytest.raises(ValueError, match="needs `units`"):
        Windows(rain, 2, 2, scaling="rain")
    with pytest.raises(ValueError, match="a fitted one has none"):
        Windows(rain, 2, 2, scaling="fit", units=RainRate(50))
    bytes_ = np.random.default_rng(0).integers(256, size=(9, 4, 5), dtype="uint8")
    assert Windows(bytes_, 2, 2, units=RainRate(50)).units == RainRate(50)
    assert Windows(Reader(rain), 2, 2).units is None
    reader = Reader(rain)
    reader.units = RainRate(50)
    data = Windows(reader, 2, 2)
    assert data.scaling == "rain" and data.units == RainRate(50)
    assert Windows(reader, 2, 2, units=RainRate(9)).units == RainRate(9)
    assert Windows(reader, 2, 2, scaling="fit").units is None


def test_constant_data():
    with pytest.warns(UserWarning, match="`frames` hold nothing but 3 in 8 windows"):
        Windows(np.full((30, 4, 5), 3.0), 2, 2)
    with pytest.warns(UserWarning, match="nothing but nan in 2 windows"):
        Windows(np.full((5, 4, 5), np.nan), 2, 2)
    for value in (3.0, np.nan):
        with pytest.raises(ValueError, match="finite values that differ.*from"):
            Windows(np.full((30, 4, 5), value), 2, 2, scaling="fit")


# Order


def test_shuffling_follows_seed_and_epoch():
    def order(epochs=0, **options):
        data = Windows(ramp(50), 2, 2, **{"shuffle": True, **options})
        for _ in range(epochs):
            data.on_epoch_end()
        return frame_numbers(data)[:, 0].tolist()

    first = order()
    assert sorted(first) == list(range(47)) != first
    assert first == order() != order(seed=1) != order(1) != first
    assert order(3) == order(3) and order(3) != order(2)
    assert order(2, shuffle=False) == list(range(47))
    resumed = Windows(ramp(50), 2, 2, shuffle=True)
    resumed.epoch = 3
    assert frame_numbers(resumed)[:, 0].tolist() == order(3)


@pytest.mark.parametrize("shuffle", [False, True])
def test_shards_are_equal_and_disjoint(shuffle):
    def shards(count, epoch):
        parts = []
        for index in range(count):
            data = Windows(ramp(51), 2, 2, shuffle=shuffle, shard=(index, count), batch_size=5)
            data.epoch = epoch
            parts.append(frame_numbers(data)[:, 0].tolist())
            assert sum(len(batch[0]) for batch in data) == len(parts[-1])
        return parts

    for epoch in range(2):
        parts = shards(4, epoch)
        assert [len(part) for part in parts] == [12] * 4  # of 48 windows
        assert sorted(np.concatenate(parts)) == list(range(48))
        parts = shards(5, epoch)
        assert [len(part) for part in parts] == [9] * 5
        assert len(np.unique(np.concatenate(parts))) == 45


@pytest.mark.parametrize("workers", [1, 3])
def test_fit_takes_them(tmp_path, workers):
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        frames = file.create_dataset("frames", data=np.random.default_rng(0).random((40, 4, 5)))
        train, validation, _ = split_in_time(frames, 2, 2, at=(0.5, 0.8), workers=workers)
        model = keras.Sequential([keras.layers.Conv3D(1, 1)])
        model.compile(loss="mse")
        history = model.fit(train, validation_data=validation, epochs=2, verbose=0)
    assert np.isfinite(history.history["val_loss"]).all() and train.epoch >= 2


def test_threads_see_each_window_once(tmp_path):
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        data = Windows(file.create_dataset("frames", data=ramp(60)), 2, 2, workers=4, shuffle=True)
        first_pixel = keras.layers.Lambda(lambda x: x[:, :1, 0, 0, 0] / 20)
        model = keras.Sequential([keras.Input((2, 4, 5, 1)), first_pixel])
        seen = model.predict(data, verbose=0)
        np.testing.assert_array_equal(np.sort(seen[:, 0]), np.arange(57))


# Splits in time


def test_split_by_fractions_shares_no_frame():
    frames = ramp(100)
    parts = split_in_time(frames, 3, 2, at=(0.6, 0.8), scaling="fit", seed=3)
    seen = [set(frame_numbers(part, 20 / np.ptp(part.scaling)).ravel()) for part in parts]
    assert seen == [set(range(60)), set(range(60, 80)), set(range(80, 100))]
    assert [part.shuffle for part in parts] == [True, False, False]
    low, high = parts[0].scaling
    assert (low, high) == (frames[:60].min(), frames[:60].max())  # nothing of the other parts
    assert all(part.scaling == parts[0].scaling for part in parts)
    assert max(parts[2][0][1].max(), parts[1][0][1].max()) > 1
    np.testing.assert_allclose(parts[2].inverse(parts[2][0][0])[0], frames[80:83], rtol=1e-5)


def test_split_by_times():
    stamps = minutes(*range(0, 200, 5))[::-1].copy().reshape(2, 20)[:, ::-1].ravel()
    at = ("2020-01-01T01:00", "2020-01-01T02:00")  # of two recordings, the later one first
    parts = split_in_time(ramp(40), 2, 2, at=at, times=stamps, shuffle=False)
    numbers = [sorted(set(frame_numbers(part).ravel())) for part in parts]
    assert numbers == [list(range(20, 32)), [*range(4), *range(32, 40)], list(range(4, 20))]
    for part, earliest, latest in zip(parts, (0, 60, 120), (60, 120, 200)):
        assert (part.times >= minutes(earliest)).all() and (part.times < minutes(latest)).all()


def test_split_of_sequences_keeps_them_whole():
    frames = ramp(50).reshape(10, 5, 4, 5, 1)
    parts = split_in_time(frames, 2, 2, at=(0.62, 0.78))
    seen = [sorted(set(frame_numbers(part).ravel() // 5)) for part in parts]
    assert seen == [list(range(6)), [6, 7], [8, 9]]


@pytest.mark.parametrize(
    "at, message",
    [
        ((0.8, 0.6), "`at` must be two fractions"),
        ((0.5, 1.5), "`at` must be two fractions"),
        (("2020-01-01", "2020-01-02"), "times not given"),
        (0.7, "`at` must be two fractions"),
        ((0.7, 0.73), "the validation part has 0 windows in 3 of 100 frames; a window spans 4"),
    ],
)
def test_split_rejects(at, message):
    with pytest.raises(ValueError, match=message):
        split_in_time(ramp(100), 2, 2, at=at)


# Arguments


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"context": 0}, "`context` must be a positive integer"),
        ({"horizon": 1.5}, "`horizon` must be a positive integer"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"stride": 0}, "`stride` must be a positive integer"),
        ({"spacing": -1}, "`spacing` must be a positive integer"),
        ({"context": 30}, "longest of 1 stretches has 30 of 30 frames"),
        ({"times": minutes(1, 2)}, "`times` must hold a time for each of 30 frames"),
        ({"times": np.full(30, "NaT")}, "30 of them not a time"),
        ({"times": np.repeat(minutes(1), 30)}, "`times` must increase"),
        ({"times": minutes(*range(30)), "interval": 5}, "`interval` must be a positive"),
        ({"interval": np.timedelta64(5, "m")}, "`interval` needs `times`"),
        ({"breaks": [30]}, "`breaks` must be indices of frames, from 0 to 29"),
        ({"breaks": [0.5]}, "`breaks` must be indices of frames"),
        ({"crop": (1, 1, 4, 4)}, "`crop` must be .* inside frames of 4 x 5"),
        ({"crop": 3}, "`crop` must be"),
        ({"resize": (0, 4)}, "`resize` must be"),
        ({"resize": 4}, "`resize` must be"),
        ({"scaling": "max"}, "`scaling` must be .*'max'"),
        ({"scaling": (1, 1)}, r"`scaling` must be `\(low, high\)`"),
        ({"scaling": 255}, r"`scaling` must be `\(low, high\)`"),
        ({"shard": (2, 2)}, "`shard` must be"),
        ({"shard": (0, 99)}, "`shard` must be .* count <= 11"),
    ],
)
def test_rejects(arguments, rule):
    with pytest.raises(ValueError, match=rule) as error:
        Windows(ramp(), **arguments)
    assert "Received: " in str(error.value)
