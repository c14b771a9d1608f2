# %% [markdown]
# # Quickstart: a first forecast
#
# In a few minutes you will train a network that watches five frames of a drifting digit and draws
# the next five. Then you will look at what it drew, and whether that beats the simplest forecast
# there is: that nothing moves.

# %% [markdown]
# **The backend comes first.** Keras decides when it is imported whether it computes with
# TensorFlow, JAX or PyTorch. So the choice stands before the import; everything after it is the
# same for all three. In Colab, *Runtime > Change runtime type* gives you a GPU; a CPU will do here.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_msrnn

keras.utils.set_random_seed(0)
print(f"keras_msrnn {keras_msrnn.__version__} on {keras.backend.backend()}")

# %% [markdown]
# ## The data
#
# Moving MNIST: digits that drift in straight lines and bounce off the walls. The package draws the
# digits itself, so nothing is downloaded. We halve them to 14 x 14 pixels and let one at a time
# move in frames of 32 x 32, to be quick without a GPU.
#
# A data set gives batches `(context, future)`: what the model sees, and what it shall forecast.
# Each has the shape `(batch, time, height, width, channels)`, with values from 0 to 1.


# %%
def half_size(digits):
    return digits.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype("uint8")


motion = {"context": 5, "horizon": 5, "size": 32, "digits_per_frame": 1, "speed": (1, 3)}
digits = half_size(keras_msrnn.data.rendered_digits(2000, seed=0))
unseen = half_size(keras_msrnn.data.rendered_digits(500, seed=1))
train = keras_msrnn.data.MovingMNIST(digits, 8, batches=2 if SMOKE else 125, **motion)
test = keras_msrnn.data.MovingMNIST(unseen, 64, batches=1, seed=1, fixed=True, **motion)

context, future = test[0]
print("context", context.shape, " future", future.shape)

# %% [markdown]
# One sequence of the test data, the ten frames side by side. The model will get the first five.

# %%
plt.figure(figsize=(10, 1.2))
plt.imshow(np.hstack(np.concatenate([context[0], future[0]])), cmap="gray")
plt.axvline(5 * 32 - 0.5, color="tab:orange")
plt.axis("off")
plt.show()

# %% [markdown]
# ## The model
#
# `build` makes a compiled forecaster. This one is a multi-scale ConvLSTM: three recurrent cells,
# the middle one at half the resolution (`scales`), each with 16 channels (`filters`).
# `patch_size=4` turns patches of 4 x 4 pixels into channels first, which makes everything cheaper,
# and loses some detail.

# %%
model = keras_msrnn.build(
    "convlstm", multiscale=True, filters=16, scales=(1, 2, 1), patch_size=4, channels=1, seed=0
)
print(f"{model.count_params():,} weights, cells at the scales {model.rnn.scales}")

# %% [markdown]
# ## Fit
#
# Plain Keras: `compile` if you want another optimiser, loss or metric than the paper's, then `fit`.
# A training as short as this one wants a larger learning rate, which falls to 0, and does well with
# the squared error alone.
#
# *What to expect:* `loss` hardly falls, because the task gets harder: at first the model may see
# true frames instead of its own forecasts, and less and less so (scheduled sampling). `val_loss` is
# the error of real forecasts, made from the context alone. It starts far above `loss` and comes
# down to it.

# %%
epochs = 1 if SMOKE else 8
rate = keras.optimizers.schedules.CosineDecay(6e-3, epochs * len(train))
model.compile(keras.optimizers.Adam(rate), loss="mse")
history = model.fit(train, validation_data=test, epochs=epochs, verbose=2)

# %% [markdown]
# ## Predict, and look
#
# `predict` needs only the past. Below, the top row is what happened, then the forecast, then
# *persistence*, the last frame repeated, and at the bottom the error of the forecast.
#
# Look for: is the digit in the right place? Does it stay a digit, or melt into a cloud? A model
# that is unsure of the place smears the digit over all places it thinks likely, because that is
# what minimises a squared error.

# %%
forecast = model.predict(context, verbose=0)
keras_msrnn.plotting.plot_forecast(context[0], future[0], forecast[0], persistence=True)

# %%
keras_msrnn.plotting.plot_forecast(context[3], future[3], forecast[3], persistence=True)

# %% [markdown]
# ## Score
#
# A picture is one case; a score is all of them. `evaluate_forecast` scores every lead time, and
# always sets persistence beside the model. A model that does not beat it has learned nothing about
# motion.

# %%
scores = keras_msrnn.evaluate_forecast({"MS-ConvLSTM": model}, test)
for name, error in scores.overall("squared_error_per_frame").items():
    print(f"{name:12} squared error per frame {error:5.1f}")
keras_msrnn.plotting.plot_scores(
    scores.by_lead_time("squared_error_per_frame"), "squared error per frame (lower is better)"
)

# %% [markdown]
# The error grows with lead time, as each forecast is made from the one before it. The model has
# learned where a digit goes; after so few batches it has not learned to keep its strokes. The demo,
# `python -m keras_msrnn demo`, trains four times as long.
#
# ## Further ahead, and saved
#
# The horizon is not fixed: the same model runs on for as many steps as you like. It never trained
# on more than five, so watch how it fades.

# %%
longer = model.forecast(context[:1], steps=10)
keras_msrnn.plotting.plot_forecast(context[0], None, longer[0])

# %% [markdown]
# A `.keras` file holds the architecture, the weights and the state of the optimiser. It loads on
# any backend, once `keras_msrnn` is imported.

# %%
model.save("model.keras")
again = keras.saving.load_model("model.keras")
print("same forecast:", np.allclose(again.predict(context, verbose=0), forecast, atol=1e-5))

# %% [markdown]
# ## Try next
#
# - Restart the kernel with `"jax"` or `"torch"` in the first cell. Nothing else changes.
# - Replace `"convlstm"` by another of the models below, or set `multiscale=False, scales=3`.
# - Two digits (`digits_per_frame=2`) pass over each other: harder, and worth more epochs.
# - Your own images: [02_your_own_data](02_your_own_data.ipynb).

# %%
print(", ".join(keras_msrnn.list_models()))
