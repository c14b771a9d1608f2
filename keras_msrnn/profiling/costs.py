"""What the operations of a trace cost: multiply-adds, memory, and how far they reach in space."""

import collections
import math
import re

import keras

# Outputs that share the memory of the first operand.
VIEWS = {"ExpandDims", "Flatten", "GetItem", "Moveaxis", "Ravel", "Reshape", "Split", "Squeeze"}
VIEWS |= {"StopGradient", "Swapaxes", "Transpose", "Unstack"}
REORDERED = {"Moveaxis", "Swapaxes", "Transpose"}  # a reshape of these is a copy

# What the backward pass of an operation reads: nothing of these, the outputs of those, the
# inputs of all others.
LINEAR = {"Add", "AveragePool", "BroadcastTo", "Cast", "Ceil", "Concatenate", "Flip", "Floor"}
LINEAR |= {"FullLike", "Mean", "Negative", "OnesLike", "Pad", "Repeat", "Resize", "Roll", "Round"}
LINEAR |= {"Sign", "Stack", "Subtract", "Sum", "Tile", "ZerosLike"}
KEEP_OUTPUTS = {"Exp", "LogSoftmax", "Reciprocal", "Relu", "Rsqrt", "Sigmoid", "Softmax", "Sqrt"}
KEEP_OUTPUTS |= {"Tanh"}
CONVOLUTIONS = {"Conv", "DepthwiseConv", "SeparableConv"}


def multiply_adds(operation):
    """Multiply-adds of a convolution, matrix product or attention; 0 for other operations."""
    kind, operands = operation.kind, operation.operands
    output = math.prod(operation.outputs[0].shape) if operation.outputs else 0
    if kind in CONVOLUTIONS:
        kernels = operands[1:]
        if kind == "DepthwiseConv":
            return output * math.prod(kernels[0].shape[:-2])
        return output // kernels[-1].shape[-1] * sum(math.prod(k.shape) for k in kernels)
    if kind == "ConvTranspose":
        inputs, kernel = operands
        return math.prod(inputs.shape) // kernel.shape[-1] * math.prod(kernel.shape)
    if kind in ("Matmul", "Dot"):
        return output * operands[0].shape[-1]
    if kind == "Tensordot":  # every axis is in two of the three tensors
        return math.isqrt(math.prod(math.prod(x.shape) for x in operands[:2]) * output)
    if kind == "Einsum":
        return _einsum(operation.settings.subscripts, operands)
    if kind == "DotProductAttention":
        return 2 * output * operands[1].shape[1]
    return 0


def _einsum(subscripts, operands):
    """Product of the sizes of all axes, once for each product of two operands."""
    terms = subscripts.replace(" ", "").split("->")[0].split(",")
    sizes = {}
    for term, x in zip(terms, operands):
        before, dots, after = term.partition("...")
        hidden = len(x.shape) - len(before + after)
        labels = [*before, *(range(hidden, 0, -1) if dots else ()), *after]
        sizes.update((label, size) for label, size in zip(labels, x.shape) if size != 1)
    return max(len(terms) - 1, 1) * math.prod(sizes.values())


def item_size(x):
    """Bytes of one element."""
    bits = re.search(r"\d+$", keras.backend.standardize_dtype(x.dtype))
    return int(bits.group()) // 8 if bits else 1


def size(x):
    """Bytes of a symbolic tensor."""
    return math.prod(x.shape) * item_size(x)


class Memory:
    """The tensors of a trace in memory.

    Attributes:
        produced: owner -> elements that its operations write in one step, views not counted.
        kept: owner -> bytes of one step which the backward pass reads.
        recomputed: Bytes of the largest part of the step which is computed again.
        peak: Bytes alive at once in one step of inference.
    """

    def __init__(self, trace):
        self.trace = trace
        self._storage = {}  # id of a tensor -> the tensor whose memory it shares
        self._writes = []  # the operations that are no views
        reordered = set()
        for operation in trace.operations:
            if operation.kind in REORDERED:
                reordered.update(map(id, operation.outputs))
            if _is_view(operation, reordered):
                shared = self.storage(operation.inputs[0])
                self._storage.update((id(x), shared) for x in operation.outputs)
            else:
                self._writes.append(operation)
        self.produced = collections.Counter()
        for operation in self._writes:
            elements = sum(math.prod(x.shape) for x in operation.outputs)
            self.produced[operation.owner] += elements * operation.repeat
        self.kept, self.recomputed = self._kept()
        self.peak = self._peak()

    def storage(self, x):
        """The tensor whose memory `x` shares, or `x` itself."""
        return self._storage.get(id(x), x)

    def _kept(self):
        # A state that comes in is what the step before wrote: one tensor, kept once.
        old = {id(x) for x in self.trace.states}
        new = map(self.storage, self.trace.new_states)
        written = {id(x): y for x, y in zip(self.trace.states, new) if id(y) not in old}
        makers = {id(x): operation for operation in self._writes for x in operation.outputs}
        kept, recomputed, seen = collections.Counter(), collections.Counter(), set()
        for operation in self.trace.operations:
            if operation.region is None:
                kept[operation.owner] += hidden(operation) * operation.repeat
            for x in needed(operation):
                x = self.storage(x)
                x = written.get(id(x), x)
                if id(x) in seen:
                    continue
                seen.add(id(x))
                maker = makers.get(id(x))
                if maker is None:
                    kept[operation.owner] += size(x)
                elif maker.region is None:
                    kept[operation.owner] += size(x) * maker.repeat
                else:
                    recomputed[maker.region] += size(x)
        return kept, max(recomputed.values(), default=0)

    def _peak(self):
        """The largest sum of the sizes of all tensors that are written and still needed."""
        trace, end = self.trace, len(self.trace.operations)
        last_use = {}
        for time, operation in enumerate(trace.operations):
            last_use.update((id(self.storage(x)), time) for x in operation.inputs)
        last_use.update((id(self.storage(x)), end) for x in [trace.output, *trace.new_states])
        writes = set(map(id, self._writes))
        live = peak = size(trace.frame) + sum(map(size, trace.states))
        freed = collections.Counter()
        for time, operation in enumerate(trace.operations):
            if id(operation) in writes:
                for x in operation.outputs:
                    live += size(x)
                    freed[last_use.get(id(x), time)] += size(x)
            peak = max(peak, live)
            live -= freed[time]
        return peak


def _is_view(operation, reordered):
    if not operation.inputs:
        return False
    if operation.kind == "Cast":
        return operation.inputs[0].dtype == operation.outputs[0].dtype
    if operation.kind == "Reshape":
        return id(operation.inputs[0]) not in reordered
    return operation.kind in VIEWS


def hidden(operation):
    """Bytes that the backward pass reads and that are neither input nor output."""
    if operation.kind == "DotProductAttention":  # the softmax
        query, key = operation.inputs[:2]
        return size(query) // query.shape[-1] * key.shape[1]
    return 0


def needed(operation):
    """The symbolic tensors whose values the backward pass of an operation reads."""
    kind, inputs = operation.kind, operation.inputs
    if kind in VIEWS or kind in LINEAR:
        return []
    if kind in KEEP_OUTPUTS:
        return operation.outputs
    if kind in ("Take", "TakeAlongAxis"):
        return inputs[1:]  # the indices
    if kind in ("Where", "Select"):
        return [x for x in inputs if x.dtype == "bool"]
    if not all(_is_float(x) for x in operation.outputs):
        return []
    if kind in ("Multiply", "Divide", "TrueDivide"):
        others = [x for x in operation.operands if not isinstance(x, (int, float))]
        return inputs if len(others) > 1 else []
    return [x for x in inputs if _is_float(x)]


def _is_float(x):
    return keras.backend.is_float_dtype(x.dtype)
