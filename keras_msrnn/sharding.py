"""Frames too large for one device: their height divided over devices, with Keras on JAX."""

import keras

from keras_msrnn.cells.cell import positive_integer


class SpatialParallel(keras.distribution.ModelParallel):
    """A `keras.distribution.Distribution` that divides the height of frames over devices.

    Every device holds a strip of rows of each frame and of each map inside the model, so that the
    activations of a training step on one device fall as `1 / height_shards`. XLA exchanges the
    rows which convolutions, pooling and upsampling need at the borders of the strips. Weights are
    on every device. The numbers are those of one device, up to rounding.

    A model that is made while the distribution is in force runs so in `fit`, `evaluate` and
    `predict`. With more devices than `height_shards`, the batch is divided over groups of
    `height_shards` devices. Strips of equal height on every scale need the least memory: a height
    that divides by `height_shards` times the largest scale.

    In a training over several processes each process gives the rows and samples of its devices.

    Args:
        height_shards: Integer, number of strips; by default one for each device.
        devices: List of device names; by default `keras.distribution.list_devices()`.

    Raises:
        ValueError: on another backend than JAX; if the devices cannot be divided into groups of
            `height_shards`; in `fit`, for frames whose height does not divide by it.

    Example:

    >>> if keras.backend.backend() == "jax":
    ...     with SpatialParallel().scope():
    ...         model = keras_msrnn.build("ms-predrnn", filters=4, scales=(1, 2, 1))
    ...         forecast = model.predict(np.zeros((1, 2, 8, 8, 1)), verbose=0)

    Reference:
        Xu et al., "GSPMD: General and Scalable Parallelization for ML Computation Graphs",
        arXiv 2105.04663, section 4.
    """

    def __init__(self, height_shards: int | None = None, devices: list[str] | None = None):
        _check_backend("SpatialParallel")
        devices = keras.distribution.list_devices() if devices is None else list(devices)
        shards = len(devices) if height_shards is None else height_shards
        self.height_shards = positive_integer("height_shards", shards)
        if not devices or len(devices) % shards:
            raise ValueError(
                "`height_shards` must divide the number of devices. Received: "
                f"height_shards={shards} for {len(devices)} devices. On a CPU, "
                "XLA_FLAGS=--xla_force_host_platform_device_count=4 makes 4 of them."
            )
        shape = (len(devices) // shards, shards)
        mesh = keras.distribution.DeviceMesh(shape, ("batch", "height"), devices)
        super().__init__(
            layout_map=keras.distribution.LayoutMap(mesh), batch_dim_name="batch",
            auto_shard_dataset=False,
        )  # fmt: skip

    def get_data_layout(self, data_shape) -> keras.distribution.TensorLayout:
        """The layout of frames and masks `(batch, time, height, width, channels)` and of weights.

        Args:
            data_shape: Shape of what this process gives: five axes, or fewer without a height.

        Returns:
            A `keras.distribution.TensorLayout`.
        """
        axes = ["batch", *[None] * (len(data_shape) - 1)]
        if len(data_shape) == 5:
            strips = self.device_mesh.backend_mesh.local_mesh.shape["height"]
            if data_shape[2] % strips:
                raise ValueError(
                    f"The height must divide by `height_shards`. Received: height={data_shape[2]} "
                    f"for {strips} strips. Crop or pad the frames, or use fewer strips."
                )
            axes[2] = "height"
        return keras.distribution.TensorLayout(axes, self.device_mesh)


def step_memory(model: keras.Model, context_shape: tuple[int, ...], horizon: int) -> int:
    """Temporary memory of one training step on one device, as XLA plans it.

    The step of `fit` is compiled for the distribution in force, and neither run nor allocated.

    Args:
        model: A compiled `Forecaster` with known `channels`, made under the distribution.
        context_shape: `(batch, time, height, width, channels)` of all devices together.
        horizon: Integer, number of frames of the future.

    Returns:
        Bytes: activations, gradients and work space; not the weights and frames themselves.

    Raises:
        ValueError: on another backend than JAX.

    Example:

    >>> model = keras_msrnn.build("ms-convlstm", filters=4, scales=(1, 2, 1), channels=1)
    >>> if keras.backend.backend() == "jax":
    ...     assert step_memory(model, (1, 2, 16, 16, 1), horizon=2) > 0
    """
    _check_backend("step_memory")
    import jax

    distribution = keras.distribution.distribution()

    def frames(time):
        shape = (context_shape[0], time, *context_shape[2:])
        layout = distribution and distribution.get_data_layout(shape).backend_layout
        return jax.ShapeDtypeStruct(shape, "float32", sharding=layout)

    data = (frames(context_shape[1]), frames(horizon))
    model._symbolic_build(data_batch=data)
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([v.value for v in group] for group in variables)
    shardings = tuple([value.sharding for value in group] for group in state)
    step = jax.jit(model.train_step, donate_argnums=0, out_shardings=(None, shardings))
    return step.lower(state, data).compile().memory_analysis().temp_size_in_bytes


def _check_backend(name):
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"`{name}` needs the JAX backend. Received: {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=jax before Python starts."
        )
