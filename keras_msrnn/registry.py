"""The models by name: `register` adds one, `build` makes a compiled forecaster of one."""

import dataclasses
import difflib
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Model:
    """What the package knows about a model; see `register`."""

    name: str
    cell: Callable
    paper: str
    options: tuple[str, ...]
    rnn: type | None
    sampling: str


_MODELS: dict[str, Model] = {}
_ALIASES: dict[str, str] = {}


def register(name, cell=None, *, paper="", options=(), rnn=None, sampling="scheduled", aliases=()):
    """Registers a model under a name, for `build` and everything that goes through the models.

    Works as a function, or as a decorator of the cell:

    >>> @keras_msrnn.register("my-cell")
    ... class MyCell(keras_msrnn.cells.ConvLSTMCell):
    ...     pass
    >>> model = keras_msrnn.build("my-cell", multiscale=True)

    Args:
        name: String. Case, `-` and `_` do not matter when it is looked up.
        cell: A cell class, called as `cell(filters, **options)` for each cell of the stack, or a
            function `cell(index, count, filters, **options)` that returns cell number `index` of
            `count`. `options` are `kernel_size`, `seed`, `dtype` and the names in `options`.
        paper: String, where the model was published.
        options: Names of the arguments of `build` that are handed to this model's cells only.
        rnn: Subclass of `MultiScaleRNN` that stacks the cells, where a model needs its own.
        sampling: Name of the model's sampling schedule.
        aliases: Other names.

    Raises:
        ValueError: if the name is taken by another cell.
    """
    if cell is None:
        return lambda cell: (
            register(
                name,
                cell,
                paper=paper,
                options=options,
                rnn=rnn,
                sampling=sampling,
                aliases=aliases,
            )
            and cell
        )
    key = _normalise(name)
    taken = _MODELS.get(_ALIASES.get(key, key))
    if taken and (taken.cell.__module__, taken.cell.__qualname__) != (
        cell.__module__,
        cell.__qualname__,
    ):
        raise ValueError(
            f"`name` must not be in use. Received: name={name!r}, under which {taken.cell} is "
            "registered. Choose another name."
        )
    model = Model(name, cell, paper, tuple(options), rnn, sampling)
    _MODELS[key] = model
    _ALIASES.update({_normalise(alias): key for alias in aliases})
    return model


def list_models() -> list[str]:
    """Returns the names of the registered models, in alphabetical order.

    >>> "convlstm" in keras_msrnn.list_models()
    True
    """
    return sorted(model.name for model in _MODELS.values())


def find(name) -> tuple[Model, bool]:
    """Looks up a model; also returns whether the name has the `ms-` prefix."""
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a string. Received: name={name!r}.")
    key = _normalise(name)
    key = _ALIASES.get(key, key)
    if key in _MODELS:
        return _MODELS[key], _normalise(name).startswith("ms")
    if key.startswith("ms") and key[2:] in _MODELS:
        return _MODELS[key[2:]], True
    close = difflib.get_close_matches(key.removeprefix("ms"), _MODELS, n=1, cutoff=0.5)
    hint = f"Did you mean {_MODELS[close[0]].name!r}? " if close else ""
    raise ValueError(
        f"`name` must be a registered model. Received: name={name!r}. {hint}"
        f"The models are {', '.join(list_models())}; `keras_msrnn.register` adds one."
    )


def _normalise(name):
    return name.lower().replace("-", "").replace("_", "").replace(" ", "").replace("+", "p")


def build(
    name,
    multiscale=True,
    *,
    filters=64,
    kernel_size=3,
    scales=None,
    skip="add",
    pooling="max",
    interpolation="bilinear",
    horizon=None,
    channels=None,
    patch_size=1,
    sampling="auto",
    remat=None,
    fill_missing=None,
    check_finite=False,
    seed=None,
    dtype=None,
    **options,
):
    """Builds a forecaster, compiled as in the MS-RNN paper and ready for `fit`.

    Args:
        name: String, one of `list_models()`. Case, `-`, `_` do not matter; an `ms-` prefix asks
            for the multi-scale form.
        multiscale: Boolean, whether the cells form a pyramid of scales.
        filters: Integer, number of channels of the cells; or a dictionary from scales to them, such
            as `{1: 16, 2: 32, 4: 64}`. MotionRNN and PredRNN-V2 need the same at all scales.
        kernel_size: Integer, side of the cells' kernels.
        scales: Tuple with the scale of each cell (2 means half the height and width), or the
            number of cells. By default 6 cells, at the scales `(1, 2, 4, 4, 2, 1)` or all at 1.
        skip: Skip connections of the pyramid, `"add"`, `None`, `"unet3+"` or `"full"`.
        pooling: `"max"`, `"average"` or `"convolution"` (strided, learned), how the signal is
            brought to a coarser scale.
        interpolation: `"bilinear"`, `"nearest"` or `"transposed_convolution"` (learned), how it is
            brought to a finer one.
        horizon: Integer, number of frames that `predict` forecasts. By default as many as the
            `future` of the first `fit` has, and 10 before that.
        channels: Integer, number of channels of a frame; by default taken from the data.
        patch_size: Integer `p`. Patches of `p` x `p` pixels become channels before the cells
            (space to depth), as in PredRNN: `p * p` times less memory and time, less detail.
        sampling: `"scheduled"`, `"reverse_scheduled"`, a schedule of `keras_msrnn.sampling`, or
            `None` to train on the model's own forecasts from the start. By default the model's.
        remat: `None`, `"step"` or `"sqrt"`: activations that the backward pass computes again
            instead of keeping them: none, those of every step, or also most of the states.
        fill_missing: Float that the model sees in place of NaN, such as 0 for missing radar data.
            By default NaN spreads over the forecasts of its sample.
        check_finite: Boolean, whether `fit`, `evaluate` and `predict` look for NaN and infinite
            frames and raise `ValueError` before they reach the model.
        seed: Integer, makes the initial weights and the sampling reproducible.
        dtype: Dtype or policy such as `"mixed_bfloat16"`.
        **options: What the model has of its own: `links` (TrajGRU), `window` (PrecipLSTM),
            `large_kernel_size` (MK-LSTM), and `compat="reference"` for the behaviour of the
            authors' released code.

    Returns:
        A `Forecaster`, compiled with Adam (learning rate 3e-4) and the loss of the paper.

    Example:

    >>> model = keras_msrnn.build("motionrnn", multiscale=True, filters=4, scales=(1, 2, 1))
    >>> context, future = np.random.rand(2, 4, 5, 16, 16, 1).astype("float32")
    >>> history = model.fit(context, future, verbose=0)
    >>> model.predict(context, verbose=0).shape
    (4, 5, 16, 16, 1)

    Raises:
        ValueError: for an unknown name, scales that cannot work, or an unknown option's value.
        TypeError: for an option which the model does not have.

    Reference:
        Ma et al., "MS-RNN: A Flexible Multi-Scale Framework for Spatiotemporal Predictive
        Learning", arXiv 2206.03010.
    """
    import keras

    from keras_msrnn.forecaster import Forecaster
    from keras_msrnn.losses import SquaredPlusAbsoluteError
    from keras_msrnn.multi_scale_rnn import MultiScaleRNN

    model, prefixed = find(name)
    if prefixed and not multiscale:
        raise ValueError(
            f"`multiscale=False` contradicts the prefix of the name. Received: name={name!r}. "
            f"Use {model.name!r} for the plain model."
        )
    if options.get("compat") is None or "compat" not in model.options:
        _check_compat(options.pop("compat", None))
    for option in options:
        if option not in model.options:
            own = ", ".join(model.options) or "none"
            raise TypeError(
                f"`{option}` is not an option of {model.name!r}. "
                f"Received: {option}={options[option]!r}. Options of its own: {own}."
            )
    scales = _scales(scales, multiscale)
    cells = []
    for index, cell_filters in enumerate(_filters(filters, scales)):
        cell_options = {
            "kernel_size": kernel_size,
            "seed": None if seed is None else 100 * seed + index,
            "dtype": dtype,
            **options,
        }
        if isinstance(model.cell, type):
            cells.append(model.cell(cell_filters, **cell_options))
        else:
            cells.append(model.cell(index, len(scales), cell_filters, **cell_options))
    rnn = (model.rnn or MultiScaleRNN)(
        cells,
        scales=scales,
        skip=skip,
        pooling=pooling,
        interpolation=interpolation,
        remat=remat,
        dtype=dtype,
    )
    forecaster = Forecaster(
        rnn,
        horizon=horizon,
        channels=channels,
        patch_size=patch_size,
        sampling=model.sampling if sampling == "auto" else sampling,
        fill_missing=fill_missing,
        check_finite=check_finite,
        seed=seed,
        dtype=dtype,
    )
    forecaster.compile(optimizer=keras.optimizers.Adam(3e-4), loss=SquaredPlusAbsoluteError())
    return forecaster


def _check_compat(compat):
    from keras_msrnn.cells.spatial import check_compat

    check_compat(compat)


def _filters(filters, scales):
    """The filters of each cell, from an integer or a dictionary of scales."""
    if not isinstance(filters, dict):
        return [filters] * len(scales)
    missing = sorted(set(scales) - set(filters))
    if missing:
        raise ValueError(
            "`filters` must have an entry for each scale. "
            f"Received: filters={filters} and scales={scales}, without one for {missing}."
        )
    return [filters[scale] for scale in scales]


def _scales(scales, multiscale):
    """The scale of each cell, from a tuple, a number of cells, or nothing."""
    if scales is None:
        scales = 6
    if isinstance(scales, int) and not isinstance(scales, bool):
        if scales < 1:
            raise ValueError(
                "`scales` must hold at least one cell. "
                f"Received: scales={scales}. Give the number of cells, or the scale of each."
            )
        if not multiscale:
            return (1,) * scales
        return tuple(2 ** min(index, scales - 1 - index, 2) for index in range(scales))
    if not multiscale and any(scale != 1 for scale in scales):
        raise ValueError(
            "`scales` must all be 1 in a plain model. "
            f"Received: multiscale=False, scales={scales}. Use multiscale=True, or give the "
            f"number of cells: scales={len(scales)}."
        )
    return tuple(scales)
