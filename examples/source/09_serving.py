# %% [markdown]
# # Serving: export and streaming
#
# A trained forecaster leaves the notebook in one of two ways. *Streaming*: frames come in one by
# one, and each gives a new forecast at the cost of one step, not of the whole past. *Export*: a
# file that serves without this package, and without Keras.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import importlib.util
import subprocess
import sys
import time

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_msrnn

keras.utils.set_random_seed(0)
backend = keras.backend.backend()

# %% [markdown]
# ## A model to serve
#
# A small one, trained for a minute on moving digits, as in [the quickstart](01_quickstart.ipynb).


# %%
def half_size(digits):
    return digits.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype("uint8")


motion = {"context": 5, "horizon": 5, "size": 32, "digits_per_frame": 1, "speed": (1, 3)}
digits = half_size(keras_msrnn.data.rendered_digits(2000, seed=0))
steps = 2 if SMOKE else 600
train = keras_msrnn.data.MovingMNIST(digits, 8, batches=steps, **motion)
model = keras_msrnn.build(
    "convlstm", filters=16, scales=(1, 2, 1), patch_size=4, channels=1, seed=0
)
rate = keras.optimizers.schedules.CosineDecay(6e-3, steps)
model.compile(keras.optimizers.Adam(rate), loss="mse")
history = model.fit(train, epochs=1, verbose=0)
print(f"loss {history.history['loss'][0]:.4f} on {backend}")

# %% [markdown]
# ## Streaming
#
# `stream` keeps the state of the network. Give it the newest frame; it gives the forecast of what
# follows. A sequence of twelve frames comes in here, one by one:

# %%
film = keras_msrnn.data.moving_digits(
    digits, count=1, frames=17, size=32, digits_per_frame=1, speed=(1.5, 2.5), seed=7
)
stream = model.stream()
forecasts = {}
for t in range(12):
    forecasts[t] = stream.update(film[:, t], steps=5)
print("each forecast:", forecasts[0].shape)

# %% [markdown]
# After each frame the forecast is exactly what `forecast` makes of all frames so far:

# %%
whole = model.forecast(film[:, :12], steps=5)
print("same as from all frames at once:", np.allclose(forecasts[11], whole, atol=1e-5))

# %% [markdown]
# **How forecasts are renewed.** The truth is frame 12. The pictures are the forecasts of that one
# frame, made five frames before, then four, ... and the last one directly before it. The nearer,
# the sharper: each new frame told more about where the digit goes.

# %%
pictures = {f"{lead} ahead": forecasts[12 - lead][0, lead - 1] for lead in (5, 4, 3, 2, 1)}
pictures["truth"] = film[0, 12]
figure, axes = plt.subplots(1, 6, figsize=(7, 1.5))
for axis, (name, picture) in zip(axes, pictures.items()):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_title(name, fontsize=9)
    axis.axis("off")
plt.show()

# %% [markdown]
# And what it costs: one more frame in a stream, beside the forecast from all frames again. The
# longer the past, the more a stream saves. (The first call of each compiles, and is not timed.)


# %%
def milliseconds(function, repeats=3 if SMOKE else 20):
    function()
    began = time.perf_counter()
    for _ in range(repeats):
        function()
    return 1000 * (time.perf_counter() - began) / repeats


past = np.tile(film[:, :10], (1, 1 if SMOKE else 6, 1, 1, 1))
print(f"one frame in a stream     {milliseconds(lambda: stream.update(film[:, 0])):6.1f} ms")
print(
    f"all {past.shape[1]} frames again      {milliseconds(lambda: model.forecast(past, 5)):6.1f} ms"
)
stream.reset()  # the next frame begins a new sequence

# %% [markdown]
# ## The `.keras` file
#
# The file to keep: architecture, weights, optimiser. It loads where Keras and this package are, on
# any backend, so a model trained on JAX runs on PyTorch.

# %%
model.save("model.keras")

# %% [markdown]
# ## Export to a SavedModel
#
# TensorFlow Serving, TensorFlow Lite and others read a *SavedModel*, which needs neither Keras nor
# this package. Keras writes it with `model.export`. Frames may have any number of rows in the
# batch, but one length, height and width: `input_signature` says which.
#
# What the next cell does depends on the backend:
#
# | backend | |
# |---|---|
# | TensorFlow | exports this model |
# | JAX | the same, through `jax2tf`; TensorFlow must be installed beside JAX |
# | PyTorch | loads `model.keras` in a new process on TensorFlow, and exports it there |
# | any, without TensorFlow | says that it cannot |

# %%
EXPORT = """
import keras, keras_msrnn
model = keras.saving.load_model("model.keras")
frames = keras.InputSpec(shape=(None, 5, 32, 32, 1), dtype="float32")
model.export("served", format="tf_saved_model", input_signature=[frames], verbose=False)
"""
has_tensorflow = importlib.util.find_spec("tensorflow") is not None
if not has_tensorflow:
    print("TensorFlow is not installed, so no SavedModel: pip install tensorflow")
elif backend == "torch":
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", EXPORT], env=environment, check=True)
    print("exported by TensorFlow from model.keras")
else:
    frames = keras.InputSpec(shape=(None, 5, 32, 32, 1), dtype="float32")
    model.export("served", format="tf_saved_model", input_signature=[frames], verbose=False)
    print(f"exported by {backend}")

# %% [markdown]
# ## Is it the same forecaster?
#
# Never serve what you have not compared. The SavedModel, loaded by TensorFlow alone, on several
# sequences at once:

# %%
context = keras_msrnn.data.moving_digits(
    digits, count=3, frames=5, size=32, digits_per_frame=1, speed=(1, 3), seed=9
)
forecast = model.predict(context, verbose=0)
if has_tensorflow:
    import tensorflow as tf

    saved = tf.saved_model.load("served")
    served = saved.serve(context).numpy()
    print("served:", served.shape, " largest difference:", f"{np.abs(served - forecast).max():.1e}")

# %%
keras_msrnn.plotting.plot_forecast(context[0], None, forecast[0])

# %% [markdown]
# ## Try next
#
# - Other horizons are other exports: set `model.horizon = 10` before `model.export`.
# - Stream in a service: keep one `model.stream()` for each camera or radar, and call `reset` after
#   a gap.
# - `update` takes a batch: several radars of one size advance in one call.
# - `format="onnx"` exports for ONNX Runtime, where its converters are installed.
