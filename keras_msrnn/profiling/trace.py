"""One step of a model as a list of operations, found from shapes alone.

Keras's own symbolic tensors, which have a shape and a dtype but no values, go through the step.
Every operation of `keras.ops` that meets one is recorded, also inside layers, so that nothing needs
to be known about a cell and the record is the same on every backend.
"""

import contextlib
import dataclasses
import threading

import keras
from keras import ops, tree

from keras_msrnn import backend

EMBEDDING, PYRAMID = "embedding, head", "pyramid"  # owners besides the cells, 0, 1, ...
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """An operation that was recorded.

    Args:
        kind: Name of the class of the Keras operation, such as `"Conv"`.
        settings: The Keras operation, with its strides and the like.
        operands: Its arguments, symbolic tensors and others, in a flat list.
        outputs: The symbolic tensors that it returns.
        owner: Index of the cell that ran it, `PYRAMID` or `EMBEDDING`.
        repeat: How often it runs in one step, more than once in a loop.
        region: `None`, or the number of the function within the step whose activations the
            backward pass computes again.
    """

    kind: str
    settings: object
    operands: list
    outputs: list
    owner: int | str
    repeat: int
    region: int | None

    @property
    def inputs(self):
        """The operands that are symbolic tensors."""
        return [x for x in self.operands if _is_symbolic(x)]


class Trace:
    """Records one training step of a `Forecaster` or a `MultiScaleRNN` for one sample.

    Args:
        model: The model or stack, built.
        frame_shape: `(height, width, channels)`.

    Attributes:
        operations: The operations in the order in which they run.
        frame, states, output, new_states: Symbolic tensors into and out of the step.
        features, stack_output: The same of the stack, without embedding and head.
        cell_outputs: The output of each cell.
        rows: Height of the stack's maps at scale 1, with padding.
        opaque: Names of layers and operations which could not be looked into.
    """

    def __init__(self, model, frame_shape):
        self.operations, self.opaque = [], []
        self.cell_outputs, self._discarded = {}, []
        self._owner, self._repeat, self._region, self._regions = EMBEDDING, 1, None, 0
        self._original = {name: getattr(backend, name) for name in ("scan", "rematerialise")}
        rnn = getattr(model, "rnn", model)
        height, width, _ = frame_shape
        patch = getattr(model, "patch_size", 1)
        self.frame = keras.KerasTensor((1, *frame_shape), model.variable_dtype)
        self.states = [
            keras.KerasTensor(shape, rnn.compute_dtype)
            for shape in rnn._state_shapes(1, -(-height // patch), -(-width // patch))
        ]
        self._known = {id(x) for x in [self.frame, *self.states]}
        with _LOCK, self._recording(rnn):
            step = rnn.step_with_loss if model is rnn else model._step_with_loss
            self.output, self.new_states, _ = step(self.frame, self.states, training=True)

    @contextlib.contextmanager
    def _recording(self, rnn):
        """While it lasts, symbolic tensors are followed through layers and backend functions."""
        nodes = {}
        call_operation, call_layer = self._keras_hooks(nodes)
        replacements = [
            (keras.Operation, "symbolic_call", call_operation),
            (keras.layers.Layer, "symbolic_call", call_layer),
            (backend, "convolution", _convolution),
            (backend, "scan", self._scan),
            (backend, "rematerialise", self._rematerialise),
        ]
        originals = [getattr(owner, name) for owner, name, _ in replacements]
        try:
            for owner, name, value in replacements:
                setattr(owner, name, value)
            vars(rnn).update(self._stack_hooks(rnn))
            yield
        finally:
            for (owner, name, _), value in zip(replacements, originals):
                setattr(owner, name, value)
            for name in ("step_with_loss", "call_cell"):
                vars(rnn).pop(name, None)
            for layer, count in nodes.items():  # Keras notes symbolic calls on the layer
                del layer._inbound_nodes[count:]

    def _keras_hooks(self, nodes):
        """What Keras calls for operations and layers that meet a symbolic tensor."""
        operation_call, layer_call = keras.Operation.symbolic_call, keras.layers.Layer.symbolic_call

        def call_operation(operation, *args, **kwargs):
            if not self._knows(args, kwargs):
                return operation_call(operation, *args, **kwargs)
            outputs = operation.compute_output_spec(*args, **kwargs)
            return self._record(operation, (args, kwargs), outputs)

        def call_layer(layer, *args, **kwargs):
            if not self._knows(args, kwargs):
                return layer_call(layer, *args, **kwargs)
            nodes.setdefault(layer, len(layer._inbound_nodes))
            return self._look_into(layer, layer.call, args, kwargs)

        return call_operation, call_layer

    def _stack_hooks(self, rnn):
        """Methods of the stack that note who runs what."""
        step_with_loss, call_cell = rnn.step_with_loss, rnn.call_cell

        def traced_stack(inputs, states, training=None):
            with self._with(owner=PYRAMID):
                self.features = inputs
                results = step_with_loss(inputs, states, training)
                self.stack_output = results[0]
                return results

        def traced_cell(cell, inputs, states, training):
            index = next(i for i, other in enumerate(rnn.cells) if other is cell)
            self.rows = inputs.shape[1] * rnn.scales[index]
            loss = None

            def call(inputs, states, training):
                nonlocal loss
                output, states, loss = call_cell(cell, inputs, states, training)
                return output, states

            with self._with(owner=index):
                arguments = {"training": training}
                output, states = self._look_into(cell, call, (inputs, states), arguments)
            self.cell_outputs[index] = output
            return output, states, loss

        return {"step_with_loss": traced_stack, "call_cell": traced_cell}

    @contextlib.contextmanager
    def _with(self, **changes):
        old = {f"_{name}": getattr(self, f"_{name}") for name in changes}
        vars(self).update({f"_{name}": value for name, value in changes.items()})
        try:
            yield
        finally:
            vars(self).update(old)

    def _knows(self, *arguments):
        """Whether a call is of this trace, not of another thread or of a model being built."""
        return any(id(x) in self._known for x in tree.flatten(arguments))

    def _record(self, operation, arguments, outputs):
        kind = operation if isinstance(operation, str) else type(operation).__name__
        self._known.update(map(id, tree.flatten(outputs)))
        if kind in LOOPS:
            self.opaque.append(kind)
        self.operations.append(
            Operation(
                kind,
                operation,
                tree.flatten(arguments),
                tree.flatten(outputs),
                self._owner,
                self._repeat,
                self._region,
            )
        )
        return outputs

    def _look_into(self, layer, call, args, kwargs):
        """Calls a layer; one that is not written in `keras.ops` becomes one operation."""
        count = len(self.operations)
        try:
            return call(*args, **kwargs)
        except Exception:
            self._discarded += self.operations[count:]  # kept, for tensors are known by id
            del self.operations[count:]
            outputs = layer.compute_output_spec(*args, **kwargs)
            self.opaque.append(layer.name)
            return self._record(layer, (args, kwargs), outputs)

    def _scan(self, step, carry, xs, like, weights=(), remat=None, parallel=True):
        if not any(map(_is_symbolic, tree.flatten((carry, xs)))):
            return self._original["scan"](step, carry, xs, like, weights, remat, parallel)
        steps = xs if isinstance(xs, int) else tree.flatten(xs)[0].shape[0]

        def element(x):
            output = keras.KerasTensor(x.shape[1:], x.dtype)
            return self._record("GetItem", [x], output)

        def stack(y):
            return self._record("Stack", [y], keras.KerasTensor((steps, *y.shape), y.dtype))

        x = None if isinstance(xs, int) else tree.map_structure(element, xs)
        with self._with(repeat=self._repeat * steps):
            step = step if remat is None else self._rematerialise(step)
            carry, y = step(carry, x)
        return carry, tree.map_structure(stack, y)

    def _rematerialise(self, function, weights=()):
        def run(*args):
            self._regions += self._region is None
            with self._with(region=self._regions):
                return function(*args)

        return run


# Operations of `keras.ops` that run functions of the user's.
LOOPS = ("AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "WhileLoop")


def _is_symbolic(x):
    return isinstance(x, keras.KerasTensor)


def _convolution(inputs, kernel, bias=None, strides=1, padding="same"):
    outputs = ops.conv(inputs, kernel, strides, padding, data_format="channels_last")
    return outputs if bias is None else outputs + bias
