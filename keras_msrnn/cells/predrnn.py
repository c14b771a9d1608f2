"""PredRNN and PredRNN-V2."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import Convolution, ConvRNNCell
from keras_msrnn.multi_scale_rnn import MultiScaleRNN
from keras_msrnn.registry import register


@register("predrnn", paper="NeurIPS 2017, arXiv 2103.09504")
@keras.saving.register_keras_serializable("keras_msrnn")
class PredRNNCell(ConvRNNCell):
    """Spatiotemporal LSTM (ST-LSTM) cell.

    Args:
        filters: Integer, number of channels `C` of the output and of the states.
        kernel_size: Integer, side of the kernels.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h, c, m]`, each `(batch, height, width, filters)`; the spatiotemporal memory `m`
            climbs the stack.

    Example:

    >>> cell = PredRNNCell(8)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> [tuple(state.shape) for state in states]
    [(2, 16, 16, 8), (2, 16, 16, 8), (2, 16, 16, 8)]

    Reference:
        Wang et al., "PredRNN: Recurrent Neural Networks for Predictive Learning using
        Spatiotemporal LSTMs", NeurIPS 2017, equation 4.
    """

    state_names = ("h", "c", "m")
    climbing_states = ("m",)
    gate_count = 4
    convolves_inputs = True

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        self.gates = self.add_convolution("gates", (channels, filters), self.gate_count * filters)
        self.memory_gates = self.add_convolution("memory_gates", (channels, filters), 3 * filters)
        self.output_gate = self.add_convolution("output_gate", (filters, filters), filters)
        self.fusion = self.add_convolution("fusion", (filters, filters), filters, kernel_size=1)

    def call(self, inputs, states, training=None):
        return self.step(inputs, states)[:2]

    def step(self, inputs, states):
        """`call` that returns the inner tensors, on which other models build, third."""
        h, c, m = states
        i, f, g, o = backend.split(self.gates(inputs, h), 4)
        delta_c = ops.sigmoid(i) * ops.tanh(g)
        c = ops.sigmoid(f) * c + delta_c
        h, m, inner = self.spatiotemporal_output(inputs, c, m, o)
        return h, [h, c, m], {**inner, "delta_c": delta_c}

    def spatiotemporal_output(self, inputs, c, m, o):
        """The part behind the cell memory, which MIM shares: new `m`, output gate and `h`."""
        i, f, g = backend.split(self.memory_gates(inputs, m), 3)
        delta_m = ops.sigmoid(i) * ops.tanh(g)
        m = ops.sigmoid(f) * m + delta_m
        memories = ops.concatenate([c, m], axis=-1)
        o = ops.sigmoid(o + self.output_gate(memories))
        h = o * ops.tanh(self.fusion(memories))
        return h, m, {"output_gate": o, "delta_m": delta_m}


@keras.saving.register_keras_serializable("keras_msrnn")
class DecoupledRNN(MultiScaleRNN):
    """A stack of PredRNN cells with the memory decoupling loss of PredRNN-V2.

    The loss pushes the increments of the two memories apart: the absolute cosine between them,
    after a 1 x 1 convolution which all cells share, summed over cells and channels and averaged
    over batch and time. It is added while training.

    Args:
        cells: List of `PredRNNCell`.
        decoupling_weight: Float, factor of the loss.
        **kwargs: Arguments of `MultiScaleRNN`.

    Reference:
        Wang et al., "PredRNN: A Recurrent Neural Network for Spatiotemporal Predictive
        Learning", arXiv 2103.09504, equation 6.
    """

    has_loss = True

    def __init__(self, cells, *, decoupling_weight=0.01, **kwargs):
        super().__init__(cells, **kwargs)
        for cell in self.cells:
            if not isinstance(cell, PredRNNCell):
                raise ValueError(
                    "`cells` of a DecoupledRNN must be PredRNN cells, whose two memories it "
                    f"compares. Received: {cell}."
                )
        if len({cell.filters for cell in self.cells}) > 1:
            raise ValueError(
                "`cells` of a DecoupledRNN must have the same `filters`: one adapter serves all. "
                f"Received: filters={[cell.filters for cell in self.cells]}."
            )
        self.decoupling_weight = decoupling_weight

    def build(self, sequence_shape, initial_state_shape=None):
        super().build(sequence_shape, initial_state_shape)
        filters = self.cells[0].filters
        self.adapter = Convolution(self, "adapter", filters, filters, kernel_size=1)

    def call_cell(self, cell, inputs, states, training):
        if not training:
            return super().call_cell(cell, inputs, states, training)
        h, states, inner = cell.step(inputs, states)
        cosine = self._cosine(self.adapter(inner["delta_c"]), self.adapter(inner["delta_m"]))
        return h, states, self.decoupling_weight * ops.sum(ops.abs(cosine), axis=-1)

    @staticmethod
    def _cosine(a, b):
        """Cosine over space, `(batch, channels)`, in float32."""
        a, b = (ops.cast(x, "float32") for x in (a, b))
        norms = [ops.sqrt(ops.sum(ops.square(x), axis=(1, 2)) + 1e-24) for x in (a, b)]
        return ops.sum(a * b, axis=(1, 2)) / (norms[0] * norms[1])

    def get_config(self):
        return {**super().get_config(), "decoupling_weight": self.decoupling_weight}


register(
    "predrnn-v2",
    PredRNNCell,
    paper="arXiv 2103.09504",
    rnn=DecoupledRNN,
    sampling="reverse_scheduled",
)
