"""`Forecaster`: a recurrent stack between an embedding and a head, rolled out over time."""

import types

import keras
from keras import ops

from keras_msrnn import backend, checks, export, sampling
from keras_msrnn.cells.cell import Projection, positive_integer
from keras_msrnn.multi_scale_rnn import MultiScaleRNN
from keras_msrnn.patches import depth_to_space, space_to_depth
from keras_msrnn.stream import ForecastStream
from keras_msrnn.training import SequenceTrainer

DEFAULT_HORIZON = 10


@keras.saving.register_keras_serializable("keras_msrnn")
class Forecaster(SequenceTrainer, keras.Model):
    """Forecasts the next frames of an image sequence from the past ones.

    Each step embeds a frame with a 1 x 1 convolution, steps the stack, and maps its output to the
    next frame with another 1 x 1 convolution. The context is read frame by frame; after it the
    model's own forecasts take the place of the frames. While training, the sampling schedule
    mixes in true frames, and the loss covers the forecasts of all frames but the first.

    Frames are floats `(batch, time, height, width, channels)`, scaled to about 0..1. Height and
    width are free, also from one call to the next.

    Args:
        rnn: The stack, a `MultiScaleRNN`.
        horizon: Integer, number of frames that `predict` forecasts. By default as many as the
            `future` of the first `fit` has, and 10 before that.
        channels: Integer, number of channels of a frame; by default taken from the data.
        patch_size: Integer `p`, side of the patches of pixels which become channels before the
            embedding. Frames whose sides do not divide by it are padded, the forecasts cropped.
        sampling: `"scheduled"`, `"reverse_scheduled"`, a schedule of `keras_msrnn.sampling`, or
            `None` for no true frame after the context.
        fill_missing: Float that the model sees in place of NaN, such as 0 for missing radar data;
            the losses and metrics of this package leave NaN out. By default NaN spreads over the
            forecasts of its sample.
        check_finite: Boolean, whether `fit`, `evaluate` and `predict` raise `ValueError` for NaN
            and infinite frames before they reach the model.
        seed: Integer seed of the embedding, the head and the sampling.
        **kwargs: Arguments of `keras.Model`, such as `dtype` and `name`.

    Call arguments:
        inputs: The context `(batch, time, height, width, channels)`, or a dictionary of `context`
            and `future`. The future's frames are looked at in training only.
        training: Boolean.

    Returns:
        The forecasts `(batch, horizon, height, width, channels)`; in training with a future, those
        of all frames but the first.

    Example:

    >>> rnn = keras_msrnn.MultiScaleRNN([keras_msrnn.cells.ConvLSTMCell(4)])
    >>> model = Forecaster(rnn, horizon=3)
    >>> model.predict(np.zeros((2, 5, 16, 16, 1)), verbose=0).shape
    (2, 3, 16, 16, 1)

    Reference:
        Ma et al., arXiv 2206.03010, section 3.
    """

    def __init__(
        self,
        rnn,
        *,
        horizon=None,
        channels=None,
        patch_size=1,
        sampling=None,
        fill_missing=None,
        check_finite=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(rnn, MultiScaleRNN):
            raise TypeError(
                f"`rnn` must be a keras_msrnn.MultiScaleRNN. Received: rnn={rnn!r}. "
                "Wrap cells as `MultiScaleRNN(cells, scales)`."
            )
        self.rnn = rnn
        self.horizon = None if horizon is None else positive_integer("horizon", horizon)
        self.channels = None if channels is None else positive_integer("channels", channels)
        self.patch_size = positive_integer("patch_size", patch_size)
        self.sampling = get_schedule(sampling)
        self.fill_missing = None if fill_missing is None else float(fill_missing)
        self.check_finite = check_finite
        self.seed = seed
        self._seed_generator = keras.random.SeedGenerator(seed)
        # TensorFlow cannot save a model one of whose dictionaries holds functions.
        self._compiled = types.SimpleNamespace(predict={}, stream={})
        self.context_shape = (None, None, None, self.channels)
        if self.sampling is not None and not self.sampling.built:
            self.sampling.build()
        if self.channels is not None:
            self.build((None, None, None, None, self.channels))

    def build(self, input_shape):
        context_shape = input_shape["context"] if isinstance(input_shape, dict) else input_shape
        self.channels = checks.check_context_shape(context_shape, self.channels)
        self.context_shape = tuple(context_shape[1:])
        if self.built:
            return
        patch_channels = self.channels * self.patch_size**2

        def dense(name, inputs, outputs, seed, dtype):
            uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed)
            layer = keras.layers.Dense(outputs, kernel_initializer=uniform, name=name, dtype=dtype)
            layer.build((None, None, None, inputs))
            return layer

        seeds = (None, None) if self.seed is None else (100 * self.seed + 98, 100 * self.seed + 99)
        width = self.rnn.cells[0].filters
        self.embed = dense("embed", patch_channels, width, seeds[0], self.dtype_policy)
        if not self.rnn.built:
            self.rnn.build((None, None, None, None, width))
        # The forecasts keep full precision under a mixed policy.
        width = self.rnn.cells[-1].filters
        self.head = dense("head", width, patch_channels, seeds[1], self.variable_dtype)
        self.built = True

    def get_build_config(self):
        return {"input_shape": (None, None, None, None, self.channels)}

    # The roll-out

    def call(self, inputs, training=None):
        context, future = inputs, None
        if isinstance(inputs, dict):
            context, future = inputs["context"], inputs.get("future")
        checks.check_context_shape(context.shape, self.channels)
        self.context_shape = tuple(context.shape[1:])
        if future is not None:
            checks.check_future_shape(future.shape, context.shape)
            future = ops.cast(future, self.variable_dtype)
        context = ops.cast(context, self.variable_dtype)
        if training and future is not None:
            return self._roll_out_in_training(context, future)
        if future is None:
            return self._roll_out(context, self.horizon_or())
        return self._roll_out(context, future.shape[1])

    def horizon_or(self, steps=None):
        """`steps` if given, else the horizon."""
        if steps is None:
            return self.horizon or DEFAULT_HORIZON
        return positive_integer("steps", steps)

    def step(self, frame, states, training=None):
        """One step in time.

        Args:
            frame: `(batch, height, width, channels)`.
            states: List of states of the stack, as from `get_initial_state`.
            training: Boolean.

        Returns:
            The forecast of the next frame and the list of new states.
        """
        return self._step_with_loss(frame, states, training)[:2]

    def _step_with_loss(self, frame, states, training=None):
        _, height, width, _ = ops.shape(frame)
        if self.fill_missing is not None:
            frame = ops.where(ops.isnan(frame), self.fill_missing, frame)
        features = self._embed(space_to_depth(frame, self.patch_size))
        features, states, loss = self.rnn.step_with_loss(features, states, training)
        forecast = depth_to_space(self.head(features), self.patch_size)
        return forecast[:, :height, :width], states, loss

    def _embed(self, patches):
        """The embedding, as a `Projection` where folding it into the first cell is less work.

        A profile shows it as it is published.
        """
        inputs, outputs = self.embed.kernel.shape
        if keras.backend.is_keras_tensor(patches) or 2 * (inputs + 1) > outputs:
            return self.embed(patches)
        maps = ops.concatenate([patches, ops.ones_like(patches[..., :1])], axis=-1)
        kernel = ops.concatenate([self.embed.kernel, self.embed.bias[None]])
        return Projection(ops.cast(maps, self.compute_dtype), kernel)

    def get_initial_state(self, batch_size, spatial_shape):
        """Returns the list of zero states for frames of `spatial_shape`, `(height, width)`."""
        return self.rnn.get_initial_state(
            batch_size, [-(-size // self.patch_size) for size in spatial_shape]
        )

    @property
    def _loop_weights(self):
        return [*self.embed.weights, *self.rnn.weights, *self.head.weights]

    def _start(self, context):
        """The carry before the first step: zero states, and a frame that is not looked at."""
        batch, _, height, width, _ = ops.shape(context)
        return [*self.get_initial_state(batch, (height, width)), ops.zeros_like(context[:, 0])]

    def _roll_out(self, context, horizon):
        def see(carry, frame):
            forecast, states = self.step(frame, carry[:-1])
            return [*states, forecast], []

        carry, _ = backend.scan(
            see,
            self._start(context),
            ops.moveaxis(context, 1, 0),
            like=[],
            weights=self._loop_weights,
        )
        return self.continue_forecast(carry.pop(), carry, horizon)

    def continue_forecast(self, forecast, states, horizon):
        """Feeds forecasts back: the `horizon` frames that begin with `forecast`."""

        def imagine(carry, _):
            forecast, states = self.step(carry[-1], carry[:-1])
            return [*states, forecast], [forecast]

        first = forecast[:, None]
        if horizon == 1:
            return first
        _, [rest] = backend.scan(
            imagine, [*states, forecast], horizon - 1, like=[forecast], weights=self._loop_weights
        )
        return ops.concatenate([first, ops.moveaxis(rest, 0, 1)], axis=1)

    def _roll_out_in_training(self, context, future):
        if self.horizon is None:
            self.horizon = future.shape[1]
        truth = ops.moveaxis(ops.concatenate([context, future[:, :-1]], axis=1), 1, 0)
        use_truth = self._draw_sampling(ops.shape(context)[0], context.shape[1], future.shape[1])

        def step(carry, inputs):
            use_truth, true_frame = inputs
            frame = ops.where(use_truth, true_frame, carry[-1])
            forecast, states, loss = self._step_with_loss(frame, carry[:-1], training=True)
            return [*states, forecast], [forecast] if loss is None else [forecast, loss]

        carry = self._start(context)
        like = [carry[-1]]
        if self.rnn.has_loss:
            like.append(ops.zeros((ops.shape(context)[0],), "float32"))
        _, (forecasts, *losses) = backend.scan(
            step,
            carry,
            (use_truth, truth),
            like=like,
            weights=self._loop_weights,
            remat=self.rnn.remat,
        )
        for loss in losses:
            self.add_loss(ops.mean(loss))
        return ops.moveaxis(forecasts, 0, 1)

    def _draw_sampling(self, batch, context, horizon):
        """Whether each step and sample sees the true frame, `(time, batch, 1, 1, 1)`."""
        if self.sampling is None:
            return (ops.arange(context + horizon - 1) < context)[:, None, None, None, None]
        return self.sampling.draw(batch, context, horizon, self._seed_generator)

    # Forecasting

    def predict(self, *args, **kwargs):
        """Forecasts `horizon` frames from the context alone.

        Takes the arguments of `keras.Model.predict`; `predict(context)` returns an array `(samples,
        horizon, height, width, channels)`.
        """
        arguments = checks.bind_arguments(super().predict, args, kwargs)
        context = arguments["x"]
        if hasattr(context, "shape"):
            checks.check_arrays(context, None, self.channels, self.check_finite)
            self.context_shape = tuple(context.shape[1:])
        elif self.check_finite:
            arguments["x"] = checks.check_finite_batches(context)
        # One compiled function for each horizon and shape: compilers handle fixed shapes best.
        if self.predict_function is None:  # `compile` has been called
            self._compiled.predict = {}
        key = (self.horizon, tuple(getattr(context, "shape", ()))[1:])
        self.predict_function = self._compiled.predict.get(key)
        forecast = super().predict(**arguments)
        self._compiled.predict[key] = self.predict_function
        return forecast

    def forecast(self, context, steps=None, **kwargs):
        """Forecasts any number of frames.

        Args:
            context: `(samples, time, height, width, channels)`, any number of past frames.
            steps: Integer, number of frames to forecast; `horizon` by default.
            **kwargs: Arguments of `keras.Model.predict`, such as `batch_size` and `verbose`.

        Returns:
            NumPy array `(samples, steps, height, width, channels)`.
        """
        horizon = self.horizon
        try:
            self.horizon = self.horizon_or(steps)
            return self.predict(context, **{"verbose": 0, **kwargs})
        finally:
            self.horizon = horizon

    def stream(self):
        """Returns a `ForecastStream`, which takes frames one by one as they come in."""
        return ForecastStream(self)

    def export(self, *args, **kwargs):
        """Writes the function from a context to its forecasts for a runtime without this package.

        Nothing is overwritten. The context has the length and size of the last one that the model
        saw; the number of forecasts is `horizon`.

        Args:
            filepath: String or path, the folder of a SavedModel, or a file with the suffix of its
                format: `.onnx`, `.xml` (OpenVINO), `.tflite` (LiteRT), `.pt2` (PyTorch).
            format: `"tf_saved_model"` (TensorFlow and JAX), `"onnx"` and `"openvino"` (TensorFlow
                and PyTorch), `"litert"` (TensorFlow) or `"torch"` (PyTorch).
            verbose: `True` for what Keras prints, `False` for nothing, else one line.
            input_signature: The context's shape `(batch, time, height, width, channels)`, or a
                `keras.InputSpec`. Only `batch` may be `None`, which leaves it free; LiteRT makes
                it 1.
            **kwargs: Those of `keras.Model.export`, such as `opset_version`.

        A SavedModel has three endpoints: `serve(context)` returns the forecasts. `start(frame)` and
        `update(frame, states)` take frames one by one; both return a dictionary of the `forecast`
        and the states for the next `update`.

        Example:

        >>> model = keras_msrnn.build("convlstm", filters=4, horizon=3)
        >>> forecast = model.predict(np.zeros((1, 5, 16, 16, 1)), verbose=0)
        >>> model.export("forecaster")  # doctest: +SKIP

        Raises:
            ValueError: if the model has no weights, its context's shape is not known, or the
                backend cannot write the format; the message says what can.
            FileExistsError: if there is something at `filepath`.
            ImportError: if a package is missing.
        """
        return export.export(self, *args, **kwargs)

    def get_config(self):
        schedule = self.sampling
        return {
            **super().get_config(),
            "rnn": keras.saving.serialize_keras_object(self.rnn),
            "horizon": self.horizon,
            "channels": self.channels,
            "patch_size": self.patch_size,
            "sampling": None if schedule is None else keras.saving.serialize_keras_object(schedule),
            "fill_missing": self.fill_missing,
            "check_finite": self.check_finite,
            "seed": self.seed,
            "context_shape": self.context_shape,  # not an argument: a loaded model exports as it is
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config["rnn"] = keras.saving.deserialize_keras_object(config["rnn"], custom_objects)
        context_shape = config.pop("context_shape", None)
        model = cls(**config)
        if context_shape is not None:
            model.context_shape = tuple(context_shape)
        return model


get_schedule = sampling.get
