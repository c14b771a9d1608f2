"""Moving MNIST: digits that drift over a black square and bounce off its walls."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from keras_msrnn.data.checks import check_positive
from keras_msrnn.data.digits import rendered_digits

PUBLISHED_SHAPE = (20, 10000, 64, 64)
PUBLISHED_URL = "http://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"
PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"


def moving_digits(
    digits: np.ndarray,
    count: int,
    frames: int = 20,
    size: int = 64,
    digits_per_frame: int = 2,
    speed: tuple[float, float] = (2.0, 6.0),
    seed: int | tuple[int, ...] | np.random.Generator = 0,
) -> np.ndarray:
    """Makes sequences of moving digits.

    Each digit starts anywhere, heads in a random direction at a constant speed and bounces off
    the walls. It sits at whole pixels; where digits overlap they add up, clipped at 1.

    Args:
        digits: Images to draw from `(n, height, width)`: `uint8`, or floats in 0..1.
        count: Number of sequences.
        frames: Frames per sequence.
        size: Side of a frame in pixels.
        digits_per_frame: Number of digits in each sequence.
        speed: Lowest and highest speed in pixels per frame; drawn uniformly between them.
        seed: Non-negative integer or several of them, or a NumPy generator.

    Returns:
        `float32` array `(count, frames, size, size, 1)` in 0..1.

    Raises:
        ValueError: If an argument is out of range or the digits do not fit into a frame.

    Example:

    >>> digits = rendered_digits(50)
    >>> moving_digits(digits, count=4, frames=12).shape
    (4, 12, 64, 64, 1)
    """
    check_positive(count=count, frames=frames, size=size, digits_per_frame=digits_per_frame)
    digits = _check_digits(digits, size)
    return _move(digits, count, frames, size, digits_per_frame, _check_speed(speed), seed)


class MovingMNIST(keras.utils.PyDataset):
    """Batches `(context, future)` of moving digits, made while the model trains.

    A batch depends on `seed`, the epoch and its index alone, whatever the number of workers.
    Give training and validation different seeds: they then share neither motions nor, with
    the default `digits`, images.

    Args:
        digits: Images to draw from `(n, height, width)`: `uint8`, or floats in 0..1; such as
            `load_idx` reads from the files of MNIST or Fashion-MNIST, or as
            `keras.datasets.mnist.load_data()[0][0]`. By default 2,000 of `rendered_digits`.
        batch_size: Sequences per batch.
        batches: Batches per epoch.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast.
        size: Side of a frame in pixels.
        digits_per_frame: Number of digits in each sequence.
        speed: Lowest and highest speed in pixels per frame; drawn uniformly between them.
        seed: Non-negative integer.
        fixed: If True, every epoch has the same sequences, as validation needs it.
        **kwargs: Options of `keras.utils.PyDataset`, such as `workers`.

    Raises:
        ValueError: If an argument is out of range or the digits do not fit into a frame.

    Example:

    >>> train = MovingMNIST(batch_size=4, batches=100)
    >>> validation = MovingMNIST(batch_size=4, batches=10, seed=1, fixed=True)
    >>> context, future = train[0]
    >>> context.shape, future.shape
    ((4, 10, 64, 64, 1), (4, 10, 64, 64, 1))

    Reference:
        Srivastava, Mansimov and Salakhutdinov, "Unsupervised Learning of Video Representations
        using LSTMs", 2015, https://arxiv.org/abs/1502.04681

    Notes:
        Positions follow from the time by folding, not step by step: the released generators set
        a digit back onto the wall when it has passed it, and so lose part of a step there.
    """

    def __init__(
        self,
        digits: np.ndarray | None = None,
        batch_size: int = 16,
        batches: int = 100,
        context: int = 10,
        horizon: int = 10,
        size: int = 64,
        digits_per_frame: int = 2,
        speed: tuple[float, float] = (2.0, 6.0),
        seed: int = 0,
        fixed: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(
            batch_size=batch_size,
            batches=batches,
            context=context,
            horizon=horizon,
            size=size,
            digits_per_frame=digits_per_frame,
        )
        digits = rendered_digits(2000, seed) if digits is None else digits
        self.digits = _check_digits(digits, size)
        self.batch_size = batch_size
        self.batches = batches
        self.context = context
        self.horizon = horizon
        self.size = size
        self.digits_per_frame = digits_per_frame
        self.speed = _check_speed(speed)
        self.seed = seed
        self.fixed = fixed
        self.epoch = 0

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < self.batches:
            raise IndexError(
                f"`index` must be from 0 to {self.batches - 1}. Received: index={index}. Raise "
                "`batches` to have more of them."
            )
        sequences = _move(
            self.digits,
            self.batch_size,
            self.context + self.horizon,
            self.size,
            self.digits_per_frame,
            self.speed,
            (self.seed, self.epoch, index),
        )
        return sequences[:, : self.context], sequences[:, self.context :]

    def on_epoch_end(self) -> None:
        """Moves on to new sequences, unless `fixed`."""
        if not self.fixed:
            self.epoch += 1


def read_moving_mnist(
    path: str | os.PathLike | None = None,
    context: int = 10,
    horizon: int = 10,
    batch_size: int = 16,
    **kwargs: Any,
) -> keras.utils.PyDataset:
    """Reads the published Moving MNIST test set, `mnist_test_seq.npy`.

    The file stays on disk: each batch reads its own sequences, in the order of the file.

    Args:
        path: The file, `uint8` of shape `(20, 10000, 64, 64)`, time first. By default it is
            downloaded, once, into `~/.keras/datasets` (819 MB), and checked by its MD5 sum.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast; with `context` at most 20.
        batch_size: Sequences per batch.
        **kwargs: Options of `keras.utils.PyDataset`, such as `workers`.

    Returns:
        A `keras.utils.PyDataset` of batches `(context, future)`, `float32` in 0..1 of shape
        `(batch_size, time, 64, 64, 1)`, for `evaluate` and `predict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated or another one, or an argument is out of range.

    Example:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "mnist_test_seq.npy")
    >>> shape = (20, 10000, 64, 64)  # an empty file in place of the published one:
    >>> file = np.lib.format.open_memmap(path, mode="w+", dtype="uint8", shape=shape)
    >>> test = read_moving_mnist(path)
    >>> context, future = test[0]
    >>> len(test), context.shape, future.shape
    (625, (16, 10, 64, 64, 1), (16, 10, 64, 64, 1))
    """
    if path is None:
        path = keras.utils.get_file(origin=PUBLISHED_URL, file_hash=PUBLISHED_MD5)
    return _PublishedSequences(path, context, horizon, batch_size, **kwargs)


class _PublishedSequences(keras.utils.PyDataset):
    """What `read_moving_mnist` returns."""

    def __init__(self, path, context, horizon, batch_size, **kwargs):
        super().__init__(**kwargs)
        check_positive(context=context, horizon=horizon, batch_size=batch_size)
        if context + horizon > PUBLISHED_SHAPE[0]:
            raise ValueError(
                f"`context` and `horizon` must add up to at most {PUBLISHED_SHAPE[0]}, the frames "
                f"of a sequence. Received: context={context}, horizon={horizon}. `MovingMNIST` "
                "makes longer ones."
            )
        _open_published(path)
        self.path, self.batch_size = os.fspath(path), batch_size
        self.context, self.horizon = context, horizon

    def __len__(self) -> int:
        return -(-PUBLISHED_SHAPE[1] // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"`index` must be from 0 to {len(self) - 1}. Received: index={index}.")
        start = index * self.batch_size
        file = _open_published(self.path)  # anew: worker processes are not sent the whole file
        frames = file[: self.context + self.horizon, start : start + self.batch_size]
        sequences = frames.swapaxes(0, 1)[..., None] / np.float32(255)
        return sequences[:, : self.context], sequences[:, self.context :]


def _open_published(path: str | os.PathLike) -> np.ndarray:
    """Maps the published file into memory once it is known to be complete."""
    array, wrong = None, ValueError
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        problem = f"it holds {array.dtype} of shape {array.shape}"
    except FileNotFoundError:
        wrong, problem = FileNotFoundError, "there is no such file"
    except (AttributeError, EOFError, OSError, ValueError) as error:
        problem = f"it cannot be read as an array ({error})"
    if array is None or array.dtype != np.uint8 or array.shape != PUBLISHED_SHAPE:
        raise wrong(
            f"`path` must be the published mnist_test_seq.npy, uint8 of shape {PUBLISHED_SHAPE}, "
            f"time first. Received: path={os.fspath(path)!r}; {problem}. Download {PUBLISHED_URL} "
            "(819 MB), or pass no path to have it downloaded."
        )
    return array


def _move(
    digits: np.ndarray,
    count: int,
    frames: int,
    size: int,
    digits_per_frame: int,
    speed: tuple[float, float],
    seed: int | tuple[int, ...] | np.random.Generator,
) -> np.ndarray:
    """`moving_digits` of arguments that have been checked."""
    rng = np.random.default_rng(seed)
    room = size - np.array(digits.shape[1:])  # how far a digit can go down and right
    sequences = np.zeros((count, frames, size, size), "float32")
    # A view with a digit's window at every position, so that one sum places all of them.
    windows = np.lib.stride_tricks.sliding_window_view(
        sequences, digits.shape[1:], axis=(2, 3), writeable=True
    )
    at = np.ix_(range(count), range(frames))
    for _ in range(digits_per_frame):
        angle = rng.uniform(0, 2 * np.pi, count)
        velocity = rng.uniform(*speed, count)[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
        start = rng.uniform(0, room, (count, 2))
        path = start[:, None] + velocity[:, None] * np.arange(frames)[:, None]
        row, column = np.moveaxis(_bounce(path, room), -1, 0)
        digit = digits[rng.integers(len(digits), size=count)].astype("float32")
        if digits.dtype == np.uint8:
            digit /= 255
        windows[(*at, row, column)] += digit[:, None]
    return np.minimum(sequences, 1, out=sequences)[..., None]


def _bounce(path: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Folds free paths `(..., 2)` into whole pixels 0..`room`: a triangle wave of the path."""
    period = np.maximum(2 * room, 1)  # a digit as large as the frame has no room and stays
    return np.rint(room - np.abs(path % period - room)).astype(int).clip(0, room)


def _check_digits(digits: np.ndarray, size: int) -> np.ndarray:
    """Returns `digits` as an array of `uint8` or of floats in 0..1, images that fit."""
    if isinstance(digits, tuple):
        raise ValueError(
            "`digits` must be one array of images. Received: a tuple. Of `(digits, labels), test "
            "= keras.datasets.mnist.load_data()` pass `digits` alone."
        )
    digits = np.asarray(digits)
    if digits.ndim != 3 or not digits.size:
        raise ValueError(
            "`digits` must be images of shape (n, height, width). Received: digits.shape="
            f"{digits.shape}. Drop a channel axis with `digits[..., 0]`; one image alone is "
            "`digits[None]`."
        )
    if max(digits.shape[1:]) > size:
        raise ValueError(
            f"`digits` must fit into a frame of {size} x {size} pixels. Received: digits.shape="
            f"{digits.shape}. Raise `size` or crop the digits."
        )
    if digits.dtype == np.uint8:  # kept so: the digits of MNIST take 47 MB, as floats 188 MB
        return digits
    if not np.issubdtype(digits.dtype, np.floating):
        raise ValueError(
            "`digits` must be `uint8`, or floats in 0..1. Received: digits.dtype="
            f"{digits.dtype}. Convert them with `digits.astype('uint8')` if they are in 0..255."
        )
    if not (digits.min() >= 0 and digits.max() <= 1):  # false for NaN too
        raise ValueError(
            "`digits` must be `uint8`, or floats in 0..1. Received: floats from "
            f"{digits.min():g} to {digits.max():g}. Divide them by their largest value."
        )
    return digits.astype("float32", copy=False)


def _check_speed(speed: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in speed)
        valid = 0 <= low <= high < np.inf
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            "`speed` must be two numbers, 0 <= lowest <= highest, in pixels per frame. Received: "
            f"speed={speed!r}. Pass the same number twice for one speed, such as `(3, 3)`."
        )
    return low, high
