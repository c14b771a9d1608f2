"""The contract between a cell and the stack: one step of a recurrent network at one scale."""

import random
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_msrnn import backend


class ConvRNNCell(keras.layers.Layer):
    """Base class of the convolutional recurrent cells.

    A cell is a Keras RNN cell whose tensors are maps: `output, new_states = cell(inputs, states)`.
    To write one, name its states, create its convolutions in `build` with `add_convolution`,
    and compute one step in `call`:

    ```python
    @keras.saving.register_keras_serializable("my_package")
    class ConvGRUCell(keras_msrnn.cells.ConvRNNCell):
        state_names = ("h",)

        def build(self, inputs_shape, states_shape=None):
            super().build(inputs_shape)
            inputs = (self.input_channels, self.filters)
            self.gates = self.add_convolution("gates", inputs, 2 * self.filters)
            self.candidate = self.add_convolution("candidate", inputs, self.filters)

        def call(self, inputs, states, training=None):
            [h] = states
            z, r = ops.split(ops.sigmoid(self.gates(inputs, h)), 2, axis=-1)
            h = (1 - z) * h + z * ops.tanh(self.candidate(inputs, r * h))
            return h, [h]
    ```

    Class attributes:
        state_names: Names of the states, in the order in which `call` takes and returns them.
        climbing_states: Those states that climb the stack: within a step, cell `l` hands them to
            cell `l + 1`, and the top cell's go to the bottom cell at the next step. A cell that
            is used alone carries them in time like any other state.
        size_multiple: Height and width must be multiples of this number. `MultiScaleRNN` pads
            frames to fit.
        convolves_inputs: Whether all that `call` does with `inputs` is to hand them to
            `Convolution`s as their first argument. A forecaster folds its embedding into those.
            Not inherited: a subclass whose `call` is as good says so again.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the square kernels.
        seed: Integer seed of the initial weights, or `None` for Keras's global seed.
        **kwargs: Arguments of `keras.layers.Layer`, such as `dtype` and `name`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: List of tensors `(batch, height, width, filters)`, one per state name.
        training: Boolean, whether the step is a training step.
    """

    state_names = ("h", "c")
    climbing_states = ()
    size_multiple = 1
    convolves_inputs = False

    def __init__(self, filters, kernel_size=3, *, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.filters = positive_integer("filters", filters)
        self.kernel_size = positive_integer("kernel_size", kernel_size)
        self.seed = seed
        self.convolutions = {}
        self.input_channels = None
        self._spatial_shape = (None, None)

    def build(self, inputs_shape, states_shape=None):
        if len(inputs_shape) != 4 or inputs_shape[-1] is None:
            raise ValueError(
                f"The inputs of a {type(self).__name__} must have the shape (batch, height, width, "
                f"channels) with a known number of channels. Received: shape={inputs_shape}. "
                "Loop over the time axis with `keras_msrnn.MultiScaleRNN([cell])`."
            )
        self.input_channels = inputs_shape[-1]
        self._spatial_shape = tuple(inputs_shape[1:3])
        self.check_size(*self._spatial_shape)

    def check_size(self, height, width):
        """Raises `ValueError` unless the cell can work on maps of this size."""
        for size in (height, width):
            if isinstance(size, int) and size % self.size_multiple:
                raise ValueError(
                    f"{type(self).__name__} needs a height and width that divide by "
                    f"{self.size_multiple}. Received: height={height}, width={width}. Pad the "
                    "frames, or use `keras_msrnn.MultiScaleRNN([cell])`, which does."
                )

    def add_convolution(
        self, name, inputs, outputs, kernel_size=None, *, strides=1, padding="same", use_bias=True
    ):
        """Creates the weights of a convolution and returns it as a callable `Convolution`.

        Args:
            name: Name of the convolution, unique in the cell.
            inputs: Number of input channels, or a tuple: it then takes several tensors and
                convolves their concatenation.
            outputs: Number of output channels, or a tuple: it then returns several tensors.
            kernel_size: Side of the kernel; the cell's by default.
            strides: Integer.
            padding: `"same"` or `"valid"`.
            use_bias: Whether to add a bias.
        """
        convolution = Convolution(
            self, name, inputs, outputs, kernel_size or self.kernel_size, strides, padding, use_bias
        )
        self.convolutions[name] = convolution
        return convolution

    def state_shape(self, name, height, width):
        """Shape of the state `name` without the batch, for inputs of `height` x `width`."""
        return (height, width, self.filters)

    def get_initial_state(self, batch_size=None, spatial_shape=None):
        """Returns the list of zero states.

        Args:
            batch_size: Integer or scalar tensor.
            spatial_shape: `(height, width)` of the inputs; those the cell was built on by default.
        """
        height, width = spatial_shape or self._spatial_shape
        if batch_size is None or height is None or width is None:
            raise ValueError(
                "`batch_size` and the spatial shape must be known to make an initial state. "
                f"Received: batch_size={batch_size}, spatial_shape={(height, width)}. Build the "
                "cell on inputs of a known size, or pass `spatial_shape=(height, width)`."
            )
        self.check_size(height, width)
        return [
            ops.zeros((batch_size, *self.state_shape(name, height, width)), self.compute_dtype)
            for name in self.state_names
        ]

    @property
    def state_size(self):
        return [self.state_shape(name, *self._spatial_shape) for name in self.state_names]

    @property
    def output_size(self):
        return (*self._spatial_shape, self.filters)

    def compute_output_shape(self, inputs_shape, states_shape=None):
        batch, height, width, _ = inputs_shape
        states = [(batch, *self.state_shape(name, height, width)) for name in self.state_names]
        return (batch, height, width, self.filters), states

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "seed": self.seed,
        }


class Projection(NamedTuple):
    """Maps which a 1 x 1 convolution has still to be applied to, for a `Convolution` to fold in.

    One convolution from few channels does less than one to many channels and another from those.

    Attributes:
        maps: `(batch, height, width, channels)`, the last channel all ones, which carries the bias.
        kernel: `(channels, projected)`, the last row the bias.
    """

    maps: Any
    kernel: Any

    @property
    def shape(self):
        """Shape of the projected maps."""
        return (*self.maps.shape[:-1], self.kernel.shape[1])

    def apply(self):
        """The projected maps."""
        return ops.matmul(self.maps, ops.cast(self.kernel, self.maps.dtype))

    def compose(self, kernel):
        """The kernel for `maps` in place of one whose first inputs are the projected maps."""
        first = self.kernel.shape[1]
        composed = ops.matmul(ops.cast(self.kernel, kernel.dtype), kernel[:, :, :first])
        return ops.concatenate([composed, kernel[:, :, first:]], axis=2)


class Convolution:
    """A convolution over the concatenation of its arguments; its weights belong to a layer."""

    def __init__(
        self, layer, name, inputs, outputs, kernel_size, strides=1, padding="same", use_bias=True
    ):
        self.inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self.outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        self.strides = strides
        self.padding = padding
        seed = getattr(layer, "seed", None)
        if seed is not None:
            seed = 1000 * seed + len(layer.weights)
        self.kernel = layer.add_weight(
            shape=(kernel_size, kernel_size, sum(self.inputs), sum(self.outputs)),
            initializer=BlockwiseUniform(self.inputs, seed),
            name=f"{name}_kernel",
        )
        self.bias = None
        if use_bias:
            self.bias = layer.add_weight(
                shape=(sum(self.outputs),), initializer="zeros", name=f"{name}_bias"
            )

    def __call__(self, *tensors):
        kernel, bias = self.kernel.value, None if self.bias is None else self.bias.value
        if isinstance(tensors[0], Projection):
            kernel = tensors[0].compose(kernel)
            tensors = (tensors[0].maps, *tensors[1:])
        inputs = tensors[0] if len(tensors) == 1 else backend.concatenate(tensors)
        if kernel.dtype != inputs.dtype:
            kernel, bias = (
                None if w is None else ops.cast(w, inputs.dtype) for w in (kernel, bias)
            )
        outputs = backend.convolution(inputs, kernel, bias, self.strides, self.padding)
        return outputs if len(self.outputs) == 1 else backend.split(outputs, self.outputs)


class BlockwiseUniform(keras.initializers.Initializer):
    """Uniform in `+-1 / sqrt(fan_in)`, the fan-in counted for each input tensor by itself.

    This is the initial distribution of the published models, in which every input tensor has
    a convolution of its own.
    """

    def __init__(self, inputs, seed=None):
        self.inputs = inputs
        self.seed = random.randint(1, 10**9) if seed is None else seed  # as Keras's own do

    def __call__(self, shape, dtype=None):
        limits = np.concatenate(
            [np.full(n, 1 / np.sqrt(shape[0] * shape[1] * n), "float32") for n in self.inputs]
        )
        return keras.random.uniform(shape, -1, 1, dtype, self.seed) * ops.convert_to_tensor(
            limits[:, None], dtype
        )

    def get_config(self):
        return {"inputs": self.inputs, "seed": self.seed}


def positive_integer(name, value):
    """Returns `value` as an `int`, or raises an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"`{name}` must be an integer. Received: {name}={value!r}.")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1. Received: {name}={value}.")
    return int(value)
