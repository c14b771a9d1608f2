"""`profile`: what a model costs, before anything runs."""

import collections
import dataclasses
import math

from keras_msrnn import checks
from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.forecaster import Forecaster
from keras_msrnn.multi_scale_rnn import MultiScaleRNN
from keras_msrnn.profiling import tables
from keras_msrnn.profiling.costs import Memory, item_size, multiply_adds, size
from keras_msrnn.profiling.measure import measure as measure_step
from keras_msrnn.profiling.reach import NOWHERE, Reach, receptive_field
from keras_msrnn.profiling.trace import EMBEDDING, PYRAMID, Trace

OPTIMIZER_SLOTS = 2  # Adam's moments


@dataclasses.dataclass(frozen=True)
class Part:
    """What one cell, or the rest of the model, costs in one step, for one sample.

    Attributes:
        name: Class of the cell, `"pyramid"` (pooling, interpolation, skip connections) or
            `"embedding, head"`.
        scale: The scale of a cell, `None` for other parts.
        map_shape: `(height, width, filters)` of a cell's output.
        parameters: Number of weights.
        multiply_adds: Of convolutions, matrix products and attention.
        activations: Elements of all tensors that its operations write. Views, which share the
            memory of another tensor, do not count.
        kept_bytes: Bytes of the tensors which the backward pass reads.
        states: Elements of the states which it hands to the next step.
        receptive_field: Side in pixels of the smallest square around a pixel that holds all
            pixels of the newest frame on which the cell's output there depends. `None` where
            positions are computed (warping, attention).
    """

    name: str
    scale: int | None
    map_shape: tuple[int, ...] | None
    parameters: int
    multiply_adds: int
    activations: int
    kept_bytes: int
    states: int
    receptive_field: int | None


@dataclasses.dataclass(frozen=True)
class Profile:
    """What a model costs; made by `profile`. `print` shows it as a table.

    Bytes are found by analysis. The tensors which the backward pass reads are those that its
    derivatives are made of: the inputs of a product or convolution, the output of a sigmoid or
    tanh, nothing for a sum. Backends need more: XLA 1.5 to 2 times as much, since it keeps the
    derivatives of gates beside their values, PyTorch 1.1 times.

    Attributes:
        name: Cells and scales, or the name given to `compare`.
        input_shape: `(time, height, width, channels)` of the context.
        horizon: Number of forecast frames; 0 for a `MultiScaleRNN`.
        batch_size: Samples of a batch.
        dtype: Name of the dtype policy.
        remat: The model's rematerialisation, `None`, `"step"` or `"sqrt"`.
        parts: A `Part` for each cell, then for the pyramid, and for embedding and head.
        carry_bytes: Bytes of the states and the forecast that a step hands to the next.
        recomputed_bytes: Bytes of activations which a cell computes again even without `remat`.
        step_bytes: Bytes alive at once within a step of inference.
        weight_bytes: Bytes of the weights.
        receptive_field: Side in pixels of the smallest square around a pixel that holds all
            pixels of the newest frame on which its forecast depends, or `None`.
        receptive_field_sequence: The same for the last forecast and the first frame: each step
            in time adds its reach, so it tells how far a motion can be followed.
        uncounted: Layers and operations not written in `keras.ops`, whose multiply-adds are not
            counted.
        measured: Dictionary of what the backend reports, or `None`; see `profile`.
    """

    name: str
    input_shape: tuple[int, ...]
    horizon: int
    batch_size: int
    dtype: str
    remat: str | None
    parts: tuple[Part, ...]
    carry_bytes: int
    recomputed_bytes: int
    step_bytes: int
    weight_bytes: int
    receptive_field: int | None
    receptive_field_sequence: int | None
    uncounted: tuple[str, ...] = ()
    measured: dict | None = None

    @property
    def cells(self) -> tuple[Part, ...]:
        """The parts that are cells."""
        return tuple(part for part in self.parts if part.scale is not None)

    @property
    def steps(self) -> int:
        """Number of steps in time over the context and the horizon."""
        return self.input_shape[0] + max(self.horizon - 1, 0)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(part.parameters for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all steps, forward, for one sample. Training needs three times these."""
        return self.steps * sum(part.multiply_adds for part in self.parts)

    @property
    def activations(self) -> int:
        """Elements which all steps write, for one sample."""
        return self.steps * sum(part.activations for part in self.parts)

    def activation_memory(self, remat: str | None = None) -> int:
        """Bytes of activations which training keeps for a batch, under a mode of `remat`."""
        kept = sum(part.kept_bytes for part in self.parts)
        steps, length = self.steps, math.isqrt(self.steps)
        if remat is None:
            held = steps * kept
        elif remat == "step" or steps < 4:
            held = steps * self.carry_bytes + kept
        else:  # the carries before each chunk, and those within one
            chunks = steps // length
            within = max(length, steps - chunks * length)
            held = (chunks + within) * self.carry_bytes + kept
        return self.batch_size * (held + self.recomputed_bytes)

    @property
    def training_memory(self) -> int:
        """Bytes of weights, their gradients, Adam's state, and activations under `remat`."""
        copies = 2 + OPTIMIZER_SLOTS
        return copies * self.weight_bytes + self.activation_memory(self.remat)

    @property
    def forecast_memory(self) -> int:
        """Bytes of weights and of the activations of one step, for a batch."""
        return self.weight_bytes + self.batch_size * self.step_bytes

    def to_dict(self) -> dict:
        """Returns all numbers as a dictionary that `json` can write."""
        names = ("steps", "parameters", "multiply_adds", "activations", "training_memory")
        totals = {name: getattr(self, name) for name in (*names, "forecast_memory")}
        return {**dataclasses.asdict(self), **totals}

    def __str__(self):
        return tables.profile_table(self)


def profile(
    model: Forecaster | MultiScaleRNN,
    input_shape: tuple[int, int, int, int],
    *,
    horizon: int | None = None,
    batch_size: int = 1,
    measure: bool = False,
    name: str | None = None,
) -> Profile:
    """Tells what a model costs: parameters, multiply-adds, memory and receptive field.

    It follows shapes through one step of the model. Nothing is computed, no frame is allocated,
    and cells of one's own are counted like those of the package, if they are written with
    `keras.ops`. The numbers are the same on every backend.

    Args:
        model: A `Forecaster` or `MultiScaleRNN`. If it is not built yet, it is built for the
            channels of `input_shape`.
        input_shape: `(time, height, width, channels)` of the context, or of the sequence that a
            `MultiScaleRNN` gets.
        horizon: Integer, number of frames to forecast; the model's by default.
        batch_size: Integer, number of samples for which the memory is given.
        measure: Boolean, whether to ask the backend as well. `measured` is then a dictionary of
            `activation_bytes` of a training step and `flops` of one step in time, each `None`
            where the backend cannot tell. JAX compiles the step and asks XLA; PyTorch runs it
            and takes the peak of its tensors or, on a GPU, of the allocator; TensorFlow knows
            the peak on a GPU only.
        name: String for tables; by default made of the cells and scales.

    Returns:
        A `Profile`.

    Raises:
        TypeError: if `model` is neither a `Forecaster` nor a `MultiScaleRNN`.
        ValueError: if `input_shape` does not fit the model.

    Example:

    >>> model = keras_msrnn.build("convlstm", multiscale=True, filters=64)
    >>> costs = profile(model, (10, 64, 64, 1), horizon=10, batch_size=16)
    >>> costs.parameters, [cell.scale for cell in costs.cells]
    (1771201, [1, 2, 4, 4, 2, 1])
    >>> round(costs.multiply_adds / 1e9, 1), round(costs.training_memory / 1e9, 1)
    (60.3, 7.4)
    """
    input_shape = _check_shape(model, input_shape)
    rnn = getattr(model, "rnn", model)
    steps_ahead = 0 if model is rnn else model.horizon_or(horizon)
    if not model.built:
        model.build((None, *input_shape))
    trace = Trace(model, input_shape[1:])
    reach = Reach(trace)
    patch = getattr(model, "patch_size", 1)

    def field(value):
        return receptive_field(value, trace.rows, patch)

    output, _, outputs = reach.step((0, 0), [NOWHERE] * len(trace.states))
    memory = Memory(trace)
    result = Profile(
        name=name or _name(rnn),
        input_shape=input_shape,
        horizon=steps_ahead,
        batch_size=positive_integer("batch_size", batch_size),
        dtype=rnn.dtype_policy.name,
        remat=rnn.remat,
        parts=_parts(model, rnn, trace, memory, {i: field(v) for i, v in outputs.items()}),
        carry_bytes=sum(map(size, trace.states)) + size(trace.output),
        recomputed_bytes=memory.recomputed,
        step_bytes=memory.peak,
        weight_bytes=sum(math.prod(v.shape) * item_size(v) for v in _weights(model, rnn)),
        receptive_field=field(output),
        receptive_field_sequence=field(reach.sequence(input_shape[0], steps_ahead)),
        uncounted=tuple(sorted(set(trace.opaque))),
    )
    if not measure:
        return result
    measured = measure_step(model, input_shape, steps_ahead, batch_size)
    return dataclasses.replace(result, measured=measured)


def _check_shape(model, input_shape):
    if not isinstance(model, (Forecaster, MultiScaleRNN)):
        raise TypeError(
            "`model` must be a Forecaster or a MultiScaleRNN. "
            f"Received: model={model!r}. `keras_msrnn.build` makes a forecaster by name."
        )
    shape = tuple(input_shape)
    if len(shape) != 4 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(
            "`input_shape` must be (time, height, width, channels), four positive integers. "
            f"Received: input_shape={input_shape}. The batch goes into `batch_size`."
        )
    if isinstance(model, Forecaster):
        checks.check_context_shape((None, *shape), model.channels)
    return shape


def _name(rnn):
    kinds = collections.Counter(_cell_name(cell) for cell in rnn.cells)
    return f"{kinds.most_common(1)[0][0]} {'-'.join(map(str, rnn.scales))}"


def _cell_name(cell):
    return type(cell).__name__.removesuffix("Cell")


def _weights(model, rnn):
    states = [] if rnn._states is None else rnn._states
    own = {id(v) for v in states}
    layers = [rnn] if model is rnn else [model.embed, rnn, model.head]
    return [v for layer in layers for v in layer.weights if id(v) not in own]


def _parts(model, rnn, trace, memory, fields):
    costs = collections.Counter()
    for operation in trace.operations:
        costs[operation.owner] += multiply_adds(operation) * operation.repeat
    parameters = collections.Counter()
    owners = {id(v): index for index, cell in enumerate(rnn.cells) for v in cell.weights}
    owners = {**{id(v): PYRAMID for v in rnn.weights}, **owners}
    for v in _weights(model, rnn):
        parameters[owners.get(id(v), EMBEDDING)] += math.prod(v.shape)
    states = collections.Counter()
    for (index, _), state in zip(rnn._slots, trace.states):
        states[index] += math.prod(state.shape)

    def part(owner, name, scale=None, map_shape=None):
        return Part(
            name,
            scale,
            map_shape,
            parameters[owner],
            costs[owner],
            memory.produced[owner],
            memory.kept[owner],
            states[owner],
            fields.get(owner),
        )

    cells = [
        part(index, _cell_name(cell), scale, tuple(trace.cell_outputs[index].shape[1:]))
        for index, (cell, scale) in enumerate(zip(rnn.cells, rnn.scales))
    ]
    others = [PYRAMID] if model is rnn else [PYRAMID, EMBEDDING]
    return (*cells, *(part(owner, owner) for owner in others))
