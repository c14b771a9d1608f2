"""CMS-LSTM."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.convlstm import ConvLSTMCell
from keras_msrnn.cells.spatial import block_attention
from keras_msrnn.registry import register

EXCHANGES = 5
BLOCKS = (1, 2, 4)


@register("cms-lstm", paper="arXiv 2102.03586")
@keras.saving.register_keras_serializable("keras_msrnn")
class CMSLSTMCell(ConvLSTMCell):
    """ConvLSTM cell with context embedding before it and spatiotemporal expression after it.

    First the inputs and the state gate each other by turns; behind the ConvLSTM, attention over
    blocks of three sizes relates its output and memory, and updates both. Memory and time grow
    with the square of the number of pixels.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the kernels.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`; height and width divide by 4.
        states: `[h, c]`, each `(batch, height, width, filters)`.

    Example:

    >>> cell = CMSLSTMCell(8)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(h.shape)
    (2, 16, 16, 8)

    Reference:
        Chai et al., "CMS-LSTM: Context Embedding and Multi-Scale Spatiotemporal Expression LSTM
        for Predictive Learning", arXiv 2102.03586, equations 1 to 4.
    """

    size_multiple = max(BLOCKS)

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        add, both = self.add_convolution, (filters, filters)
        self.state_to_input = add("state_to_input", filters, channels)
        self.input_to_state = add("input_to_state", channels, filters)
        self.attention = [add(f"attention_{s}", filters, (filters,) * 3, 1) for s in BLOCKS]
        self.merge = add("merge", (filters,) * 3, filters)
        self.summary = add("summary", both, filters, 1)
        self.expression_gates = add("expression_gates", both, 3 * filters)

    def call(self, inputs, states, training=None):
        h, c = states
        for exchange in range(EXCHANGES):
            if exchange % 2 == 0:
                inputs = 2 * ops.sigmoid(self.state_to_input(h)) * inputs
            else:
                h = 2 * ops.sigmoid(self.input_to_state(inputs)) * h
        _, (h, c) = super().call(inputs, [h, c])
        return self._express(h, c)

    def _express(self, h, c):
        both = ops.concatenate([h, c], axis=2)
        attended = [
            both + block_attention(*attention(both), blocks)
            for attention, blocks in zip(self.attention, BLOCKS)
        ]
        z_h, z_m = ops.split(self.merge(*attended), 2, axis=2)
        z = self.summary(z_h, z_m)
        i, g, o = backend.split(self.expression_gates(h, z), 3)
        i = ops.sigmoid(i)
        c = (1 - i) * c + i * ops.tanh(g)
        h = ops.sigmoid(o) * c
        return h, [h, c]
