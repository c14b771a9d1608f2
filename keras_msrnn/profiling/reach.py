"""How far one step reaches in space: which pixels of its inputs a pixel of a tensor depends on.

A tensor whose pixels are `stride` pixels of the stack's inputs wide has the reach `(before,
after)` if its pixel `i` depends on nothing outside of `i * stride - before` to
`(i + 1) * stride - 1 + after`. Kernels add to it, and so does interpolation. Where positions are
computed (warping, attention) it is unbounded.
"""

import math

NOWHERE, UNBOUNDED = (-math.inf, -math.inf), (math.inf, math.inf)
MIXING = {"Cumsum", "DotProductAttention", "Einsum", "Flip", "Roll", "Sort", "Take"}


def receptive_field(reach, size, patch=1):
    """Side of the smallest square around a pixel with all that it depends on.

    `None` where that is not bounded by kernels or exceeds the map, of `size` pixels.
    """
    if reach == NOWHERE:
        return 0
    side = 2 * max(reach) + 1
    return None if math.isinf(side) else min(side, 2 * size - 1) * patch


class Reach:
    """Follows reaches through the operations of a trace.

    Args:
        trace: A `Trace`.
    """

    def __init__(self, trace):
        self.trace = trace
        self.rows = trace.rows

    def step(self, inputs, states):
        """One step.

        Args:
            inputs: The reach of the stack's inputs.
            states: List of the reaches of the states.

        Returns:
            The reach of the stack's output, the list of those of the new states, and a dictionary
            of those of the cells' outputs.
        """
        trace = self.trace
        reaches = {id(x): reach for x, reach in zip(trace.states, states)}
        reaches[id(trace.features)] = inputs
        for operation in trace.operations:
            known = [(x, reaches[id(x)]) for x in operation.inputs if id(x) in reaches]
            for output in operation.outputs:
                if known and id(output) not in reaches:
                    reaches[id(output)] = self._output(operation, known, output)
        cells = {index: reaches[id(x)] for index, x in trace.cell_outputs.items()}
        new_states = [reaches.get(id(x), NOWHERE) for x in trace.new_states]
        return reaches[id(trace.stack_output)], new_states, cells

    def sequence(self, context, horizon):
        """The reach of the last forecast in the first frame.

        The context is seen frame by frame, then forecasts are fed back.
        """
        output, states, _ = self.step((0, 0), [NOWHERE] * len(self.trace.states))
        for time in range(1, context + horizon - 1):
            output, states, _ = self.step(NOWHERE if time < context else output, states)
        return output

    def _output(self, operation, known, output):
        before, after = (max(side) for side in zip(*(reach for _, reach in known)))
        if (before, after) in (NOWHERE, UNBOUNDED):
            return before, after
        x = known[0][0]
        if len(x.shape) < 3 or len(output.shape) < 3:
            return UNBOUNDED
        stride, output_stride = self._stride(x), self._stride(output)
        kind, settings = operation.kind, operation.settings
        if kind in ("Conv", "DepthwiseConv", "SeparableConv", "MaxPool", "AveragePool"):
            size, step = _window(operation)
            spread = max(size - step, 0)
            first = spread // 2 if settings.padding == "same" else 0
            return before + first * stride, after + (spread - first) * stride
        if kind == "ConvTranspose":
            size, step = operation.operands[1].shape[0], _first(settings.strides)
            pad = max(size - step, 0) // 2
            return _upsampled(
                (before, after),
                output_stride,
                step,
                lambda r: (math.ceil((r + pad - size + 1) / step), (r + pad) // step),
            )
        if kind in ("Resize", "Repeat") and output_stride <= stride and stride % output_stride == 0:
            return self._resized((before, after), stride // output_stride, output_stride, settings)
        local = kind not in MIXING and x.shape[1:3] == output.shape[1:3]
        products = kind == "Matmul" and len(operation.inputs) > 1
        cropped = kind in ("GetItem", "Concatenate") and len(output.shape) == 4
        if (local and not products) or (cropped and _keeps_origin(operation)):
            return before, after
        return UNBOUNDED

    def _stride(self, x):
        return max(1, round(self.rows / x.shape[1])) if x.shape[1] else 1

    @staticmethod
    def _resized(reach, factor, stride, settings):
        def reads(r):
            if getattr(settings, "interpolation", "nearest") == "nearest":
                return 0, 0
            position = (r + 0.5) / factor - 0.5
            return math.floor(position), math.ceil(position)

        return _upsampled(reach, stride, factor, reads)


def _upsampled(reach, stride, factor, reads):
    """Reach of pixels of width `stride`, of which each `factor` were one; `reads` of the first."""
    before, after = reach
    wide = stride * factor
    spans = [reads(r) for r in range(factor)]
    before += max(r * stride - low * wide for r, (low, _) in enumerate(spans))
    after += max((high + 1) * wide - (r + 1) * stride for r, (_, high) in enumerate(spans))
    return before, after


def _window(operation):
    """Side of the window in pixels and its step."""
    settings = operation.settings
    if "Pool" in operation.kind:
        size = _first(settings.pool_size)
        return size, _first(settings.strides or size)
    side = operation.operands[1].shape[0]
    return (side - 1) * _first(settings.dilation_rate) + 1, _first(settings.strides)


def _first(value):
    return value[0] if isinstance(value, (tuple, list)) else value


def _keeps_origin(operation):
    """Whether the first row and column stay the first: crops and padding at the end."""
    if operation.kind == "Concatenate":
        return len(operation.inputs) == 1 and operation.inputs[0] is operation.operands[0]
    slices = [x for x in operation.operands if isinstance(x, slice)]
    return all(not x.start and x.step in (None, 1) for x in slices)
