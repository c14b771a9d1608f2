import gzip
import pickle
import struct
import tracemalloc

import keras
import numpy as np
import pytest

from keras_msrnn.data import MovingMNIST, load_idx, moving_digits, moving_mnist, rendered_digits
from keras_msrnn.data.digits import _glyphs
from keras_msrnn.data.moving_mnist import read_moving_mnist


@pytest.fixture(scope="module")
def digits():
    return rendered_digits(200)


def idx_bytes(values: np.ndarray) -> bytes:
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


def dot(size: int = 1) -> np.ndarray:
    return np.full((1, size, size), 255, "uint8")


# Rendered digits


def test_every_glyph_is_a_line_drawing_and_all_differ():
    members, distance, points = _glyphs()
    assert len(members) == 10 and all(len(glyphs) > 15 for glyphs in members)
    ink = (distance == 0).sum((1, 2))
    assert ink.min() > 30 and ink.max() < 250  # a blank has none, a tofu box of a font is alike:
    first = [distance[glyphs[0]] for glyphs in members]
    assert min(np.abs(a - b).mean() for i, a in enumerate(first) for b in first[:i]) > 0.3
    assert np.abs(points).max() <= 25


def test_rendered_digits_look_like_mnist(digits):
    assert digits.shape == (200, 28, 28) and digits.dtype == np.uint8
    ink = digits.astype(float)
    assert 25 < ink.mean() < 45  # MNIST: 33
    assert (digits.max((1, 2)) > 200).all()
    edge = np.concatenate([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], 1)
    assert (edge.max(1) > 127).mean() < 0.05
    mass = ink.sum((1, 2))
    for axis in (1, 2):
        center = (ink.sum(3 - axis) * np.arange(28)).sum(1) / mass
        assert np.abs(center - 13.5).max() < 3


def test_rendered_digits_follow_the_seed_and_never_repeat(digits):
    assert (rendered_digits(200) == digits).all()
    assert (rendered_digits(200, seed=1) != digits).any((1, 2)).all()
    assert len(np.unique(digits, axis=0)) == 200


@pytest.mark.parametrize("count", [0, -1, 1.5])
def test_rendered_digits_reject(count):
    with pytest.raises(ValueError, match="`count` must be"):
        rendered_digits(count)


# Files of MNIST


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(3, 4, 5), (7,)])
def test_load_idx(tmp_path, compress, shape):
    values = np.random.default_rng(0).integers(256, size=shape).astype("uint8")
    path = tmp_path / "digits-idx"
    path.write_bytes(compress(idx_bytes(values)))
    loaded = load_idx(path)
    assert loaded.dtype == np.uint8 and loaded.flags.writeable
    np.testing.assert_array_equal(loaded, values)


GOOD = idx_bytes(np.zeros((3, 4, 5), "uint8"))


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "it is empty"),
        (gzip.compress(b""), "it is empty"),
        (b"<html>not found", "not idx"),
        (GOOD[:2], "not idx"),
        (GOOD[:9], "inside its header"),
        (GOOD[:-1], "60 bytes, and 59 follow"),
        (GOOD + b"x", "60 bytes, and 61 follow"),
        (gzip.compress(GOOD)[:-9], "gzip stream is broken"),
        (gzip.compress(GOOD)[:20] + b"???", "gzip stream is broken"),
        (b"\x1f\x8b nonsense", "gzip stream is broken"),
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "type 0x0d, not 0x08"),
    ],
    ids=range(11),
)
def test_load_idx_names_the_file_and_the_problem(tmp_path, content, problem):
    path = tmp_path / "images-idx3"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="images-idx3") as error:
        load_idx(path)
    assert problem in str(error.value) and "rendered_digits" in str(error.value)


def test_load_idx_of_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_idx(tmp_path / "none")


# Moving digits


def positions(sequences: np.ndarray) -> np.ndarray:
    """Row and column of the only dot of each frame, `(n, frames, 2)`."""
    flat = sequences[..., 0].reshape(*sequences.shape[:2], -1)
    assert (flat.sum(-1) == 1).all()
    return np.stack(np.unravel_index(flat.argmax(-1), sequences.shape[2:4]), -1)


def test_digits_move_straight_at_the_asked_speed_and_bounce():
    frames, speed = 60, 3.0
    sequences = moving_digits(dot(), 50, frames, size=32, digits_per_frame=1, speed=(speed, speed))
    path = positions(sequences).astype(float)
    assert path.min() == 0 and path.max() == 31  # walls are reached, and never crossed
    steps = np.abs(np.diff(path, axis=1))
    # Each axis moves by the same amount in every step but those of a bounce; whole pixels round.
    usual = np.median(steps, axis=1, keepdims=True)
    assert (np.abs(steps - usual) <= 1).mean() > 0.8
    # Over a stretch without bounces the digit covers the distance it should.
    free = [
        np.hypot(*(p[t + 5] - p[t])) / 5
        for p in path
        for t in range(frames - 5)
        if (np.abs(np.diff(np.sign(np.diff(p[t : t + 6], axis=0)), axis=0)) < 2).all()
        and p[t : t + 6].min() > 2
        and p[t : t + 6].max() < 29
    ]
    assert len(free) > 100 and np.abs(np.array(free) - speed).max() < 0.4


def test_motion_by_folding_equals_motion_step_by_step():
    rng = np.random.default_rng(5)
    angle, speed = rng.uniform(0, 2 * np.pi, 1), rng.uniform(2, 6, 1)
    velocity = (speed * np.array([np.sin(angle), np.cos(angle)]).T)[0]
    place = rng.uniform(0, np.array([31, 31]), (1, 2))[0]
    stepped = []
    for _ in range(40):
        stepped.append(np.rint(place))
        place = place + velocity
        for axis in range(2):
            if not 0 <= place[axis] <= 31:  # reflected at the wall that it has passed
                place[axis] = -place[axis] if place[axis] < 0 else 62 - place[axis]
                velocity[axis] *= -1
    sequences = moving_digits(dot(), 1, 40, size=32, digits_per_frame=1, seed=5)
    np.testing.assert_array_equal(positions(sequences)[0], stepped)


def test_overlaps_add_and_clip():
    half = np.full((1, 4, 4), 0.3)
    sequences = moving_digits(half, 2, 3, size=4, digits_per_frame=3)  # no room: all overlap
    np.testing.assert_allclose(sequences, 0.9, rtol=1e-6)
    sequences = moving_digits(half, 2, 3, size=4, digits_per_frame=4)
    assert (sequences == 1).all()


def test_digits_may_be_oblong_and_float(digits):
    cut = digits[:, 4:24]
    sequences = moving_digits(cut, 3, 5, size=28)
    assert sequences.shape == (3, 5, 28, 28, 1) and sequences.dtype == np.float32
    np.testing.assert_allclose(moving_digits(cut / 255.0, 3, 5, size=28), sequences, rtol=1e-6)


def test_moving_mnist_batches(digits):
    data = MovingMNIST(digits, batch_size=3, batches=2, context=4, horizon=6, size=40)
    assert len(data) == 2 and len(list(data)) == 2
    context, future = data[1]
    assert context.shape == (3, 4, 40, 40, 1) and future.shape == (3, 6, 40, 40, 1)
    assert context.dtype == future.dtype == np.float32
    assert context.min() == 0 and 0.9 < context.max() <= 1
    with pytest.raises(IndexError, match="`index` must be from 0 to 1"):
        data[2]


def test_moving_mnist_depends_on_seed_epoch_and_index(digits):
    def make(**kwargs):
        return MovingMNIST(digits, batch_size=2, batches=2, context=2, horizon=2, **kwargs)

    data, twin, other = make(), make(), make(seed=1)
    first = data[0][0]
    np.testing.assert_array_equal(first, twin[0][0])
    assert (first != other[0][0]).any() and (first != data[1][0]).any()
    data.on_epoch_end()
    assert (first != data[0][0]).any()
    twin.on_epoch_end()
    np.testing.assert_array_equal(data[0][1], twin[0][1])

    fixed = make(fixed=True)
    np.testing.assert_array_equal(first, fixed[0][0])
    fixed.on_epoch_end()
    np.testing.assert_array_equal(first, fixed[0][0])


@pytest.mark.parametrize("workers", [1, 2])
def test_moving_mnist_feeds_fit(digits, workers):
    data = MovingMNIST(
        digits, batch_size=2, batches=2, context=2, horizon=2, size=28, workers=workers
    )
    model = keras.Sequential([keras.layers.Conv3D(1, 1)])
    model.compile(loss="mse")
    history = model.fit(data, validation_data=data, epochs=2, verbose=0)
    assert np.isfinite(history.history["val_loss"]).all()
    assert data.epoch >= 2


def test_moving_mnist_draws_its_own_digits():
    assert MovingMNIST(batch_size=1).digits.shape == (2000, 28, 28)


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"horizon": 2.5}, "`horizon` must be a positive integer"),
        ({"size": 27}, "`digits` must fit into a frame of 27 x 27"),
        ({"speed": (3, 1)}, "`speed` must be two numbers"),
        ({"speed": 3}, "`speed` must be two numbers"),
        ({"speed": (0, float("nan"))}, "`speed` must be two numbers"),
        ({"digits": np.zeros((28, 28))}, r"`digits` must be images of shape"),
        ({"digits": np.zeros((0, 28, 28))}, r"`digits` must be images of shape"),
        ({"digits": np.zeros((1, 28, 28), int)}, "`digits` must be `uint8`"),
        ({"digits": np.full((1, 28, 28), 255.0)}, "floats from 255 to 255"),
        ({"digits": np.full((1, 28, 28), np.nan)}, "floats from nan"),
    ],
)
def test_moving_mnist_rejects(digits, arguments, rule):
    with pytest.raises(ValueError, match=rule) as error:
        MovingMNIST(**{"digits": digits, **arguments})
    assert "Received: " in str(error.value)


# Digits from elsewhere


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_moving_fashion_mnist_from_its_file(tmp_path, compress):
    clothes = np.random.default_rng(0).integers(1, 256, (5, 28, 28)).astype("uint8")
    path = tmp_path / "train-images-idx3-ubyte.gz"  # Fashion-MNIST names its files as MNIST does
    path.write_bytes(compress(idx_bytes(clothes)))
    data = MovingMNIST(load_idx(path), batch_size=2, batches=1, digits_per_frame=1)
    context, future = data[0]
    frame = future[0, 3, ..., 0]
    rows, columns = np.flatnonzero(frame.any(1)), np.flatnonzero(frame.any(0))
    picture = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert any((np.rint(picture * 255) == image).all() for image in clothes)
    assert context.shape == future.shape == (2, 10, 64, 64, 1)


def test_moving_mnist_takes_what_keras_loads(digits):
    loaded = (digits[:8], np.arange(8, dtype="uint8")), (digits[8:], np.arange(192, dtype="uint8"))
    (images, labels), _ = loaded  # the structure of `keras.datasets.mnist.load_data()`
    data = MovingMNIST(images, batch_size=1)
    assert data.digits is images  # not copied: MNIST as floats takes four times the memory
    with pytest.raises(ValueError, match="pass `digits` alone"):
        MovingMNIST(loaded)
    with pytest.raises(ValueError, match="images of shape"):
        MovingMNIST(labels)


# The published test set


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of the published shape; sparse, since most of it is zero."""
    path = tmp_path_factory.mktemp("published") / "mnist_test_seq.npy"
    file = np.lib.format.open_memmap(path, "w+", "uint8", (20, 10000, 64, 64))
    file[:, [0, 1, 31, 9999]] = np.random.default_rng(0).integers(256, size=(20, 4, 64, 64))
    file.flush()
    return path


@pytest.mark.parametrize("context, horizon", [(10, 10), (5, 12)])
def test_published_sequences_in_their_order(published, context, horizon):
    data = read_moving_mnist(published, context, horizon, batch_size=32)
    file = np.load(published, mmap_mode="r")
    assert len(data) == 313
    for batch, places in {0: [0, 1, 31], 312: [15]}.items():
        past, future = data[batch]
        assert past.dtype == future.dtype == np.float32
        assert past.shape == (16 if batch else 32, context, 64, 64, 1)
        assert future.shape == (16 if batch else 32, horizon, 64, 64, 1)
        for place in places:
            sequence = file[: context + horizon, batch * 32 + place] / np.float32(255)
            np.testing.assert_array_equal(past[place, ..., 0], sequence[:context])
            np.testing.assert_array_equal(future[place, ..., 0], sequence[context:])
    with pytest.raises(IndexError, match="from 0 to 312"):
        data[313]


def test_published_sequences_are_not_loaded_at_once(published):
    tracemalloc.start()
    data = read_moving_mnist(published, batch_size=4)
    data[100]
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert len(pickle.dumps(data)) < 2**12  # worker processes get the path, not the frames


def test_published_sequences_feed_evaluate(tmp_path, monkeypatch):
    monkeypatch.setattr(moving_mnist, "PUBLISHED_SHAPE", (20, 6, 64, 64))
    file = np.random.default_rng(0).integers(256, size=(20, 6, 64, 64)).astype("uint8")
    np.save(tmp_path / "few.npy", file)
    data = read_moving_mnist(tmp_path / "few.npy", batch_size=2, workers=2)
    model = keras.Sequential([keras.layers.Rescaling(0.0)])
    model.compile(loss="mse")
    error = model.evaluate(data, verbose=0)
    assert error == pytest.approx(((file[10:] / 255) ** 2).mean(), rel=1e-4)
    assert model.predict(data, verbose=0).shape == (6, 10, 64, 64, 1)


@pytest.mark.parametrize(
    "shape, dtype, problem",
    [
        ((10000, 20, 64, 64), "uint8", "uint8 of shape (10000, 20, 64, 64)"),
        ((20, 10000, 64, 64), "bool", "it holds bool"),
        ((20, 9999, 64, 64), "uint8", "(20, 9999, 64, 64)"),
    ],
)
def test_published_sequences_of_another_structure(tmp_path, shape, dtype, problem):
    np.lib.format.open_memmap(tmp_path / "seq.npy", "w+", dtype, shape)
    with pytest.raises(ValueError, match="`path` must be the published") as error:
        read_moving_mnist(tmp_path / "seq.npy")
    assert "seq.npy" in str(error.value) and problem in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x93NUMPY\x01\0", None])
def test_published_sequences_of_a_broken_file(published, tmp_path, content):
    path = tmp_path / "broken.npy"
    with published.open("rb") as file:
        path.write_bytes(file.read(4096) if content is None else content)
    with pytest.raises(ValueError, match="cannot be read") as error:
        read_moving_mnist(path)
    assert "broken.npy" in str(error.value) and "Download" in str(error.value)


def test_published_sequences_reject(published, tmp_path):
    with pytest.raises(FileNotFoundError, match="mnist_test_seq.npy") as error:
        read_moving_mnist(tmp_path / "mnist_test_seq.npy")
    assert "cs.toronto.edu" in str(error.value)
    with pytest.raises(ValueError, match="add up to at most 20"):
        read_moving_mnist(published, 10, 20)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        read_moving_mnist(published, batch_size=0)


def test_published_sequences_are_downloaded_with_their_checksum(published, monkeypatch):
    asked = {}
    monkeypatch.setattr(keras.utils, "get_file", lambda **kwargs: asked.update(kwargs) or published)
    assert len(read_moving_mnist()) == 625
    assert asked["origin"].endswith("/mnist_test_seq.npy") and len(asked["file_hash"]) == 32
