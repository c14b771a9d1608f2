"""MIM (Memory In Memory)."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.predrnn import PredRNNCell
from keras_msrnn.cells.spatial import check_compat
from keras_msrnn.registry import register


@keras.saving.register_keras_serializable("keras_msrnn")
class MIMCell(PredRNNCell):
    """Memory In Memory cell: a PredRNN cell whose forget gate is a recurrent network itself.

    It models the non-stationary part (what changed in its inputs, memory `n`) and the
    stationary part (memory `s`) of the cell memory by turns.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the kernels.
        compat: `None`, or `"reference"` to let `MultiScaleRNN` remember the inputs without the
            skip connection, as the authors' released code does.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c, m, n, s, x_prev]`: `(batch, height, width, filters)`, but for the inputs
            of the step before, `x_prev`, which have the inputs' channels; the memory `m` climbs
            the stack.

    Example:

    >>> cell = MIMCell(8)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(states[-1].shape)
    (2, 16, 16, 3)

    Reference:
        Wang et al., "Memory In Memory: A Predictive Neural Network for Learning Higher-Order
        Non-Stationarity from Spatiotemporal Dynamics", arXiv 1811.07490, equations 2 to 5.
    """

    state_names = ("h", "c", "m", "n", "s", "x_prev")
    gate_count = 3  # the memory-in-memory takes the forget gate's place

    def __init__(self, filters, kernel_size=3, *, compat=None, seed=None, **kwargs):
        super().__init__(filters, kernel_size, seed=seed, **kwargs)
        self.compat = check_compat(compat)

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        both = (channels, filters)
        self.change_gates = self.add_convolution("change_gates", both, 3 * filters)
        self.change_output = self.add_convolution("change_output", both, filters)
        self.trend_gates = self.add_convolution("trend_gates", (filters, filters), 4 * filters)
        self.trend_output = self.add_convolution("trend_output", filters, filters)

    def state_shape(self, name, height, width):
        if name == "x_prev":
            return (height, width, self.input_channels)
        return super().state_shape(name, height, width)

    def step(self, inputs, states):
        h, c, m, n, s, x_prev = states
        change = inputs - x_prev
        i, f, g = backend.split(self.change_gates(change, n), 3)
        n = ops.sigmoid(f) * n + ops.sigmoid(i) * ops.tanh(g)
        difference = ops.sigmoid(self.change_output(change, n)) * ops.tanh(n)

        i, f, g, o = backend.split(self.trend_gates(difference, c), 4)
        s = ops.sigmoid(f) * s + ops.sigmoid(i) * ops.tanh(g)
        kept = ops.sigmoid(o + self.trend_output(s)) * ops.tanh(s)

        i, g, o = backend.split(self.gates(inputs, h), 3)
        c = kept + ops.sigmoid(i) * ops.tanh(g)
        h, m, inner = self.spatiotemporal_output(inputs, c, m, o)
        return h, [h, c, m, n, s, inputs], inner

    def get_config(self):
        return {**super().get_config(), "compat": self.compat}


@register("mim", paper="arXiv 1811.07490", options=("compat",))
def mim_cell(index, count, filters, compat=None, **options):
    """The first cell of the stack is a PredRNN cell."""
    if index == 0:
        return PredRNNCell(filters, **options)
    return MIMCell(filters, compat=compat, **options)
