"""Training on pairs of context and future: Keras's own steps, with the future among the inputs."""

import contextlib

import keras
from keras import ops

from keras_msrnn import backend, checks


class SequenceTrainer:
    """What `Forecaster` adds to `fit`, `evaluate` and the steps of `keras.Model`.

    The model has the attributes `channels`, `check_finite` and `sampling`, and forecasts the frames
    behind the first of `{"context": ..., "future": ...}` while it is trained.
    """

    def get_compile_config(self):
        config = super().get_compile_config()
        if config and config["loss"] is None:  # `compile` keeps the loss that there was
            config["loss"] = keras.saving.serialize_keras_object(self.loss)
        return config

    def fit(self, *args, **kwargs):
        """Trains on `fit(context, future)` or on a data set of `(context, future)` batches.

        Takes the arguments of `keras.Model.fit`. `context` and `future` are arrays `(samples,
        time, height, width, channels)`; data sets may be a `keras.utils.PyDataset`, a
        `tf.data.Dataset`, a torch `DataLoader` or a generator.
        """
        arguments = checks.bind_arguments(super().fit, args, kwargs)
        x = self._check_data(arguments)
        if not hasattr(x, "shape") and not isinstance(x, keras.utils.PyDataset):
            arguments["shuffle"] = False  # other data sets shuffle themselves
        validation = arguments["validation_data"]
        if isinstance(validation, (tuple, list)) and len(validation) > 1:
            checks.check_arrays(*validation[:2], self.channels, self.check_finite)
        if self.sampling is not None:
            batches = checks.count_batches(arguments)
            epochs = arguments["epochs"] - arguments["initial_epoch"]
            self.sampling.extend(None if batches is None else batches * epochs)
        return super().fit(**arguments)

    def evaluate(self, *args, **kwargs):
        """Scores forecasts from the context alone; takes the arguments of `Model.evaluate`."""
        arguments = checks.bind_arguments(super().evaluate, args, kwargs)
        self._check_data(arguments)
        return super().evaluate(**arguments)

    def _check_data(self, arguments):
        """Checks arrays; wraps data sets where their frames are to be checked as they come."""
        x, y = arguments["x"], arguments["y"]
        if hasattr(x, "shape"):
            checks.check_arrays(x, y, self.channels, self.check_finite)
            with self._variable_scope():
                self.build(x.shape)
        elif self.check_finite:
            arguments["x"] = checks.check_finite_batches(x)
        return x

    def make_train_function(self, force=False):
        # TensorFlow would trace the step once to make the optimizer's variables, and once more.
        if self.built and self.optimizer is not None and not self.optimizer.built:
            with self._variable_scope():
                self.optimizer.build(self.trainable_variables)
        if force or self.train_function is None:
            super().make_train_function(force)
            self.train_function = backend.train_function(self.train_function)
        return self.train_function

    def _variable_scope(self):
        """Where TensorFlow's strategies want variables to be made."""
        strategy = getattr(self, "distribute_strategy", None)
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    def train_step(self, *args):
        return super().train_step(*args[:-1], _future_as_input(args[-1]))

    def test_step(self, *args):
        return super().test_step(*args[:-1], _future_as_input(args[-1]))

    def _symbolic_build(self, iterator=None, data_batch=None):
        dataset = getattr(getattr(iterator, "data_adapter", None), "py_dataset", None)
        if dataset is not None:  # breaking off the iterator would mix up the batches of workers
            data_batch = dataset[0]
        if data_batch is None:
            for _, _, batches in iterator:
                data_batch = batches[0] if isinstance(batches, (list, tuple)) else next(batches)
                break
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data_batch)
        if y is not None:
            checks.check_future_shape(y.shape, x.shape)
        super()._symbolic_build(data_batch=_future_as_input(data_batch))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if training and y is not None:
            y = ops.concatenate([ops.cast(x["context"][:, 1:], y.dtype), y], axis=1)
            if sample_weight is not None and len(sample_weight.shape) > 1:
                sample_weight = ops.cast(sample_weight, "float32")
                context = ops.ones_like(sample_weight[:, :1])
                context = ops.repeat(context, x["context"].shape[1] - 1, axis=1)
                sample_weight = ops.concatenate([context, sample_weight], axis=1)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Metrics are those of the forecasts behind the context, in training too."""
        return super().compute_metrics(x, y, y_pred[:, -y.shape[1] :], sample_weight)


def _future_as_input(data):
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if y is None:
        raise ValueError(
            "Training and evaluation need the future: pass `fit(context, future)` or a data set "
            "of `(context, future)` batches. Received: batches without a future."
        )
    return {"context": x, "future": y}, y, sample_weight
