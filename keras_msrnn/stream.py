"""`ForecastStream`: forecasts that are renewed with every frame that comes in."""

from keras import ops

from keras_msrnn import backend, checks


class ForecastStream:
    """Keeps the state of a forecaster while frames come in one by one.

    After each frame the forecasts equal those of `forecast` from all frames so far, but no
    frame is looked at twice.

    Args:
        model: A `Forecaster`.

    Example:

    >>> model = keras_msrnn.build("convlstm", filters=4, channels=1, seed=0)
    >>> frames = np.random.rand(1, 6, 16, 16, 1).astype("float32")
    >>> stream = model.stream()
    >>> for t in range(6):
    ...     future = stream.update(frames[:, t], steps=3)
    >>> bool(np.allclose(future, model.forecast(frames, steps=3), atol=1e-5))
    True
    """

    def __init__(self, model):
        self.model = model
        self.states = None

    def update(self, frame, steps=None):
        """Takes the newest frame and forecasts what follows it.

        Args:
            frame: `(batch, height, width, channels)`; all frames of a stream have one shape.
            steps: Integer, number of frames to forecast; the model's `horizon` by default.

        Returns:
            NumPy array `(batch, steps, height, width, channels)`.

        Raises:
            ValueError: if the frame's shape is wrong or changes.
        """
        steps = self.model.horizon_or(steps)
        checks.check_frame(frame, self.model.channels, self.model.check_finite)
        frame = ops.convert_to_tensor(frame, self.model.variable_dtype)
        shape = tuple(frame.shape)
        if not self.model.built:
            self.model.build((None, None, *shape[1:]))
        if self.states is None:
            self._shape = shape
            self.states = self.model.get_initial_state(shape[0], shape[1:3])
        if shape != self._shape:
            raise ValueError(
                "All frames of a stream must have the same shape. "
                f"Received: shape={shape} after frames of shape {self._shape}. "
                "`reset` starts a new sequence."
            )
        forecast, self.states = self._function(steps, shape)(frame, self.states)
        return ops.convert_to_numpy(forecast)

    def reset(self):
        """Forgets all frames."""
        self.states = None

    def _function(self, steps, shape):
        functions = self.model._compiled.stream
        if (steps, shape) not in functions:

            def advance(frame, states):
                forecast, states = self.model.step(frame, states)
                return self.model.continue_forecast(forecast, states, steps), states

            functions[steps, shape] = backend.compile_inference(self.model, advance)
        return functions[steps, shape]
