"""Forecasters as files for other runtimes: what `Forecaster.export` adds to Keras's own export."""

import importlib.util
import pathlib

import keras
from keras import ops

from keras_msrnn import checks

SUFFIXES = {
    "tf_saved_model": "",
    "onnx": ".onnx",
    "openvino": ".xml",
    "litert": ".tflite",
    "torch": ".pt2",
}
# What each backend can write, and the package that this takes.
FORMATS = {
    "tensorflow": {
        "tf_saved_model": None,
        "onnx": "tf2onnx",
        "openvino": "openvino",
        "litert": None,
    },
    "jax": {"tf_saved_model": "tensorflow"},
    "torch": {"onnx": "onnxscript", "openvino": "openvino", "torch": None},
}


def export(model, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
    """Writes a forecaster for another runtime; `Forecaster.export` explains the arguments."""
    _check_format(format)
    path = _check_path(filepath, format)
    if not model.built:
        raise ValueError(
            "A model must have weights to be exported. Received: a model that has not been built. "
            "Train it, load its weights, or call `predict` first."
        )
    spec = _context_spec(model, input_signature)
    if format == "litert" and spec.shape[0] is None:  # a free size takes operations of TensorFlow
        spec = _spec((1, *spec.shape[1:]), spec.dtype, "context")
    if format == "tf_saved_model":
        _write_saved_model(model, path, bool(verbose), spec, kwargs)
    elif keras.backend.backend() == "torch":
        _write_from_torch(model, path, format, spec, kwargs)
    else:
        keras.Model.export(model, str(path), format, bool(verbose), [spec], **kwargs)
    if verbose is not False:
        print(f"Exported to {path}: context {spec.shape}, horizon {model.horizon_or()}.")


def _check_format(format):
    backend = keras.backend.backend()
    if format not in SUFFIXES:
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, SUFFIXES))}. "
            f"Received: format={format!r}."
        )
    if format not in FORMATS[backend]:
        others = [name for name, formats in FORMATS.items() if format in formats]
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, FORMATS[backend]))} on the backend "
            f"{backend!r}. Received: format={format!r}. For this one save the model, "
            '`model.save("model.keras")`, and export it in a process with '
            f'KERAS_BACKEND={others[0]}: `keras.saving.load_model("model.keras").export(...)`.'
        )
    package = FORMATS[backend][format]
    if package is not None and importlib.util.find_spec(package) is None:
        raise ImportError(f"The export to {format!r} needs {package}: `pip install {package}`.")


def _check_path(filepath, format):
    path, suffix = pathlib.Path(filepath), SUFFIXES[format]
    if path.suffix != suffix and (suffix or path.suffix in SUFFIXES.values()):
        rule = f"end with {suffix!r}" if suffix else "be the name of a folder"
        raise ValueError(
            f"`filepath` must {rule} for format={format!r}. Received: filepath={str(filepath)!r}. "
            f"The format of each suffix: { {s: f for f, s in SUFFIXES.items() if s} }."
        )
    for file in {path, path.with_suffix(".bin") if format == "openvino" else path}:
        if file.exists():
            raise FileExistsError(f"{file} exists and is not overwritten. Choose another name.")
    return path


def _context_spec(model, signature):
    """The shape and dtype of the context, from what `export` was given or the model saw last."""
    while isinstance(signature, (list, tuple)) and len(signature) == 1:
        signature = signature[0]
    dtype = getattr(signature, "dtype", None) or model.variable_dtype
    shape = (None, *model.context_shape) if signature is None else signature
    shape = tuple(getattr(shape, "shape", shape))
    checks.check_context_shape(shape, model.channels)
    if None in shape[1:]:
        raise ValueError(
            "The context's time, height and width must be known to export a forecaster. Received: "
            f"input_signature={signature}, shape={shape}. Call `predict` first, or pass "
            "`input_signature=(None, time, height, width, channels)`."
        )
    return _spec(shape, keras.backend.standardize_dtype(dtype), "context")


def _spec(shape, dtype, name):
    return keras.InputSpec(shape=shape, dtype=dtype, name=name)


def _write_saved_model(model, path, verbose, context, kwargs):
    """A SavedModel with the endpoints `serve`, `start` and `update`."""
    batch, _, height, width, channels = context.shape
    frame = _spec((batch, height, width, channels), context.dtype, "frame")
    zeros = model.get_initial_state(1, (height, width))
    names = [f"state_{index}" for index in range(len(zeros))]
    states = {
        name: _spec((batch, *zero.shape[1:]), keras.backend.standardize_dtype(zero.dtype), name)
        for name, zero in zip(names, zeros)
    }

    def serve(context):
        return model(context, training=False)

    def start(frame):
        first = model.get_initial_state(ops.shape(frame)[0], (height, width))
        return update(frame, dict(zip(names, first)))

    def update(frame, states):
        frame = ops.cast(frame, model.variable_dtype)
        forecast, new = model.step(frame, [states[name] for name in names])
        forecast = model.continue_forecast(forecast, new, model.horizon_or())
        return {"forecast": forecast, **dict(zip(names, new))}

    if keras.backend.backend() == "jax":
        # No gradient is served, and a model that was trained on a GPU may be served without one.
        own = {"with_gradient": False, "native_serialization_platforms": ("cpu", "cuda")}
        kwargs = {**kwargs, "jax2tf_kwargs": {**own, **kwargs.get("jax2tf_kwargs", {})}}
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, [context], **kwargs)
    archive.add_endpoint("start", start, [frame], **kwargs)
    archive.add_endpoint("update", update, [frame, states], **kwargs)
    archive.write_out(str(path), verbose=verbose)


def _write_from_torch(model, path, format, context, kwargs):
    """By `torch.export`, which keeps the batch size free; Keras traces, which fixes all sizes."""
    import torch

    batch, *shape = context.shape
    sample = ops.ones((batch or 2, *shape), context.dtype)  # PyTorch takes 1 for fixed
    free = None if batch else [({0: torch.export.Dim("batch")},)]
    with torch.no_grad():
        program = torch.export.export(model, (sample,), dynamic_shapes=free, strict=False)
    if format == "torch":
        torch.export.save(program, path, **kwargs)
    elif format == "onnx":
        names = {"input_names": ["context"], "output_names": ["forecast"]}
        torch.onnx.export(program, dynamo=True, verbose=False, **names, **kwargs).save(path)
    else:
        import openvino

        converted = openvino.convert_model(program, **kwargs)
        converted.inputs[0].tensor.set_names({"context"})
        converted.outputs[0].tensor.set_names({"forecast"})
        openvino.save_model(converted, path, compress_to_fp16=False)
