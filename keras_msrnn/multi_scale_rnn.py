"""`MultiScaleRNN`: a stack of recurrent cells, each at its own scale."""

import functools
import math
import operator

import keras
from keras import ops

from keras_msrnn import backend, pyramid
from keras_msrnn.cells.cell import ConvRNNCell, Projection


@keras.saving.register_keras_serializable("keras_msrnn")
class MultiScaleRNN(keras.layers.Layer):
    """Stacks recurrent cells in a pyramid of scales and runs them over a sequence of maps.

    Cell `l` works on maps whose sides are `scales[l]` times shorter than the input's. Where the
    scale grows from one cell to the next the signal is pooled, where it shrinks it is upsampled
    and joined by skip connections. States that climb the stack are pooled and upsampled at the
    same places. `scales=(1,) * n` is the plain stack; the weights are the same at any scales, but
    for learned pooling and interpolation. Where cells of different `filters` meet, a 1 x 1
    convolution brings one to the channels of the other.

    Maps whose sides do not divide by the scales are padded with zeros at the bottom and right,
    and the output is cropped to the input's size.

    Args:
        cells: A cell or a list of cells, `ConvRNNCell` instances (bottom first).
        scales: Tuple of integers, the scale of each cell; by default all 1.
        skip: Which outputs of earlier cells a cell gets: `"add"`, on the way up, that of the cell
            below and of the last earlier cell at its own scale, added; `None`, that of the cell
            below; `"unet3+"`, in the second half, those of all cells of the second half before
            it and of the first half up to its mirror image; `"full"`, those of all earlier cells.
        pooling: `"max"`, `"average"`, or `"convolution"`, strided and learned.
        interpolation: `"bilinear"` (half-pixel centres), `"nearest"`, or
            `"transposed_convolution"`, learned.
        return_sequences: Boolean, whether to return the output of every step or of the last.
        return_state: Boolean, whether to return the final states as well.
        stateful: Boolean, whether a call starts from the states which the last call left. Needs
            inputs of a fixed batch size, height and width; `reset_state` starts afresh.
        remat: `None`, `"step"` or `"sqrt"`, which activations are computed again in the
            backward pass instead of kept: none, those of every step, or in addition the states
            of all but every `sqrt(time)`-th step.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        sequence: `(batch, time, height, width, channels)`.
        initial_state: List of state tensors, as returned with `return_state=True` or by
            `get_initial_state`. Zeros by default.
        training: Boolean.

    Returns:
        `(batch, time, height, width, filters)`, without `time` unless `return_sequences`; with
        `return_state`, a tuple of that and the list of states.

    Example:

    >>> cells = [keras_msrnn.cells.ConvLSTMCell(8) for _ in range(3)]
    >>> rnn = MultiScaleRNN(cells, scales=(1, 2, 1), return_sequences=True)
    >>> tuple(rnn(np.ones((2, 5, 59, 61, 1))).shape)
    (2, 5, 59, 61, 8)

    Reference:
        Ma et al., "MS-RNN: A Flexible Multi-Scale Framework for Spatiotemporal Predictive
        Learning", arXiv 2206.03010, section 3.
    """

    def __init__(
        self,
        cells,
        scales=None,
        skip="add",
        *,
        pooling="max",
        interpolation="bilinear",
        return_sequences=False,
        return_state=False,
        stateful=False,
        remat=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.cells = list(cells) if isinstance(cells, (list, tuple)) else [cells]
        _check_cells(self.cells)
        self.scales = pyramid.check_scales(scales, len(self.cells))
        self.skip = _check_choice("skip", skip, pyramid.SKIPS)
        self.pooling = _check_choice("pooling", pooling, pyramid.POOLINGS)
        self.interpolation = _check_choice("interpolation", interpolation, pyramid.INTERPOLATIONS)
        self.remat = _check_choice("remat", remat, backend.REMAT_MODES)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.sources = pyramid.connect(self.scales, self.skip)
        # States are held once per cell, but those that climb once per stack: at the top cell.
        self._slots = [
            (index, name)
            for index, cell in enumerate(self.cells)
            for name in cell.state_names
            if name not in cell.climbing_states
        ]
        climbing = {name for cell in self.cells for name in cell.climbing_states}
        for name in sorted(climbing):
            top = max(i for i, cell in enumerate(self.cells) if name in cell.climbing_states)
            self._slots.append((top, name))
        self._states = None
        self.supports_jit = backend.supports_jit()

    @property
    def state_names(self):
        """Names of the states in the order in which they are taken and returned."""
        return [f"{self.cells[index].name}/{name}" for index, name in self._slots]

    @property
    def size_multiple(self):
        """Height and width are padded to a multiple of this number."""
        return math.lcm(
            *(scale * cell.size_multiple for cell, scale in zip(self.cells, self.scales))
        )

    def build(self, sequence_shape, initial_state_shape=None):
        if len(sequence_shape) != 5 or sequence_shape[-1] is None:
            raise ValueError(
                "The inputs of MultiScaleRNN must have the shape (batch, time, height, width, "
                f"channels) with a known number of channels. Received: shape={sequence_shape}."
            )
        channels = {-1: sequence_shape[-1]}
        for index, cell in enumerate(self.cells):
            if not cell.built:
                cell.build((None, None, None, channels[index - 1]))
            channels[index] = cell.filters
        self._build_resamplings(channels)
        if self.stateful:
            self._build_states(sequence_shape)

    @property
    def seed(self):
        return getattr(self.cells[0], "seed", None)

    def _build_resamplings(self, channels):
        """What brings outputs to the cells that take them, and states that climb to the next."""
        # Two dictionaries: PyTorch's export sorts the keys of each.
        self._resamplings, self._climbs = {}, {}
        scales = {-1: 1, **dict(enumerate(self.scales))}

        def add(resamplings, key, name, sizes, widths):
            if key not in resamplings:
                resamplings[key] = pyramid.Resampling(
                    self, name, sizes, widths, self.pooling, self.interpolation
                )

        last = len(self.cells) - 1
        takers = [
            (source, i, i - 1) for i, feeding in enumerate(self.sources) for source in feeding
        ]
        for source, index, below in [*takers, (last, -1, last)]:
            scale, width = scales[index], channels[below]
            name = f"output_{source}_to_scale_{scale}_and_{width}"
            sizes, widths = (scales[source], scale), (channels[source], width)
            add(self._resamplings, (source, scale, width), name, sizes, widths)
        for name in {name for cell in self.cells for name in cell.climbing_states}:
            having = [i for i, cell in enumerate(self.cells) if name in cell.climbing_states]
            widths = [self.cells[i].state_shape(name, None, None)[-1] for i in having]
            for i, index in enumerate(having):
                sizes = scales[having[i - 1]], scales[index]
                between = widths[i - 1], widths[i]
                add(self._climbs, (name, index), f"{name}_to_{index}", sizes, between)

    def _build_states(self, sequence_shape):
        batch, _, height, width, _ = sequence_shape
        if None in (batch, height, width):
            raise ValueError(
                "`stateful=True` needs a fixed batch size, height and width. Received: "
                f"shape={sequence_shape}. Give the whole shape, for example "
                "`keras.Input(batch_shape=(1, None, 64, 64, 1))`."
            )
        self._states = [
            self.add_weight(
                shape=shape,
                dtype=self.compute_dtype,
                initializer="zeros",
                trainable=False,
                name=name.replace("/", "_"),
            )
            for name, shape in zip(self.state_names, self._state_shapes(batch, height, width))
        ]

    def _padded(self, size):
        return None if size is None else size + (-size) % self.size_multiple

    def _state_shapes(self, batch, height, width):
        height, width = self._padded(height), self._padded(width)
        shapes = []
        for index, name in self._slots:
            scale = self.scales[index]
            sides = [None if side is None else side // scale for side in (height, width)]
            shapes.append((batch, *self.cells[index].state_shape(name, *sides)))
        return shapes

    def get_initial_state(self, batch_size, spatial_shape):
        """Returns the list of zero states for inputs of `spatial_shape`, `(height, width)`."""
        return [
            ops.zeros(shape, self.compute_dtype)
            for shape in self._state_shapes(batch_size, *spatial_shape)
        ]

    def reset_state(self):
        """Sets the states of a stateful layer to zero."""
        if self._states is None:
            raise ValueError(
                "`reset_state` needs a layer that was made with `stateful=True` and has been built."
            )
        for state in self._states:
            state.assign(ops.zeros(state.shape, state.dtype))

    def call(self, sequence, initial_state=None, training=None):
        batch, _, height, width, _ = ops.shape(sequence)
        if initial_state is None:
            if self.stateful:
                initial_state = [state.value for state in self._states]
            else:
                initial_state = self.get_initial_state(batch, (height, width))
        self._check_states(initial_state)

        def step(carry, inputs):
            outputs, states, loss = self.step_with_loss(inputs, carry[:-1], training)
            kept = [outputs] if self.return_sequences else []
            return [*states, outputs], kept if loss is None else [*kept, loss]

        output = ops.zeros((batch, height, width, self.cells[-1].filters), self.compute_dtype)
        like = [output] if self.return_sequences else []
        if self.has_loss and training:
            like.append(ops.zeros((batch,), "float32"))
        (*states, output), kept = backend.scan(
            step,
            [*initial_state, output],
            ops.moveaxis(sequence, 1, 0),
            like=like,
            weights=self.weights,
            remat=self.remat if training else None,
        )
        if self.has_loss and training:
            self.add_loss(ops.mean(kept.pop()))
        if self.stateful:
            for variable, state in zip(self._states, states):
                variable.assign(state)
        if self.return_sequences:
            output = ops.moveaxis(kept[0], 0, 1)
        return (output, states) if self.return_state else output

    def _check_states(self, states):
        if len(states) != len(self._slots):
            raise ValueError(
                f"The states must be a list of {len(self._slots)} tensors, "
                f"{', '.join(self.state_names)}. Received: {len(states)} tensors. "
                "`get_initial_state` makes such a list."
            )

    def step(self, inputs, states, training=None):
        """One step of the whole stack.

        Args:
            inputs: `(batch, height, width, channels)`, or a `Projection` to such maps.
            states: List of state tensors.
            training: Boolean.

        Returns:
            The output `(batch, height, width, filters)` and the list of new states.
        """
        return self.step_with_loss(inputs, states, training)[:2]

    def step_with_loss(self, inputs, states, training=None):
        """`step` that returns, third, the sum of what `call_cell` returned third."""
        projection = inputs if isinstance(inputs, Projection) else None
        foldable = vars(type(self.cells[0])).get("convolves_inputs") and self.scales[0] == 1
        if projection and not foldable:
            projection, inputs = None, projection.apply()
        maps = projection.maps if projection else inputs
        _, height, width, _ = ops.shape(maps)
        padded = self._pad(maps)
        held = dict(zip(self._slots, states))
        climbing = {
            name: held[index, name]
            for index, name in self._slots
            if name in self.cells[index].climbing_states
        }
        outputs = {-1: projection._replace(maps=padded) if projection else padded}
        resampled, loss = {}, None

        def output_at(*key):
            """The output of a cell at a scale and with a number of channels."""
            if key not in resampled:
                resampled[key] = self._resamplings[key](outputs[key[0]])
            return resampled[key]

        for index, (cell, scale) in enumerate(zip(self.cells, self.scales)):
            channels = outputs[index - 1].shape[-1]
            cell_inputs = functools.reduce(
                operator.add, (output_at(source, scale, channels) for source in self.sources[index])
            )
            cell_states = [
                self._climbs[name, index](climbing[name])
                if name in cell.climbing_states
                else held[index, name]
                for name in cell.state_names
            ]
            output, cell_states, cell_loss = self.call_cell(
                cell, cell_inputs, cell_states, training
            )
            outputs[index] = output
            if cell_loss is not None:
                loss = cell_loss if loss is None else loss + cell_loss
            for name, state in zip(cell.state_names, cell_states):
                if name in cell.climbing_states:
                    climbing[name] = state
                else:
                    held[index, name] = state
            if getattr(cell, "compat", None) == "reference" and "x_prev" in cell.state_names:
                # The released MIM and MotionRNN remember their inputs without the skip connection.
                held[index, "x_prev"] = output_at(index - 1, scale, channels)
        held.update({slot: climbing[slot[1]] for slot in self._slots if slot[1] in climbing})
        output = output_at(len(self.cells) - 1, 1, self.cells[-1].filters)
        if maps is not padded:
            output = output[:, :height, :width]
        return output, [held[slot] for slot in self._slots], loss

    has_loss = False

    def call_cell(self, cell, inputs, states, training):
        """One cell's step: output, new states, and a loss `(batch,)` or `None`.

        A subclass that returns losses sets `has_loss = True`.
        """
        # Of what Keras adds to every call a cell needs only the casts of mixed precision, and the
        # rest takes as long as a small cell itself.
        call = cell.call if cell.compute_dtype == cell.variable_dtype else cell
        output, states = call(inputs, states, training=training)
        return output, states, None

    def _pad(self, inputs):
        height, width = inputs.shape[1:3]
        multiple = self.size_multiple
        if multiple == 1 or (height and width and not (height % multiple or width % multiple)):
            return inputs
        _, height, width, _ = ops.shape(inputs)
        return backend.pad(inputs, (0, (-height) % multiple), (0, (-width) % multiple))

    def compute_output_shape(self, sequence_shape, initial_state_shape=None):
        batch, time, height, width, _ = sequence_shape
        output = (batch, height, width, self.cells[-1].filters)
        if self.return_sequences:
            output = (batch, time, *output[1:])
        if not self.return_state:
            return output
        return output, self._state_shapes(batch, height, width)

    def get_config(self):
        return {
            **super().get_config(),
            "cells": [keras.saving.serialize_keras_object(cell) for cell in self.cells],
            "scales": self.scales,
            "skip": self.skip,
            "pooling": self.pooling,
            "interpolation": self.interpolation,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "stateful": self.stateful,
            "remat": self.remat,
        }

    @classmethod
    def from_config(cls, config):
        config["cells"] = [keras.saving.deserialize_keras_object(cell) for cell in config["cells"]]
        return cls(**config)


def _check_cells(cells):
    if not cells:
        raise ValueError("`cells` must hold at least one cell. Received: cells=[].")
    for cell in cells:
        if not isinstance(cell, ConvRNNCell):
            raise TypeError(
                "`cells` must be instances of keras_msrnn.cells.ConvRNNCell. "
                f"Received: {cell!r}. Subclass it to write a cell of your own."
            )
    if len({id(cell) for cell in cells}) < len(cells):
        raise ValueError(
            "`cells` must be different objects, each with its own weights. "
            "Received: the same cell twice. Use `[Cell(...) for _ in range(n)]`."
        )


def _check_choice(name, value, choices):
    if isinstance(value, str):
        value = value.lower()
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}."
        )
    return value
