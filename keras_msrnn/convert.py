"""Checkpoints of the authors' PyTorch release.

Everything the package knows about that release's names and layouts is in this file; what it
computes differently is behind `compat="reference"` of the cells concerned.
"""

import dataclasses
import itertools

import numpy as np

from keras_msrnn import cells, checkpoint
from keras_msrnn.cells import motionrnn


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the weights of one of our convolutions stand in a checkpoint.

    Attributes:
        rows: Names of the released convolutions whose outputs are added: one for each of our
            inputs, or one for all of them.
        columns: Names of released convolutions of the same input whose outputs we compute at once.
        parts, kept: The released convolution has `parts` gates, of which we have those in `kept`.
        groups: Our input channels are ordered `(groups, channels)`, the released ones the other
            way round.
    """

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    parts: int = 1
    kept: tuple[int, ...] = (0,)
    groups: int = 1


def _add(*names):
    return Source(rows=names)


_PREDRNN = {
    "gates": _add("_conv_x2h", "_conv_h2h"),
    "memory_gates": _add("_conv_x2h_m", "_conv_m2h_m"),
    "output_gate": _add("_conv_c2o", "_conv_m2o"),
    "fusion": _add("_conv_c_m"),
}
_ATTENTION = [
    Source(columns=tuple(f"SEBlock.stages.{s}.f_{kind}" for kind in ("query", "key", "value")))
    for s in range(3)
]
_NAMES = {
    cells.ConvLSTMCell: {"gates": _add("_conv_x2h", "_conv_h2h")},
    cells.TrajGRUCell: {
        "flow_features": _add("_conv_x2f", "_conv_h2f"),
        "flow": _add("_conv_flow"),
        "input_gates": _add("_conv_x2h"),
        "warped_gates": _add("project"),
    },
    cells.PredRNNCell: _PREDRNN,
    cells.CausalLSTMCell: {
        "highway_gates": _add("_conv_x", "_conv_z"),
        "gates": _add("_conv_x_h_c"),
        "memory_gates": _add("_conv_x_c_m"),
        "memory": _add("_conv_m"),
        "output_gate": _add("_conv_o"),
        "fusion": _add("_conv_c_m"),
    },
    cells.MIMCell: {
        **_PREDRNN,
        "gates": Source(rows=("_conv_x2h", "_conv_h2h"), parts=4, kept=(0, 2, 3)),
        "change_gates": _add("_conv_x2h_n", "_conv_n2h_n"),
        "change_output": _add("_conv_diff2o", "_conv_n2o"),
        "trend_gates": _add("_conv_x2h_s", "_conv_c2h_s"),
        "trend_output": _add("_conv_s2o"),
    },
    cells.MotionCell: {
        "encoder": _add("_conv_enc"),
        "flow_gates": Source(columns=("_conv_u", "_conv_r")),
        "flow_candidate": _add("_conv_z"),
        "mask": _add("_conv_hm"),
        "decoder": Source(rows=("_conv_dec",), groups=motionrnn.MOTIONS),
        "upsampler": _add("_deconv_dec"),
        "highway_gate": _add("_conv_g"),
    },
    cells.PrecipLSTMCell: {
        **_PREDRNN,
        "attention": Source(columns=("LA.conv1", "LA.conv2", "LA.conv3")),
        "attended": _add("_conv_x_x_att"),
        "spatial_gates": _add("_conv_x2h_ms", "_conv_ms2h_ms"),
        "temporal_gates": _add("_conv_x2h_mt", "_conv_mt2h_mt"),
        "output_gate": _add("_conv_c2o", "_conv_ms2o", "_conv_mt2o", "_conv_m2o"),
        "fusion": _add("c_m_ms_mt"),
    },
    cells.MoDeRNNCell: {
        "gates": _add("_conv_x2h", "_conv_h2h"),
        **{f"state_to_input_{k}": _add(f"conv{k}{k}_H") for k in (3, 5, 7)},
        **{f"input_to_state_{k}": _add(f"conv{k}{k}_X") for k in (3, 5, 7)},
    },
    cells.CMSLSTMCell: {
        "gates": _add("_conv_x2h", "_conv_h2h"),
        "state_to_input": _add("convQ"),
        "input_to_state": _add("convR"),
        "attention_1": _ATTENTION[0],
        "attention_2": _ATTENTION[1],
        "attention_4": _ATTENTION[2],
        "merge": _add("SEBlock.conv_bn"),
        "summary": _add("SEBlock.w_z"),
        "expression_gates": _add("SEBlock.w_h2h", "SEBlock.w_z2h"),
    },
    cells.MKLSTMCell: {
        "gates": _add("_conv_x2h_3", "_conv_h2h_3"),
        "large_gates": _add("_conv_x2h_5", "_conv_h2h_5"),
        "output_gate": _add("_conv_c2o_3"),
        "large_output_gate": _add("_conv_c2o_5"),
        "fusion": _add("_conv_out"),
    },
}

# Released cells store these convolutions everywhere but use them only in some cells of the stack.
_HIGHWAY = _NAMES[cells.CausalLSTMCell]["highway_gates"].rows
_MOTION = tuple(
    name for source in _NAMES[cells.MotionCell].values() for name in source.rows + source.columns
)
_MIM = tuple(
    name
    for ours in ("change_gates", "change_output", "trend_gates", "trend_output")
    for name in _NAMES[cells.MIMCell][ours].rows
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array of a checkpoint.

    Attributes:
        weight: Our weight, a part of which it fills.
        index: That part.
        shape: Shape of the array in the checkpoint.
        axes: How its axes are transposed into ours.
        source: The rest of what is done to it.
    """

    weight: object
    index: tuple
    shape: tuple[int, ...]
    axes: tuple[int, ...] = (0,)
    source: Source = Source()

    def in_our_layout(self, array):
        """The array of the checkpoint as it stands in our weight."""
        array = np.transpose(array, self.axes)
        if self.source.parts > 1:
            gates = np.split(array, self.source.parts, axis=-1)
            array = np.concatenate([gates[part] for part in self.source.kept], axis=-1)
        if self.source.groups > 1 and array.ndim == 4:
            *sides, inputs, outputs = array.shape
            groups = self.source.groups
            array = array.reshape(*sides, inputs // groups, groups, outputs)
            array = array.swapaxes(2, 3).reshape(*sides, inputs, outputs)
        return array


def load_reference_weights(model, source):
    """Fills a forecaster with the weights of a checkpoint of the authors' PyTorch release.

    Nothing is changed unless every entry fits. Parts which the release stores but never uses are
    left out. For the numbers of the released code build the model with `compat="reference"`.

    Args:
        model: A `Forecaster` as made by `build`, with known `channels`.
        source: Path of a `.pth` file (needs PyTorch; it is read with `weights_only=True`, which
            runs no code from the file), or a mapping of names to arrays or tensors. A
            `module.` prefix, as of distributed training, is removed.

    Raises:
        ValueError: if the file cannot be read, or entries are missing, unexpected or of another
            shape; all are named.
        FileNotFoundError: if there is no such file.
        ImportError: if a file is given and PyTorch is not installed.

    Example:

    >>> model = keras_msrnn.build("ms-predrnn", channels=1)
    >>> load_reference_weights(model, "ms_predrnn.pth")  # doctest: +SKIP
    """
    if not getattr(model, "built", False):
        raise ValueError(
            "`model` must be built before weights are loaded into it. "
            "Received: a model that has seen no data. Use `build(name, channels=...)`."
        )
    arrays = {
        name.replace("rnns.lstms.", "rnns.lstm.", 1): array
        for name, array in checkpoint.read_arrays(source).items()
    }
    entries = reference_entries(model)
    _check(arrays, entries, _unused_names(model))
    values = {}
    for name, entry in entries.items():
        weight = entry.weight
        _, value = values.setdefault(id(weight), (weight, np.zeros(weight.shape, "float32")))
        # Convolutions whose outputs are added have a bias each; ours is their sum.
        value[entry.index] += entry.in_our_layout(arrays[name])
    for weight, value in values.values():
        weight.assign(value)


def reference_entries(model):
    """Returns a dictionary of the names that a checkpoint of `model` has, and their `Entry`."""
    entries = {}

    def add_dense(name, layer):
        inputs, outputs = layer.kernel.shape
        kernel = Entry(layer.kernel, (None, None), (outputs, inputs, 1, 1), (2, 3, 1, 0))
        entries[f"{name}.weight"] = kernel
        entries[f"{name}.bias"] = Entry(layer.bias, (...,), (outputs,))

    add_dense("embed.conv_embed", model.embed)
    for index, cell in enumerate(model.rnn.cells):
        for part in _parts(cell):
            if type(part) not in _NAMES:
                raise ValueError(
                    "`model` must be one of the released models. Received: a model with "
                    f"{type(part).__name__}, of which no checkpoint is known."
                )
            for name, convolution in part.convolutions.items():
                source = _NAMES[type(part)][name]
                entries.update(_entries(f"rnns.lstm.{index}.", convolution, source))
    if isinstance(model.rnn, cells.DecoupledRNN):
        entries.update(_entries("rnns.", model.rnn.adapter, _add("adapter")))
    add_dense("fc.conv_fc", model.head)
    return entries


def _parts(cell):
    """A cell and, if it wraps one, the cell inside."""
    return [cell.cell, cell] if isinstance(cell, cells.MotionCell) else [cell]


def _entries(prefix, convolution, source):
    """The entries of all released convolutions of which one of ours is made."""
    height, width = convolution.kernel.shape[:2]
    transposed = isinstance(convolution, motionrnn.TransposedConvolution)
    entries = {}
    for row, inputs in _slices(source.rows, convolution.inputs):
        for column, outputs in _slices(source.columns, convolution.outputs):
            name = f"{prefix}{row or column}"
            sizes = [part.stop - part.start for part in (outputs, inputs)]
            sizes[0] = sizes[0] * source.parts // len(source.kept)
            shape = (*(reversed(sizes) if transposed else sizes), height, width)
            axes = (2, 3, 0, 1) if transposed else (2, 3, 1, 0)
            index = (slice(None), slice(None), inputs, outputs)
            entries[f"{name}.weight"] = Entry(convolution.kernel, index, shape, axes, source)
            if convolution.bias is not None:
                bias = Entry(convolution.bias, (outputs,), (sizes[0],), source=source)
                entries[f"{name}.bias"] = bias
    return entries


def _slices(names, sizes):
    """`(name, slice)` for each of `names`: the channels of one tensor, or of all for one name."""
    if len(names) <= 1:
        return [(names[0] if names else None, slice(0, sum(sizes)))]
    ends = list(itertools.accumulate(sizes))
    return [
        (name, slice(end - size, end)) for name, size, end in zip(names, sizes, ends, strict=True)
    ]


def _unused_names(model):
    """Beginnings of the names of weights that the release stores but does not use."""
    kinds = {type(part) for cell in model.rnn.cells for part in _parts(cell)}
    unused = []
    for index, cell in enumerate(model.rnn.cells):
        inner = _parts(cell)[0]
        names = []
        if isinstance(cell, cells.CausalLSTMCell) and not cell.highway:
            names += _HIGHWAY
        if type(inner) is cells.PredRNNCell and cells.MIMCell in kinds:
            names += _MIM
        if cells.MotionCell in kinds and not isinstance(cell, cells.MotionCell):
            names += _MOTION
        unused += [f"rnns.lstm.{index}.{name}." for name in names]
    return tuple(unused)


def _check(arrays, entries, unused):
    problems = []
    for name, entry in entries.items():
        if name not in arrays:
            problems.append(f"missing: {name} {entry.shape}")
        elif tuple(arrays[name].shape) != entry.shape:
            problems.append(f"shape of {name}: {entry.shape} needed, {arrays[name].shape} found")
        elif not np.isfinite(arrays[name]).all():
            problems.append(f"not finite: {name}")
    for name in arrays:
        if name not in entries and not name.startswith(unused or ("\0",)):
            problems.append(f"unexpected: {name} {tuple(arrays[name].shape)}")
    if problems:
        lines = "\n  ".join(problems)
        raise ValueError(
            "The checkpoint must be of the same model, with the same filters, kernel size, number "
            f"of cells and channels. Nothing was loaded. Received:\n  {lines}"
        )
