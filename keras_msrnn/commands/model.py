"""Forecasters by the options of the command line."""

import ast

import keras

from keras_msrnn import losses
from keras_msrnn.commands.options import MODEL_DEFAULTS
from keras_msrnn.registry import build, find

LOSSES = ("paper", "balanced", "mse", "mae")


def build_model(options, **others):
    """A forecaster by options named as in `MODEL_DEFAULTS`; `others` are arguments of `build`."""
    options = {**MODEL_DEFAULTS, **{k: v for k, v in options.items() if k in MODEL_DEFAULTS}}
    model, prefixed = find(options.pop("model"))
    if prefixed and options["plain"]:
        raise ValueError(f"`--plain` contradicts the prefix of the name. Use {model.name!r}.")
    multiscale = not options.pop("plain")
    scales = options.pop("scales")
    if scales is not None:
        scales = scales[0] if len(scales) == 1 else tuple(scales)
    own = _parse_own(options.pop("set"))
    options = {key: None if value == "none" else value for key, value in options.items()}
    return build(model.name, multiscale, scales=scales, **options, **own, **others)


def title(options):
    """Name of the model, such as `MS-predrnn`."""
    options = {**MODEL_DEFAULTS, **options}
    return ("" if options["plain"] else "ms-") + find(options["model"])[0].name


def make_loss(name, units):
    if name == "balanced":
        if units is None:
            raise ValueError(
                "`--loss balanced` weighs pixels by their rain. Received: data that are not rain. "
                "Use another loss, or `--scaling rain` if values are mm/h."
            )
        return losses.BalancedSquaredPlusAbsoluteError(units)
    return losses.SquaredPlusAbsoluteError() if name == "paper" else name


def make_optimizer(learning_rate, schedule, steps):
    if not learning_rate > 0:
        raise ValueError(f"`--learning-rate` must be positive. Received: {learning_rate}.")
    if schedule == "cosine":
        warm_up = max(1, steps // 20)
        learning_rate = keras.optimizers.schedules.CosineDecay(
            learning_rate / 20, steps, warmup_target=learning_rate, warmup_steps=warm_up
        )
    return keras.optimizers.Adam(learning_rate)


def _parse_own(pairs):
    own = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals and text):
            raise ValueError(f"`--set` must be such as window=30. Received: {pair}.")
        try:
            own[name] = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            own[name] = text
    return own
