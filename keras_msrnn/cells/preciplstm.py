"""PrecipLSTM."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import ConvRNNCell, positive_integer
from keras_msrnn.cells.spatial import local_attention
from keras_msrnn.registry import register


@register("preciplstm", paper="IEEE TGRS 2022", options=("window",))
@keras.saving.register_keras_serializable("keras_msrnn")
class PrecipLSTMCell(ConvRNNCell):
    """PrecipLSTM cell: PredRNN with local attention and two more memories, for meteorology.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the kernels.
        window: Integer, side `A` of the window within which pixels attend to each other.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c, m, ms, mt, x_prev]`: `(batch, height, width, filters)`, but for the inputs
            of the step before, `x_prev`, which have the inputs' channels. `ms` remembers the
            meteorological spatial, `mt` the temporal variation; the memory `m` climbs the stack.

    Example:

    >>> cell = PrecipLSTMCell(8, window=6)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(h.shape)
    (2, 16, 16, 8)

    Reference:
        Ma et al., "PrecipLSTM: A Meteorological Spatiotemporal LSTM for Precipitation
        Nowcasting", IEEE Transactions on Geoscience and Remote Sensing, 2022.
    """

    state_names = ("h", "c", "m", "ms", "mt", "x_prev")
    climbing_states = ("m",)

    def __init__(self, filters, kernel_size=3, *, window=30, seed=None, **kwargs):
        super().__init__(filters, kernel_size, seed=seed, **kwargs)
        self.window = positive_integer("window", window)

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        add, both, four = self.add_convolution, (channels, filters), (filters,) * 4
        self.attention = add("attention", channels, (channels,) * 3, 1, use_bias=False)
        self.attended = add("attended", channels, channels)
        self.gates = add("gates", both, 4 * filters)
        self.memory_gates = add("memory_gates", both, 3 * filters)
        self.spatial_gates = add("spatial_gates", both, 3 * filters)
        self.temporal_gates = add("temporal_gates", both, 3 * filters)
        self.output_gate = add("output_gate", four, filters)
        self.fusion = add("fusion", four, filters, 1)

    def state_shape(self, name, height, width):
        if name == "x_prev":
            return (height, width, self.input_channels)
        return super().state_shape(name, height, width)

    def call(self, inputs, states, training=None):
        h, c, m, ms, mt, x_prev = states
        attended = local_attention(*self.attention(inputs), self.window)
        x = inputs + self.attended(attended)
        i, f, g, o = backend.split(self.gates(x, h), 4)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        m = _update(m, self.memory_gates(x, m))
        ms = _update(ms, self.spatial_gates(x, ms))
        mt = _update(mt, self.temporal_gates(inputs - x_prev, mt))
        memories = ops.concatenate([c, ms, mt, m], axis=-1)
        o = ops.sigmoid(o + self.output_gate(memories))
        h = o * ops.tanh(self.fusion(memories))
        return h, [h, c, m, ms, mt, inputs]

    def get_config(self):
        return {**super().get_config(), "window": self.window}


def _update(memory, gates):
    i, f, g = backend.split(gates, 3)
    return ops.sigmoid(f) * memory + ops.sigmoid(i) * ops.tanh(g)
