"""MK-LSTM; its multi-scale form is MS-LSTM."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import ConvRNNCell, positive_integer
from keras_msrnn.registry import register


@register("mk-lstm", paper="arXiv 2304.07724", options=("large_kernel_size",), aliases=("ms-lstm",))
@keras.saving.register_keras_serializable("keras_msrnn")
class MKLSTMCell(ConvRNNCell):
    """Multi-kernel LSTM cell: two cell memories, updated through kernels of two sizes.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the small kernels.
        large_kernel_size: Integer, side of the large kernels.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c, c_large]`, each `(batch, height, width, filters)`.

    Example:

    >>> cell = MKLSTMCell(8)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(h.shape)
    (2, 16, 16, 8)

    Reference:
        Ma et al., "MS-LSTM: Exploring Spatiotemporal Multiscale Representations in Video
        Prediction Domain", arXiv 2304.07724, section 3.3.
    """

    state_names = ("h", "c", "c_large")
    convolves_inputs = True

    def __init__(self, filters, kernel_size=3, *, large_kernel_size=5, seed=None, **kwargs):
        super().__init__(filters, kernel_size, seed=seed, **kwargs)
        self.large_kernel_size = positive_integer("large_kernel_size", large_kernel_size)

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        add, filters, large = self.add_convolution, self.filters, self.large_kernel_size
        both = (self.input_channels, filters)
        self.gates = add("gates", both, 4 * filters)
        self.large_gates = add("large_gates", both, 4 * filters, large)
        self.output_gate = add("output_gate", filters, filters)
        self.large_output_gate = add("large_output_gate", filters, filters, large)
        self.fusion = add("fusion", (filters, filters), filters, 1)

    def call(self, inputs, states, training=None):
        h, c, c_large = states
        c, o = _update(c, self.gates(inputs, h))
        c_large, o_large = _update(c_large, self.large_gates(inputs, h))
        o = ops.sigmoid(o + o_large + self.output_gate(c) + self.large_output_gate(c_large))
        h = o * ops.tanh(self.fusion(c, c_large))
        return h, [h, c, c_large]

    def get_config(self):
        return {**super().get_config(), "large_kernel_size": self.large_kernel_size}


def _update(c, gates):
    i, f, g, o = backend.split(gates, 4)
    return ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g), o
