"""Schedules that decide when a model in training sees true frames and when its own forecasts.

A schedule keeps its step count in weights of the model, so it is saved with the model and goes on
where it stopped.
"""

import keras
from keras import ops

from keras_msrnn import backend


class Schedule(keras.layers.Layer):
    """Base class: a probability of the true frame for each step, which changes in training.

    Args:
        steps: Integer, the number of training batches over which the schedule runs. By default
            `fit` sets it to the batches of the training so far plus those it is about to do.
    """

    def __init__(self, steps=None, **kwargs):
        super().__init__(**kwargs)
        if steps is not None and steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}.")
        self.steps = steps

    def build(self, input_shape=None):
        def counter(name, value):
            return self.add_weight(
                shape=(), initializer=keras.initializers.Constant(value),
                dtype="int32", trainable=False, name=name,
            )  # fmt: skip

        self.step = counter("step", 0)
        self.total = counter("total", self.steps or 0)

    def extend(self, batches):
        """Called before a training of `batches` batches, to fit the schedule to it.

        Raises:
            ValueError: if `batches` is `None`, not known, and `steps` was not given either.
        """
        if self.steps is not None:
            return
        if batches is None:
            raise ValueError(
                "The sampling schedule must know how many batches the training has. Received: a "
                "data set of unknown length. Pass `steps_per_epoch`, or "
                f"`sampling=keras_msrnn.sampling.{type(self).__name__}(steps=...)`."
            )
        self.total.assign(ops.maximum(self.total, self.step + batches))

    def draw(self, batch, context, horizon, seed):
        """Draws whether each step and sample sees the true frame, and counts one batch.

        Returns:
            Booleans `(context + horizon - 1, batch, 1, 1, 1)`.
        """
        first = ops.arange(context + horizon - 1) == 0
        probability = ops.where(first, 1.0, self.probabilities(context, horizon))
        self.step.assign_add(1)
        # Every replica draws for the batches of all of them: the draws are those of one device.
        replica, replicas = backend.replica()
        shape = (context + horizon - 1, batch * replicas, 1, 1, 1)
        drawn = keras.random.uniform(shape, dtype="float32", seed=seed)
        drawn = drawn[:, replica * batch : (replica + 1) * batch]
        return drawn < probability[:, None, None, None, None]

    def progress(self):
        """The fraction of the schedule that is behind us, from 0 to 1."""
        step, total = ops.cast(self.step, "float32"), ops.cast(self.total, "float32")
        return ops.minimum(step / ops.maximum(total, 1.0), 1.0)

    def probabilities(self, context, horizon):
        """Probability of the true frame as the input of each of `context + horizon - 1` steps.

        The first is not used: the first input is always the true frame.
        """
        raise NotImplementedError

    def get_config(self):
        return {**super().get_config(), "steps": self.steps}


@keras.saving.register_keras_serializable("keras_msrnn")
class ScheduledSampling(Schedule):
    """True frames through the context; after it with a probability that falls from 1 to 0.

    At batch `i` of `steps` it is `1 - i / steps`.

    Args:
        steps: Integer, number of training batches over which the probability falls to 0. By
            default `fit` sets it to the length of the training.

    Reference:
        Bengio et al., "Scheduled Sampling for Sequence Prediction with Recurrent Neural
        Networks", arXiv 1506.03099.
    """

    def probabilities(self, context, horizon):
        return ops.concatenate(
            [ops.ones(context), ops.broadcast_to(1.0 - self.progress(), (horizon - 1,))]
        )


@keras.saving.register_keras_serializable("keras_msrnn")
class ReverseScheduledSampling(Schedule):
    """The schedule of PredRNN-V2, which hides true frames in the context as well.

    In the context the probability of the true frame is 0.5 for the first third of the training,
    then approaches 1 exponentially, and is 1 in the last third. After it, it is 0.5 in the first
    third, falls linearly to 0 over the second, and stays 0.

    The paper counts epochs; here the progress is the fraction of batches done, which agrees with
    it at the end of each epoch.

    Args:
        steps: Integer, number of training batches over which the schedule runs. By default `fit`
            sets it to the length of the training.

    Reference:
        Wang et al., "PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive
        Learning", arXiv 2103.09504, section 3.4.
    """

    def probabilities(self, context, horizon):
        since_third = self.progress() - 1 / 3
        in_context = ops.where(
            since_third < 0,
            0.5,
            ops.where(since_third < 1 / 3, 1 - 0.5 * ops.exp(-15 * since_third), 1.0),
        )
        after = ops.clip(0.5 - 1.5 * since_third, 0.0, 0.5)
        return ops.concatenate(
            [
                ops.broadcast_to(in_context, (context,)),
                ops.broadcast_to(after, (horizon - 1,)),
            ]
        )


SCHEDULES = {"scheduled": ScheduledSampling, "reverse_scheduled": ReverseScheduledSampling}


def get(schedule):
    """Returns a schedule for its name, a schedule itself, or `None`."""
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, dict):
        return keras.saving.deserialize_keras_object(schedule)
    if schedule in SCHEDULES:
        return SCHEDULES[schedule]()
    raise ValueError(
        f"`sampling` must be one of {', '.join(map(repr, SCHEDULES))}, a schedule of "
        f"keras_msrnn.sampling, or None. Received: sampling={schedule!r}."
    )
