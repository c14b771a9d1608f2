"""What is searched: forecasters as a KerasTuner hypermodel, with a budget."""

import concurrent.futures
import math
from typing import Any

import keras
import keras_tuner

from keras_msrnn import registry
from keras_msrnn.cells.cell import positive_integer
from keras_msrnn.losses import SquaredPlusAbsoluteError
from keras_msrnn.profiling import profile
from keras_msrnn.profiling.tables import count, size
from keras_msrnn.tuning.memory import released_memory
from keras_msrnn.tuning.space import SPACE, make_part

COSTS = {"parameters": count, "multiply_adds": count, "training_memory": size}
_TRAINING = ("learning_rate", "sampling")  # change no cost


class ForecasterHyperModel(keras_tuner.HyperModel):
    """A search space of forecasters, for any tuner of KerasTuner.

    Each part of the space is a keyword: a list offers its values, any other value is fixed, and
    a function of KerasTuner's `hp` returns the value. Parts which are not given are those of
    `keras_msrnn.tuning.SPACE`, and `model` offers all of `keras_msrnn.list_models()`. A value of
    `scales` is a tuple; `pyramids` makes lists of them.

    The budget is checked by analysis, before a model has weights. Trials beyond it fail with the
    reason as their message. So do those whose coarsest maps would have less than one pixel, and
    combinations that cannot be built.

    Args:
        input_shape: `(time, height, width, channels)` of the context.
        horizon: Integer, number of frames to forecast.
        batch_size: Integer, sequences of a training batch. Arrays are split into such batches.
        max_training_memory: Limit in bytes of `keras_msrnn.profiling.Profile.training_memory`.
        max_parameters: Limit of the number of weights.
        max_multiply_adds: Limit of those of one sequence, forward.
        **space: Parts of the space: `model`, `learning_rate`, and all arguments of
            `keras_msrnn.build` for models and training. An option that only some models have,
            such as `links`, is left out for the others.

    Raises:
        TypeError: for a part that does not exist.
        ValueError: for a part without values, and, when a tuner is made, for a space or a budget
            which no configuration meets.

    Example:

    >>> hypermodel = ForecasterHyperModel(
    ...     (10, 64, 64, 1),
    ...     horizon=10,
    ...     max_training_memory=2e9,
    ...     model=["convlstm", "predrnn"],
    ...     scales=keras_msrnn.tuning.pyramids(cells=[4, 6]),
    ...     patch_size=4,
    ...     learning_rate=lambda hp: hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"),
    ... )
    >>> hp = keras_tuner.HyperParameters()
    >>> hypermodel.build(hp).rnn.scales, sorted(hypermodel.costs(hp))
    ((1, 2, 4, 4, 2, 1), ['multiply_adds', 'parameters', 'training_memory'])

    Reference:
        Ma et al., arXiv 2206.03010, section 3.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int, int],
        horizon: int,
        *,
        batch_size: int = 16,
        max_training_memory: float | None = None,
        max_parameters: float | None = None,
        max_multiply_adds: float | None = None,
        **space: Any,
    ):
        super().__init__()
        self.input_shape = tuple(positive_integer("input_shape", side) for side in input_shape)
        if len(self.input_shape) != 4:
            raise ValueError(
                "`input_shape` must be (time, height, width, channels) of the context. "
                f"Received: input_shape={input_shape}. The batch goes into `batch_size`."
            )
        self.horizon = positive_integer("horizon", horizon)
        self.batch_size = positive_integer("batch_size", batch_size)
        limits = (max_parameters, max_multiply_adds, max_training_memory)
        self.budget = {name: x for name, x in zip(COSTS, limits) if x is not None}
        for name, limit in self.budget.items():
            if not limit > 0:
                raise ValueError(
                    f"`max_{name}` must be positive. Received: max_{name}={limit}. Leave it out "
                    "to have no limit."
                )
        space = {"model": registry.list_models(), **SPACE, **space}
        self._parts = {name: make_part(name, value) for name, value in space.items()}
        self._costs: dict[str, dict[str, int]] = {}

    def declare_hyperparameters(self, hp):
        """Called when a tuner is made: declares the space, and looks whether it is empty."""
        self.arguments(hp)
        self._find_possible(hp.copy())

    def arguments(self, hp: keras_tuner.HyperParameters) -> dict[str, Any]:
        """Returns the value of each part of the space for a configuration."""
        return {name: part(hp) for name, part in self._parts.items()}

    def build(self, hp: keras_tuner.HyperParameters):
        """Returns the compiled forecaster of a configuration, without weights if it is rejected."""
        model = self._build_forecaster(self.arguments(hp))
        if self.rejection(hp) is None:
            model.build((None, *self.input_shape))
            model.optimizer.build(model.trainable_variables)  # KerasTuner saves its state too
        return model

    def _build_forecaster(self, arguments):
        arguments = dict(arguments)
        name, rate = arguments.pop("model"), arguments.pop("learning_rate")
        options = registry.find(name)[0].options
        arguments = {
            k: v for k, v in arguments.items() if k in options or k in registry.build.__kwdefaults__
        }
        model = registry.build(name, horizon=self.horizon, **arguments)
        model.compile(optimizer=keras.optimizers.Adam(rate), loss=SquaredPlusAbsoluteError())
        return model

    def costs(self, hp: keras_tuner.HyperParameters) -> dict[str, int]:
        """Returns training memory (bytes), parameters and multiply-adds, found by analysis."""
        return self._find_costs(self.arguments(hp))

    def _find_costs(self, arguments):
        key = repr([item for item in arguments.items() if item[0] not in _TRAINING])
        if key not in self._costs:
            model = self._build_forecaster(arguments)
            with concurrent.futures.ThreadPoolExecutor(1) as thread:
                costs = thread.submit(self._analyse, model, keras.config.dtype_policy()).result()
            self._costs[key] = {name: getattr(costs, name) for name in COSTS}
        return self._costs[key]

    def _analyse(self, model, policy):
        """Profiles a model whose weights have shapes and no values.

        Keras notes in the thread's state that such weights wait for their values, and would make
        them in the next training of this thread. So this runs in a thread of its own.
        """
        keras.config.set_dtype_policy(policy)
        with keras.StatelessScope(initialize_variables=False):
            model.build((None, *self.input_shape))
            return profile(
                model, self.input_shape, horizon=self.horizon, batch_size=self.batch_size
            )

    def rejection(self, hp: keras_tuner.HyperParameters) -> str | None:
        """Returns why a configuration is not tried, such as `"over budget: ..."`, or `None`."""
        arguments = self.arguments(hp)
        coarse = self._too_coarse(arguments)
        if coarse:
            return coarse
        try:
            costs = self._find_costs(arguments)
        except Exception as error:  # of any cell, also of users
            return f"impossible: {type(error).__name__}: {error}"
        beyond = [
            f"{name.replace('_', ' ')} {COSTS[name](costs[name])} > {COSTS[name](limit)}"
            for name, limit in self.budget.items()
            if costs[name] > limit
        ]
        return f"over budget: {', '.join(beyond)}" if beyond else None

    def _too_coarse(self, arguments):
        scale, patch_size = max(_tuple(arguments["scales"])), arguments["patch_size"]
        height, width = self.input_shape[1:3]
        if scale * patch_size <= min(height, width):
            return None
        return (
            f"too coarse: scale {scale} with patches of {patch_size} for frames of "
            f"{height} x {width}"
        )

    def _find_possible(self, hp):
        """Raises unless it finds a configuration that is not rejected.

        It takes the defaults, then for one part after the other the value that costs least.
        """
        best, problem = self._excess(hp)
        for parameter in hp.space:
            values = dict.fromkeys([hp.values.get(parameter.name), *parameter.values])
            found = []
            for value in values if best > 1 else ():
                hp.values[parameter.name] = value
                found.append((*self._excess(hp), value))
                if found[-1][0] <= 1:
                    return
            if found:
                best, problem, hp.values[parameter.name] = min(found, key=lambda entry: entry[0])
        if best > 1:
            raise ValueError(
                "The space must hold a configuration that can be built and keeps to the budget. "
                f"Received: a space whose smallest one is {hp.values}, {problem.rstrip('.')}. "
                "Offer other values, or raise the limits."
            )

    def _excess(self, hp):
        """The largest ratio of costs to limits, 1 where all are kept, and what is wrong."""
        reason = self.rejection(hp)
        if reason is None:
            return 1, None
        if reason.startswith("impossible"):
            return math.inf, reason
        costs = self.costs(hp)
        ratios = [costs[name] / limit for name, limit in self.budget.items()]
        return max([1, *ratios]) * (1e6 if reason.startswith("too coarse") else 1), reason

    def fit(self, hp, model, *args, **kwargs):
        """Trains a model of the space; takes the arguments of `keras.Model.fit`.

        Adds `memory_gb`, the analysed training memory in GB, to the logs.

        Raises:
            keras_tuner.errors.FailedTrialError: for a configuration that is rejected.
        """
        reason = self.rejection(hp)
        if reason is not None:
            raise keras_tuner.errors.FailedTrialError(reason)
        context = args[0] if args else kwargs.get("x")
        if hasattr(context, "shape"):
            kwargs.setdefault("batch_size", self.batch_size)
        elif isinstance(context, keras.utils.PyDataset):
            context = context[0][0]
        shape = tuple(getattr(context, "shape", (None, *self.input_shape)))[1:]
        if shape != self.input_shape:
            raise keras_tuner.errors.FatalValueError(
                "The context must have the `input_shape` of the hypermodel. "
                f"Received: frames {shape} and input_shape={self.input_shape}."
            )
        memory = _MemoryInLogs(self.costs(hp)["training_memory"] / 1e9)
        callbacks = [memory, *(kwargs.pop("callbacks", None) or [])]
        with released_memory():
            return model.fit(*args, callbacks=callbacks, **kwargs)


class ErrorMemoryObjective(keras_tuner.Objective):
    """An objective of KerasTuner: forecast error times a power of the training memory.

    The weighted product `error * memory_gb ** exponent` is minimised. With the exponent 0.1,
    half the memory is worth 7 % of error.

    Args:
        error: Name of a metric to be minimised.
        exponent: Float, the weight of the memory.

    Example:

    >>> objective = ErrorMemoryObjective("val_loss", exponent=0.5)
    >>> objective.name, objective.get_value({"val_loss": 10.0, "memory_gb": 0.25})
    ('val_loss*memory_gb^0.5', 5.0)

    Reference:
        Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile",
        arXiv 1807.11626, equation 2.
    """

    def __init__(self, error: str = "val_loss", exponent: float = 0.1):
        super().__init__(f"{error}*memory_gb^{exponent:g}", "min")
        self.error, self.exponent = error, exponent

    def has_value(self, logs):
        return self.error in logs and "memory_gb" in logs

    def get_value(self, logs):
        return logs[self.error] * logs["memory_gb"] ** self.exponent


class _MemoryInLogs(keras.callbacks.Callback):
    def __init__(self, memory):
        super().__init__()
        self.memory = memory

    def on_epoch_end(self, epoch, logs=None):
        logs["memory_gb"] = self.memory


def _tuple(scales):
    return registry._scales(scales, multiscale=True)
