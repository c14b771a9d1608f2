"""Checks of frames, with errors that say the rule, what was received and the way out."""

import copy
import inspect
import math
import warnings

import keras
import numpy as np

LAYOUT = "(batch, time, height, width, channels)"


def bind_arguments(method, args, kwargs):
    """The arguments of a call of `method` by name, with defaults."""
    bound = inspect.signature(method).bind(*args, **kwargs)
    bound.apply_defaults()
    extra = bound.arguments.pop("kwargs", {})
    return {**bound.arguments, **extra}


def check_context_shape(shape, channels):
    """Checks the shape of a context; returns its number of channels."""
    if len(shape) != 5:
        hint = ""
        if len(shape) == 4:
            hint = " A channel axis may be missing: `frames[..., None]`."
        raise ValueError(
            f"`context` must have the shape {LAYOUT}. Received: shape={tuple(shape)}.{hint}"
        )
    if shape[1] == 0:
        raise ValueError(
            "`context` must hold at least one frame. "
            f"Received: shape={tuple(shape)}, with axis 1 the time."
        )
    received = shape[-1]
    if received is None:
        raise ValueError(f"The number of channels must be known. Received: shape={tuple(shape)}.")
    if channels is not None and received != channels:
        raise ValueError(
            f"`context` must have {channels} channels in its last axis, as the model was built "
            f"for. Received: shape={tuple(shape)}. Frames are channels last, {LAYOUT}."
        )
    return received


def check_future_shape(shape, context_shape):
    """Checks the shape of a future against that of its context."""
    if len(shape) != 5 or shape[1] is None or shape[1] < 1:
        raise ValueError(
            f"`future` must have the shape {LAYOUT} with at least one frame and a known time. "
            f"Received: shape={tuple(shape)}."
        )
    if tuple(shape[2:]) != tuple(context_shape[2:]):
        raise ValueError(
            "`context` and `future` must have the same height, width and channels. "
            f"Received: context shape={tuple(context_shape)}, future shape={tuple(shape)}."
        )


def check_arrays(context, future, channels=None, check_finite=False):
    """Checks arrays that were given to `fit`, `evaluate` or `predict`."""
    check_context_shape(context.shape, channels)
    if future is not None and hasattr(future, "shape"):
        check_future_shape(future.shape, context.shape)
        if len(future) != len(context):
            raise ValueError(
                "`context` and `future` must hold the same number of samples. "
                f"Received: {len(context)} and {len(future)}."
            )
    for name, frames in (("context", context), ("future", future)):
        if frames is not None:
            check_values(name, frames, check_finite)


def check_frame(frame, channels, check_finite):
    """Checks one frame of a stream."""
    if len(getattr(frame, "shape", ())) != 4:
        raise ValueError(
            "`frame` must be an array of the shape (batch, height, width, channels). "
            f"Received: shape={tuple(getattr(frame, 'shape', ()))}. "
            "Use `frame[None]` for a batch of one."
        )
    check_context_shape((frame.shape[0], 1, *frame.shape[1:]), channels)
    check_values("frame", frame, check_finite)


def check_values(name, frames, check_finite):
    """Checks dtype and range, of NaN and infinity if asked for; warns of values as in 0..255."""
    kind = str(getattr(frames, "dtype", type(frames).__name__)).removeprefix("torch.")
    kind = kind.removeprefix("<dtype: '")  # TensorFlow
    if not kind.startswith(("float", "bfloat", "int", "uint")):
        raise TypeError(
            f"`{name}` must hold numbers. Received: dtype={kind}. "
            'Convert it with `.astype("float32")`.'
        )
    if not isinstance(frames, np.ndarray):
        return
    if check_finite:
        check_finite_array(name, frames)
    few = frames[:: max(1, len(frames) // 8)][:8]
    if few.size and np.nanmax(np.abs(np.nan_to_num(few.astype("float32")))) > 20:
        warnings.warn(
            f"`{name}` should be scaled to about 0..1. Received values up to {few.max()}, as in "
            "0-255 images. Divide by 255, or by the largest value.",
            stacklevel=4,
        )


def check_finite_array(name, frames):
    """Raises `ValueError` that names the first sample and frame with NaN or infinity."""
    for sample, sequence in enumerate(frames):
        finite = np.isfinite(sequence)
        if not finite.all():
            where = [int(axis[0]) for axis in np.nonzero(~finite)]
            raise ValueError(
                f"`{name}` must be finite. Received: {sequence[tuple(where)]} in sample {sample} "
                f"at {tuple(where)}, and {int((~finite).sum())} such values in that sample. "
                "Fill or leave out missing data."
            )


def _check_finite_batch(batch):
    for name, frames in zip(("context", "future"), batch):
        if frames is not None:
            check_finite_array(name, np.asarray(frames))
    return batch


def check_finite_batches(data):
    """A data set like `data` that raises `ValueError` for a batch with NaN or infinity."""
    if isinstance(data, keras.utils.PyDataset):
        return _CheckedDataset(data)
    if hasattr(data, "collate_fn"):  # a torch DataLoader
        checked = copy.copy(data)
        checked.collate_fn = lambda samples: _check_finite_batch(data.collate_fn(samples))
        return checked
    if hasattr(data, "element_spec"):  # a tf.data.Dataset
        import tensorflow as tf

        def check(*batch):
            for name, frames in zip(("context", "future"), batch):
                tf.debugging.assert_all_finite(frames, f"`{name}` must be finite.")
            return batch if len(batch) > 1 else batch[0]

        return data.map(check)
    return (_check_finite_batch(batch) for batch in data)


class _CheckedDataset(keras.utils.PyDataset):
    def __init__(self, dataset):
        super().__init__(
            workers=dataset.workers,
            use_multiprocessing=dataset.use_multiprocessing,
            max_queue_size=dataset.max_queue_size,
        )
        self.dataset = dataset

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, index):
        return _check_finite_batch(self.dataset[index])

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


def count_batches(arguments):
    """Number of batches of one epoch of `fit(**arguments)`, `None` if that is not known."""
    if arguments["steps_per_epoch"] is not None:
        return arguments["steps_per_epoch"]
    x = arguments["x"]
    if hasattr(x, "shape"):
        samples = len(x)
        if arguments["validation_split"] and arguments["validation_data"] is None:
            samples = math.floor(samples * (1 - arguments["validation_split"]))
        return math.ceil(samples / (arguments["batch_size"] or 32))
    if isinstance(x, keras.utils.PyDataset):
        return x.num_batches
    try:
        return len(x)
    except TypeError:
        return None
