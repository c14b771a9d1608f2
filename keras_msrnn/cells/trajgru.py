"""TrajGRU."""

import keras
from keras import ops

from keras_msrnn import backend
from keras_msrnn.cells.cell import ConvRNNCell, positive_integer
from keras_msrnn.cells.spatial import check_compat, warp
from keras_msrnn.registry import register


@register("trajgru", paper="arXiv 1706.03458", options=("links", "compat"))
@keras.saving.register_keras_serializable("keras_msrnn")
class TrajGRUCell(ConvRNNCell):
    """Trajectory GRU cell: its recurrent connections follow a flow which it computes itself.

    Args:
        filters: Integer, number of channels `C` of the output and of the state.
        kernel_size: Integer, side of the kernels.
        links: Integer, number of flow fields `L`, along each of which the state is warped.
        compat: `None`, or `"reference"` to warp as the authors' released code does.
        seed: Integer seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, height, width, channels)`.
        states: `[h]`, `(batch, height, width, filters)`.

    Example:

    >>> cell = TrajGRUCell(8, links=5)
    >>> cell.build((2, 16, 16, 3))
    >>> h, states = cell(np.ones((2, 16, 16, 3)), cell.get_initial_state(batch_size=2))
    >>> tuple(h.shape)
    (2, 16, 16, 8)

    Reference:
        Shi et al., "Deep Learning for Precipitation Nowcasting: A Benchmark and A New Model",
        arXiv 1706.03458, equation 3.
    """

    state_names = ("h",)
    convolves_inputs = True

    def __init__(self, filters, kernel_size=3, *, links=10, compat=None, seed=None, **kwargs):
        super().__init__(filters, kernel_size, seed=seed, **kwargs)
        self.links = positive_integer("links", links)
        self.compat = check_compat(compat)

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        channels, filters = self.input_channels, self.filters
        self.flow_features = self.add_convolution("flow_features", (channels, filters), filters)
        self.flow = self.add_convolution("flow", filters, 2 * self.links)
        self.input_gates = self.add_convolution("input_gates", channels, 3 * filters)
        self.warped_gates = self.add_convolution(
            "warped_gates", self.links * filters, 3 * filters, kernel_size=1
        )

    def call(self, inputs, states, training=None):
        [h] = states
        flow = self.flow(leaky_relu(self.flow_features(inputs, h)))
        batch, height, width, _ = ops.shape(h)
        flow = ops.reshape(flow, (batch, height, width, self.links, 2))
        warped = warp(h, -flow, compat=self.compat)
        warped = ops.reshape(warped, (batch, height, width, self.links * self.filters))
        z_x, r_x, n_x = backend.split(self.input_gates(inputs), 3)
        z_h, r_h, n_h = backend.split(self.warped_gates(warped), 3)
        z = ops.sigmoid(z_x + z_h)
        n = leaky_relu(n_x + ops.sigmoid(r_x + r_h) * n_h)
        h = (1 - z) * n + z * h
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "links": self.links, "compat": self.compat}


def leaky_relu(x):
    return ops.leaky_relu(x, negative_slope=0.2)
