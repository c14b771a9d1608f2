"""Losses for image sequences."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_msrnn")
class SquaredPlusAbsoluteError(keras.losses.Loss):
    """The loss of the MS-RNN paper: squared plus absolute error.

    Summed over the pixels and channels of a frame, averaged over batch and time, so that its
    size grows with the frame: a 64 x 64 frame weighs four times a 32 x 32 one.

    Call arguments:
        y_true, y_pred: `(batch, time, height, width, channels)`.
        sample_weight: Optional, `(batch,)` or `(batch, time)`.

    Example:

    >>> loss = SquaredPlusAbsoluteError()
    >>> float(loss(np.ones((2, 3, 4, 4, 1)), np.full((2, 3, 4, 4, 1), 0.5)))
    12.0

    Reference:
        Ma et al., arXiv 2206.03010, section 4.1.
    """

    def __init__(self, reduction="sum_over_batch_size", name="squared_plus_absolute", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None and len(sample_weight.shape) == 1:
            sample_weight = sample_weight[:, None]
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        error = y_true - y_pred
        return ops.sum(ops.square(error) + ops.abs(error), axis=(-3, -2, -1))
