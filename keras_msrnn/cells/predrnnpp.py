"""PredRNN++."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import ConvRNNCell
from keras_msrnn.registry import register


@keras.saving.register_keras_serializable("keras_msrnn")
class CausalLSTMCell(ConvRNNCell):
    """Causal LSTM cell, with a gradient highway unit before it where asked for.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the kernels.
        highway: Boolean, whether the inputs go through a gradient highway unit (GHU) first. In
            PredRNN++ this is so in the second cell of the stack.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c, m]` (with `highway=True` `[h, c, m, z]`), each `(batch, height, width,
            filters)`; the memory `m` climbs the stack.

    Example:

    >>> cell = CausalLSTMCell(8, highway=True)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> len(states)
    4

    Reference:
        Wang et al., "PredRNN++: Towards A Resolution of the Deep-in-Time Dilemma in
        Spatiotemporal Predictive Learning", arXiv 1804.06300, equations 1 and 2.
    """

    state_names = ("h", "c", "m")
    climbing_states = ("m",)
    convolves_inputs = True

    def __init__(self, filters, kernel_size=3, *, highway=False, seed=None, **kwargs):
        super().__init__(filters, kernel_size, seed=seed, **kwargs)
        self.highway = highway
        if highway:
            self.state_names = ("h", "c", "m", "z")

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        if self.highway:
            self.highway_gates = self.add_convolution(
                "highway_gates", (channels, filters), 2 * filters
            )
            channels = filters
        inputs = (channels, filters, filters)
        self.gates = self.add_convolution("gates", inputs, 3 * filters)
        self.memory_gates = self.add_convolution("memory_gates", inputs, 3 * filters)
        self.memory = self.add_convolution("memory", filters, filters, kernel_size=1)
        self.output_gate = self.add_convolution("output_gate", inputs, filters)
        self.fusion = self.add_convolution("fusion", (filters, filters), filters, kernel_size=1)

    def call(self, inputs, states, training=None):
        h, c, m, *z = states
        if self.highway:
            p, q = backend.split(self.highway_gates(inputs, z[0]), 2)
            q = ops.sigmoid(q)
            inputs = q * ops.tanh(p) + (1 - q) * z[0]
            z = [inputs]
        i, f, g = backend.split(self.gates(inputs, h, c), 3)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        i, f, g = backend.split(self.memory_gates(inputs, c, m), 3)
        m = ops.sigmoid(f) * ops.tanh(self.memory(m)) + ops.sigmoid(i) * ops.tanh(g)
        o = ops.tanh(self.output_gate(inputs, c, m))
        h = o * ops.tanh(self.fusion(c, m))
        return h, [h, c, m, *z]

    def get_config(self):
        return {**super().get_config(), "highway": self.highway}


@register("predrnn++", paper="arXiv 1804.06300")
def predrnnpp_cell(index, count, filters, **options):
    """The gradient highway unit belongs to the second cell only."""
    return CausalLSTMCell(filters, highway=index == 1, **options)
