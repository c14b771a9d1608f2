"""Exports every model in every format of the backend, and compares the forecasts elsewhere.

    KERAS_BACKEND=jax python tests/export_matrix.py [model ...]

prints a line for each model, plain and multi-scale, with the largest difference to `predict` in the
other runtime, or the error; batches of 2 and of 1 (LiteRT: 1) go through the same file.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_msrnn
from keras_msrnn.export import FORMATS, SUFFIXES

# TensorFlow alone, which imports Keras itself if it is there.
SERVE = """
import sys
sys.modules.update(dict.fromkeys(("keras", "keras_msrnn", "jax", "torch")))
import numpy as np
import tensorflow as tf

for folder in sys.argv[1:]:
    served, contexts = tf.saved_model.load(folder), np.load(folder + ".npy")
    reply = served.start(contexts[:, 0])
    for frame in np.moveaxis(contexts[:, 1:], 1, 0):
        forecast = reply.pop("forecast")
        reply = served.update(frame, reply)
    whole, one = served.serve(contexts), served.serve(contexts[:1])
    np.savez(folder + ".npz", whole=whole, one=one, streamed=reply["forecast"])
"""


def forecast_with_tensorflow(folders, context):
    """Loads SavedModels in one other process; the forecasts of each by name."""
    for folder in folders:
        np.save(f"{folder}.npy", context)
    subprocess.run([sys.executable, "-c", SERVE, *map(str, folders)], check=True)
    return [np.load(f"{folder}.npz") for folder in folders]


def forecast_elsewhere(path, context):
    """The forecasts of an exported file, other than a SavedModel, in its own runtime."""
    path = pathlib.Path(path)
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return session.run(None, {"context": context})[0]
    if path.suffix == ".xml":
        import openvino

        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        return openvino.compile_model(path, "CPU", exact)({"context": context})[0]
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        [forecast] = Interpreter(str(path)).get_signature_runner()(context=context).values()
        return forecast
    import torch

    return torch.export.load(path).module()(torch.from_numpy(context)).detach().numpy()


def main(names):
    context = np.random.default_rng(0).uniform(size=(2, 3, 18, 20, 1)).astype("float32")
    backend = keras.backend.backend()
    print("| model | " + " | ".join(FORMATS[backend]) + " |", flush=True)
    for name in names or keras_msrnn.list_models():
        for multiscale in (False, True):
            model = keras_msrnn.build(name, multiscale, filters=4, scales=3, horizon=4, seed=0)
            expected = model.predict(context, verbose=0)
            with tempfile.TemporaryDirectory() as folder:
                row = [check(model, f, folder, context, expected) for f in FORMATS[backend]]
            print(f"| {'ms-' * multiscale}{name} | {' | '.join(row)} |", flush=True)


def check(model, format, folder, context, expected):
    path, begin = pathlib.Path(folder, "model" + SUFFIXES[format]), time.perf_counter()
    try:
        model.export(path, format, verbose=False)
        seconds = time.perf_counter() - begin
        if format == "tf_saved_model":
            [found] = forecast_with_tensorflow([path], context)
            found = [found[key] for key in ("whole", "one", "streamed")]
        elif format == "litert":
            found = [forecast_elsewhere(path, context[:1])]
        else:
            found = [forecast_elsewhere(path, context[:n]) for n in (2, 1)]
        error = max(float(np.abs(x - expected[: len(x)]).max()) for x in found)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[-300:].replace("\n", " ").replace("|", "/")
    return f"{error:.0e}, {seconds:.0f} s"


if __name__ == "__main__":
    main(sys.argv[1:])
