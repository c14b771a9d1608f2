"""Exports every model in every format of the backend, and compares the forecasts elsewhere.

    KERAS_BACKEND=jax python tests/export_matrix.py [model or format ...]

prints a table, for each model plain and multi-scale, of the largest difference to `predict` in the
other runtime, or the error. Batches of 2 and of 1 (LiteRT: 1) go through the same file, and frames
one by one through a SavedModel.
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
import traceback

sys.modules.update(dict.fromkeys(("keras", "keras_msrnn", "jax", "torch")))
import numpy as np
import tensorflow as tf


def forecasts(served, contexts):
    reply = served.start(contexts[:, 0])
    for frame in np.moveaxis(contexts[:, 1:], 1, 0):
        reply.pop("forecast")
        reply = served.update(frame, reply)
    whole, one = served.serve(contexts), served.serve(contexts[:1])
    return {"whole": whole, "one": one, "streamed": reply["forecast"]}


contexts = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    try:
        np.savez(folder + ".npz", **forecasts(tf.saved_model.load(folder), contexts))
    except Exception:
        traceback.print_exc()
"""


def forecast_with_tensorflow(folders, context):
    """Serves SavedModels in another process; the forecasts of each by name, `None` if it fails."""
    contexts = f"{folders[0]}_context.npy"
    np.save(contexts, context)
    subprocess.run([sys.executable, "-c", SERVE, contexts, *map(str, folders)], check=True)
    files = [pathlib.Path(f"{folder}.npz") for folder in folders]
    return [np.load(file) if file.exists() else None for file in files]


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


def main(arguments):
    # OpenVINO reports each conversion to its makers, from a forked process. Not from here.
    sys.modules.setdefault("openvino_telemetry", None)
    context = np.random.default_rng(0).uniform(size=(2, 2, 10, 12, 1)).astype("float32")
    possible, rows = FORMATS[keras.backend.backend()], {}
    formats = [f for f in possible if f in arguments] or list(possible)
    names = [name for name in arguments if name not in possible] or keras_msrnn.list_models()
    with tempfile.TemporaryDirectory() as root:
        folders = {}
        for name in names:
            for multiscale in (False, True):
                title = "ms-" * multiscale + name
                folder = pathlib.Path(root, title)
                folder.mkdir()
                options = {"filters": 4, "scales": 3, "horizon": 2, "seed": 0}
                model = keras_msrnn.build(name, multiscale, **options)
                expected = model.predict(context, verbose=0)
                rows[title] = {f: check(model, f, folder, context, expected) for f in formats}
                if rows[title].get("tf_saved_model") == "exported":
                    folders[title] = folder / "model", expected
                seconds = f"{time.process_time():.0f} s"
                print(title, rows[title], seconds, file=sys.stderr, flush=True)
        if folders:
            served = forecast_with_tensorflow([folder for folder, _ in folders.values()], context)
            for title, found in zip(folders, served):
                found = found and [found[key] for key in ("whole", "one", "streamed")]
                rows[title]["tf_saved_model"] = difference(found, folders[title][1])
    print(f"| model | {' | '.join(formats)} |", "|---" * (1 + len(formats)) + "|", sep="\n")
    for title, row in rows.items():
        print(f"| {title} | {' | '.join(row.values())} |")


def check(model, format, folder, context, expected):
    """The largest difference, or what went wrong; `"exported"` for what is served later."""
    path = pathlib.Path(folder, "model" + SUFFIXES[format])
    try:
        model.export(path, format, verbose=False)
        if format == "tf_saved_model":
            return "exported"
        sizes = (1,) if format == "litert" else (2, 1)
        return difference([forecast_elsewhere(path, context[:n]) for n in sizes], expected)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[-300:].replace("\n", " ").replace("|", "/")


def difference(found, expected):
    if found is None:
        return "fails when it is served"
    return f"{max(float(np.abs(x - expected[: len(x)]).max()) for x in found):.0e}"


if __name__ == "__main__":
    main(sys.argv[1:])
