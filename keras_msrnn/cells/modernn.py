"""MoDeRNN."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.convlstm import ConvLSTMCell
from keras_msrnn.registry import register

EXCHANGES = 5
CONTEXT_KERNELS = (3, 5, 7)


@register("modernn", paper="ICASSP 2022, arXiv 2110.12978")
@keras.saving.register_keras_serializable("keras_msrnn")
class MoDeRNNCell(ConvLSTMCell):
    """ConvLSTM cell whose inputs and state first gate each other through convolutions of 3 sizes.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the ConvLSTM kernels; the exchange uses 3, 5 and 7.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c]`, each `(batch, height, width, filters)`.

    Example:

    >>> cell = MoDeRNNCell(8)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(h.shape)
    (2, 16, 16, 8)

    Reference:
        Chai et al., "MoDeRNN: Towards Fine-grained Motion Details for Spatiotemporal Predictive
        Learning", ICASSP 2022, equations 1 to 3.
    """

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        self.state_to_input = [
            self.add_convolution(f"state_to_input_{k}", filters, channels, k)
            for k in CONTEXT_KERNELS
        ]
        self.input_to_state = [
            self.add_convolution(f"input_to_state_{k}", channels, filters, k)
            for k in CONTEXT_KERNELS
        ]

    def call(self, inputs, states, training=None):
        h, c = states
        to_input, to_state = (_mean(c, h.dtype) for c in (self.state_to_input, self.input_to_state))
        for exchange in range(EXCHANGES):
            if exchange % 2 == 0:
                inputs = 2 * ops.sigmoid(backend.convolution(h, *to_input)) * inputs
            else:
                h = 2 * ops.sigmoid(backend.convolution(inputs, *to_state)) * h
        return super().call(inputs, [h, c])


def _mean(convolutions, dtype):
    """The mean of convolutions with kernels of several sizes as one: its kernel and bias."""
    size = max(CONTEXT_KERNELS)
    kernel = bias = 0
    for convolution in convolutions:
        border = (size - convolution.kernel.shape[0]) // 2
        small = ops.convert_to_tensor(convolution.kernel)[None]
        kernel += backend.pad(small, (border, border), (border, border))[0]
        bias += ops.convert_to_tensor(convolution.bias)
    return [ops.cast(w / len(convolutions), dtype) for w in (kernel, bias)]
