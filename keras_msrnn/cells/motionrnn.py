"""MotionRNN."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import Convolution, ConvRNNCell
from keras_msrnn.cells.mim import mim_cell
from keras_msrnn.cells.spatial import check_compat, warp
from keras_msrnn.registry import register

MOTIONS = 9
MOMENTUM = 0.5


@keras.saving.register_keras_serializable("keras_msrnn")
class MotionCell(ConvRNNCell):
    """A PredRNN or MIM cell followed by a motion unit (MotionGRU) and the motion highway.

    The motion unit estimates, at half the resolution, a transient flow and its trend, warps the
    encoded output of the inner cell along it, and blends the result with that output.

    Args:
        cell: The inner cell, a `PredRNNCell` or `MIMCell` whose `filters` divide by 4.
        compat: `None`, or `"reference"` to warp and to order the warped copies as the authors'
            released code does.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, filters)`; height and width are even.
        states: The inner cell's states, then `flow` and `trend`, `(batch, height / 2,
            width / 2, 18)`, in pixels of the half-resolution map.

    Example:

    >>> cell = MotionCell(keras_msrnn.cells.PredRNNCell(8))
    >>> cell.build((2, 16, 16, 8))
    >>> h, states = cell(np.ones((2, 16, 16, 8)), cell.get_initial_state(batch_size=2))
    >>> tuple(states[-1].shape)
    (2, 8, 8, 18)

    Reference:
        Wu et al., "MotionRNN: A Flexible Model for Video Prediction with Spacetime-Varying
        Motions", arXiv 2103.02243, equations 2 to 5.
    """

    size_multiple = 2

    def __init__(self, cell, *, compat=None, **kwargs):
        super().__init__(cell.filters, cell.kernel_size, seed=cell.seed, **kwargs)
        if self.filters % 4:
            raise ValueError(
                "`filters` must divide by 4: the motion unit works on a quarter of the channels. "
                f"Received: filters={self.filters}. "
                f"Use {max(4, round(self.filters / 4) * 4)} filters."
            )
        self.cell = cell
        self.compat = check_compat(compat)
        self.state_names = (*cell.state_names, "flow", "trend")
        self.climbing_states = cell.climbing_states

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        if self.input_channels != self.filters:
            raise ValueError(
                "The motion highway adds the inputs to the output, so both need the same number "
                f"of channels. Received: inputs of {self.input_channels} channels, "
                f"filters={self.filters}."
            )
        if not self.cell.built:
            self.cell.build(inputs_shape)
        quarter, flows = self.filters // 4, 2 * MOTIONS
        add = self.add_convolution
        self.encoder = add("encoder", self.filters, quarter, 2, strides=2, padding="valid")
        self.flow_gates = add("flow_gates", (quarter, flows), (flows, flows), 1)
        self.flow_candidate = add("flow_candidate", (quarter, flows), flows, 1)
        self.mask = add("mask", quarter, MOTIONS, 1)
        self.decoder = add("decoder", MOTIONS * quarter, quarter, 1)
        self.upsampler = TransposedConvolution(self, "upsampler", quarter, self.filters)
        self.highway_gate = add("highway_gate", (self.filters, self.filters), self.filters, 1)

    def state_shape(self, name, height, width):
        if name in ("flow", "trend"):
            half = [None if size is None else size // 2 for size in (height, width)]
            return (*half, 2 * MOTIONS)
        return self.cell.state_shape(name, height, width)

    def call(self, inputs, states, training=None):
        *states, flow, trend = states
        h, states, inner = self.cell.step(inputs, states)
        moved, flow, trend = self._motion(h, flow, trend)
        gate = ops.sigmoid(self.highway_gate(moved, h))
        h = gate * h + (1 - gate) * moved + (1 - inner["output_gate"]) * inputs
        states[self.state_names.index("h")] = h
        return h, [*states, flow, trend]

    def _motion(self, h, flow, trend):
        """The motion unit: `h` moved along the flow, and the new flow and trend."""
        encoded = self.encoder(h)
        u, r = self.flow_gates(encoded, flow)
        u = ops.sigmoid(u)
        candidate = ops.tanh(self.flow_candidate(encoded, ops.sigmoid(r) * flow))
        trend = trend + MOMENTUM * (flow - trend)
        flow = u * candidate + (1 - u) * flow + trend

        batch, height, width, quarter = ops.shape(encoded)
        warped = warp(
            encoded, ops.reshape(flow, (batch, height, width, MOTIONS, 2)), compat=self.compat
        )
        warped = ops.sigmoid(self.mask(encoded))[..., None] * warped
        if self.compat == "reference":
            warped = _reference_order(warped)
        warped = ops.reshape(warped, (batch, height, width, MOTIONS * quarter))
        return self.upsampler(self.decoder(warped)), flow, trend

    def get_config(self):
        config = super().get_config()
        for key in ("filters", "kernel_size", "seed"):
            del config[key]
        return {
            **config,
            "cell": keras.saving.serialize_keras_object(self.cell),
            "compat": self.compat,
        }

    @classmethod
    def from_config(cls, config):
        config["cell"] = keras.saving.deserialize_keras_object(config["cell"])
        return cls(**config)


class TransposedConvolution(Convolution):
    """Transposed convolution with kernel 4 and stride 2, which doubles height and width."""

    def __init__(self, layer, name, inputs, outputs):
        super().__init__(layer, name, inputs, outputs, 4)
        layer.convolutions[name] = self

    def __call__(self, inputs):
        kernel = ops.convert_to_tensor(self.kernel, inputs.dtype)
        kernel = ops.transpose(kernel, (0, 1, 3, 2))
        outputs = backend.transposed_convolution(inputs, kernel, strides=2)
        return outputs + ops.convert_to_tensor(self.bias, outputs.dtype)


def _reference_order(warped):
    """`(batch, channels, height, width, motions)` read as `(batch, channels x motions, ...)`.

    The released code reshapes where it should transpose, which shuffles pixels.
    """
    batch, height, width, motions, channels = ops.shape(warped)
    shuffled = ops.transpose(warped, (0, 4, 1, 2, 3))
    shuffled = ops.reshape(shuffled, (batch, channels, motions, height, width))
    return ops.transpose(shuffled, (0, 3, 4, 2, 1))


@register("motionrnn", paper="arXiv 2103.02243", options=("compat",))
def motionrnn_cell(index, count, filters, compat=None, **options):
    """MIM's cells, each but the last with a motion unit."""
    cell = mim_cell(index, count, filters, compat=compat, **options)
    if index == count - 1:
        return cell
    return MotionCell(cell, compat=compat, dtype=options.get("dtype"))
