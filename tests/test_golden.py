"""Every model against stored outputs, losses and gradients of an independent implementation.

`golden/*.npz` hold, for a model in a small size, the names and shapes of the weights of a
checkpoint of the authors' release, whose values follow from the names, and the numbers they give.
"""

import json
import pathlib
import zlib

import keras
import numpy as np
import pytest

import keras_msrnn
from keras_msrnn import convert

FILES = sorted((pathlib.Path(__file__).parent / "golden").glob("*.npz"))
# Step by step; the plain forms of both are compiled, as all others are.
EAGER = {"ms_motionrnn.reference", "ms_trajgru.reference"}
SKIPS = {"-FC": "full", "-UNet3+": "unet3+", "-WO-Skip": None}


def weights_and_frames(golden, config):
    weights = {}
    for name, shape in json.loads(str(golden["weights"])).items():
        random = np.random.RandomState((zlib.crc32(name.encode()) + config["seed"]) % 2**32)
        scale = 1.3 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights[name] = (random.standard_normal(shape) * scale).astype("float32")
    checksum = sum(w.sum(dtype="float64") for w in weights.values())
    np.testing.assert_allclose(checksum, golden["weights_checksum"], rtol=1e-6)

    shape = config["B"], config["chan"], config["H"] // 2, config["W"] // 2
    base = np.random.RandomState(config["seed"]).uniform(0, 1, shape)
    base = base.repeat(2, axis=2).repeat(2, axis=3).transpose(0, 2, 3, 1)
    times = range(config["tin"] + config["tout"])
    frames = np.stack([np.roll(base, (t, t), axis=(1, 2)) for t in times], axis=1)
    frames = frames.astype("float32")
    np.testing.assert_allclose(frames.sum(dtype="float64"), golden["frames_checksum"], rtol=1e-7)
    return weights, frames


def golden_model(config, run_eagerly):
    name = config["model"]
    options = {"filters": config["C"], "kernel_size": config["kernel"]}
    for ending, skip in SKIPS.items():
        if name.endswith(ending):
            name, options["skip"] = name.removesuffix(ending), skip
    if "PrecipLSTM" in name:
        options["window"] = config["la"]
    if "TrajGRU" in name:
        options["links"] = config["links"]
    if not config["exact_warp"]:
        options["compat"] = "reference"
    model = keras_msrnn.build(
        name,
        multiscale=name.startswith("MS-"),
        channels=config["chan"],
        horizon=config["tout"],
        sampling=None,
        **options,
    )
    # With this optimizer the change of the weights in one step is the gradient.
    optimizer = keras.optimizers.SGD(1.0)
    model.compile(optimizer=optimizer, loss=model.loss, run_eagerly=run_eagerly)
    return model


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_outputs_loss_and_gradients(path):
    golden = np.load(path)
    config = json.loads(str(golden["config"]))
    weights, frames = weights_and_frames(golden, config)
    model = golden_model(config, run_eagerly=path.stem in EAGER)
    convert.load_reference_weights(model, {f"module.{n}": w for n, w in weights.items()})
    context, future = frames[:, : config["tin"]], frames[:, config["tin"] :]

    outputs = golden["outputs"]
    forecast = model.predict(context, batch_size=config["B"], verbose=0)
    error = np.abs(forecast - outputs[:, config["tin"] - 1 :]).max()
    assert error < 1e-4 * np.abs(outputs).max()

    entries = convert.reference_entries(model)
    before = {id(v): keras.ops.convert_to_numpy(v).copy() for v in model.trainable_variables}
    history = model.fit(context, future, batch_size=config["B"], verbose=0)
    np.testing.assert_allclose(history.history["loss"][0], golden["loss"], rtol=1e-5)

    norms = json.loads(str(golden["gradient_norms"]))
    largest = max(norm for norm in norms.values() if norm)
    names = {name.replace("rnns.lstms.", "rnns.lstm."): name for name in norms}
    for name, entry in entries.items():
        gradient = before[id(entry.weight)] - keras.ops.convert_to_numpy(entry.weight)
        norm = np.linalg.norm(gradient[entry.index].astype("float64"))
        # MIM's cells have no forget gate: the released one gets no gradient.
        assert abs(norm - norms[names[name]]) < max(1e-3 * norms[names[name]], 1e-6 * largest), name
    unused = {name for name, norm in norms.items() if norm is None}
    assert unused == set(names.values()) - {names[name] for name in entries}
