"""ConvLSTM."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import ConvRNNCell
from keras_msrnn.registry import register


@register("convlstm", paper="arXiv 1506.04214")
@keras.saving.register_keras_serializable("keras_msrnn")
class ConvLSTMCell(ConvRNNCell):
    """Convolutional LSTM cell, without peepholes.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the kernels.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c]`, each `(batch, height, width, filters)`.

    Example:

    >>> cell = ConvLSTMCell(8)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(h.shape)
    (2, 16, 16, 8)

    Reference:
        Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation
        Nowcasting", arXiv 1506.04214, equation 3.
    """

    convolves_inputs = True

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        self.gates = self.add_convolution(
            "gates", (self.input_channels, self.filters), 4 * self.filters
        )

    def call(self, inputs, states, training=None):
        h, c = states
        i, f, g, o = backend.split(self.gates(inputs, h), 4)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [h, c]
