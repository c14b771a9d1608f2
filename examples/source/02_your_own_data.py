# %% [markdown]
# # Your own data
#
# Your images are never what a loader expects: not square, in degrees instead of 0..1, with a night
# missing and a strip that no satellite saw. Here such a film goes in as it is, and forecasts come
# out in its own units.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import keras
import numpy as np

import keras_msrnn

keras.utils.set_random_seed(0)

# %% [markdown]
# ## A film
#
# Replace this cell by your own. What is needed is an array `(time, height, width)`, or with a last
# axis of channels, in order of time. It may also be the path of an `.npy` file, an `h5py.Dataset`
# or a folder of images: a batch then reads its own windows and no more, so the film need not fit
# into memory.
#
# Ours is the temperature of a surface in °C, 36 x 52 pixels, every ten minutes: warm and cold
# patches drift east with a wind that blows faster in the north. After two thirds, half a day is
# missing.


# %%
def make_film(count, height=36, width=52, patches=14, seed=0):
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(0, height, patches), rng.uniform(0, width, patches)
    size, warmth = rng.uniform(3, 6, patches), rng.choice([-8, 8], patches)
    rows, columns = np.mgrid[:height, :width][..., None]
    film = []
    for t in range(count):
        away = np.abs(columns - (x + (1.6 - 0.03 * y) * t) % width)
        square = (rows - y) ** 2 + np.minimum(away, width - away) ** 2
        film.append(15 + (warmth * np.exp(-square / size**2)).sum(-1))
    film += rng.normal(0, 0.3, np.shape(film))  # the noise of each pixel
    return np.array(film, "float32")


frames = make_film(500)
times = np.datetime64("2024-05-01") + 10 * np.arange(500).astype("timedelta64[m]")
times[330:] += np.timedelta64(12, "h")  # the gap
frames[:, :6, 40:] = np.nan  # a corner that is never seen
np.save("film.npy", frames)
print(frames.shape, f"{np.nanmin(frames):.1f} to {np.nanmax(frames):.1f} °C")

# %% [markdown]
# ## Windows
#
# `split_in_time` cuts the film into training, validation and test, one after the other: no frame is
# in two of them, as it would be after a random split of overlapping windows. Windows of 6 + 4
# frames start at every frame, except where they would cross the gap. `scaling="fit"` maps the
# lowest and highest value of the *training* part to 0 and 1.

# %%
train, validation, test = keras_msrnn.data.split_in_time(
    "film.npy", context=6, horizon=4, at=(0.7, 0.85), times=times, scaling="fit", batch_size=8
)
context, future = test[0]
print("windows:", *(len(part.starts) for part in (train, validation, test)))
print("a batch:", context.shape, future.shape, context.dtype)
print("scaling:", *(f"{value:.2f}" for value in train.scaling), "°C become 0 and 1")

# %% [markdown]
# **Always look at a batch before you train.** Most failures are here: axes in another order, values
# of 0..255, frames that repeat, a mask that was read as a number. Light brown is missing (`NaN`).
# As a "forecast" we show the last frame, repeated: *persistence*. Its error shows what moves.

# %%
look = {"cmap": "viridis", "value_range": (5, 25), "unit": "°C"}
past, truth = train.inverse(context[0]), train.inverse(future[0])
last = np.repeat(past[-1:], 4, axis=0)
keras_msrnn.plotting.plot_forecast(past, truth, last, **look)

# %% [markdown]
# The patches move east, faster at the top: the film is read in the right order.
#
# Other orders of the axes are an argument: `axes="tchw"`, `"nthwc"`. So are `crop`, `resize`,
# `spacing` (every third frame), `stride`, and `breaks` (where a new recording begins); [the page on
# data](../docs/data.md) lists them.
#
# **And know what is easy.** How large is the error of persistence? Whatever you train must beat
# that.

# %%
low, high = train.scaling


def rmse(scores, name):
    """Root mean squared error in °C by lead time, from the squared error of pixels in 0..1."""
    return (high - low) * np.sqrt(scores.by_lead_time("squared_error_per_pixel")[name])


nothing = keras_msrnn.evaluate_forecast({"mean": lambda c: 0 * c[:, :4] + np.nanmean(c)}, test)
print("persistence, °C:", rmse(nothing, "persistence").round(2))

# %% [markdown]
# ## Train
#
# Any height and width will do: what the scales do not divide is padded inside and cropped again.
# `fill_missing` is what the *model* sees in place of `NaN`; losses and scores leave those pixels
# out. Early stopping is Keras's own, on the validation part.

# %%
model = keras_msrnn.build(
    "convlstm", filters=16, scales=(1, 2, 1), patch_size=4, fill_missing=0.5, seed=0
)
model.compile(keras.optimizers.Adam(4e-3), loss=keras_msrnn.losses.SquaredPlusAbsoluteError())
history = model.fit(
    train,
    validation_data=validation,
    epochs=1 if SMOKE else 15,
    steps_per_epoch=2 if SMOKE else None,
    callbacks=[keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True)],
    verbose=0,
)
keras_msrnn.plotting.plot_history(history)

# %% [markdown]
# *What you see:* the loss is a sum over the pixels of a frame, so it is a large number. Validation
# is measured on real forecasts of a later time. It jumps, because the learning rate is large and
# stays so: `restore_best_weights` takes the best epoch, and a rate that falls, as in [the
# quickstart](01_quickstart.ipynb), would calm it.
#
# ## Forecasts in °C
#
# `inverse` turns pixels back into the units of the film.

# %%
forecast = model.predict(context, verbose=0)
keras_msrnn.plotting.plot_forecast(
    *(train.inverse(part[0]) for part in (context, future, forecast)), persistence=True, **look
)

# %%
scores = keras_msrnn.evaluate_forecast({"MS-ConvLSTM": model}, test)
keras_msrnn.plotting.plot_scores(
    {name: rmse(scores, name) for name in scores.models},
    "RMSE in °C (lower is better)",
    xlabel="lead time (10 minutes)",
)

# %% [markdown]
# One frame ahead little has moved, and persistence is as good; further ahead the model wins. No
# forecast can get below 0.3 °C, the noise of each pixel that we put into the film. Knowing such a
# floor, from the error of your instrument, tells when there is nothing left to learn.
#
# ## Other ways in
#
# Arrays, if they fit into memory, here RGB sequences of 10 frames:
#
# ```python
# sequences = np.random.rand(8, 10, 24, 40, 3).astype("float32")
# model.fit(sequences[:, :6], sequences[:, 6:])
# ```
#
# A `tf.data.Dataset`, a PyTorch `DataLoader` or a generator of `(context, future)` batches goes
# into `fit` as well, on any backend.
#
# ## Try next
#
# - Put your own film into the second cell. Start with few frames and a small `resize`.
# - Let the model overfit *one* batch: `model.fit(context, future, epochs=200)`. If the loss does
#   not come down, the data are wrong, not the model.
# - Rain has its own units: [05_radar_nowcasting](05_radar_nowcasting.ipynb).
