# %% [markdown]
# # Nowcasting rain from radar images
#
# Where will it rain in half an hour? For the first hours ahead the best answer comes from radar
# alone. You will train a multi-scale ConvLSTM on a few hours of radar images, and verify it as
# forecasters do: with CSI, at several rain rates, beside persistence.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np

from keras_msrnn import build, data, evaluate_forecast, losses, metrics, plotting

keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# Put the HDF5 files of some hours (`RAD_NL25_RAP_5min_*.h5`, from the [KNMI data
# platform](https://dataplatform.knmi.nl)) into a folder `knmi` beside this notebook. Each is one
# image of the Netherlands: the rain of five minutes, in pixels of 1 km. We take the 416 km square
# which the radars see, averaged to pixels of 8 km, to be quick.
#
# Without such files the notebook makes rain of its own, showers that drift, grow and decay. It is
# good for trying things, and says nothing about real rain.


# %%
def generated_rain(count, size=52, showers=60, seed=0):
    """Rain rates in mm/h `(count, size, size)`: Gaussian showers in a common wind."""
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(0, 2 * size, (2, showers))
    birth = rng.uniform(-20, count, showers)  # each lives for about 40 frames
    peak, width = rng.gamma(2, 6, showers), rng.uniform(2, 5, showers)
    rows, columns = np.mgrid[:size, :size][..., None]
    frames = []
    for t in range(count):
        strength = peak * np.exp(-(((t - birth - 20) / 12) ** 2))
        row, column = (y + 0.5 * t) % (2 * size) - size / 2, (x + 0.9 * t) % (2 * size) - size / 2
        square = (rows - row) ** 2 + (columns - column) ** 2
        frames.append((strength * np.exp(-square / width**2)).sum(-1))
    return np.array(frames, "float32")


folder = pathlib.Path("knmi")
if folder.is_dir():
    source = "radar images of KNMI"
    radar = data.KNMI(folder)
    options = {"crop": (220, 161, 416, 416), "resize": (52, 52)}
else:
    source = "generated rain"
    radar = generated_rain(92)
    options = {"scaling": "rain", "units": data.Reflectivity()}
print(f"{len(radar)} frames, {source}")

# %% [markdown]
# Five frames in, six out: from 25 minutes to the next half hour. The parts follow one another in
# time; windows that were shuffled before the split would leak, as neighbouring windows share nearly
# all frames.
#
# Rain rates are skewed: most pixels are dry, few are heavy. The model therefore sees
# *reflectivity*, which is linear in the logarithm of the rain, as pixels from 0 (-10 dBZ) to 1 (60
# dBZ).

# %%
train, validation, test = data.split_in_time(
    radar, context=5, horizon=6, at=(0.6, 0.75), batch_size=4, **options
)
units = train.units
print(units)
print(*(f"{len(part.starts)} windows" for part in (train, validation, test)), sep=", ")

# %% [markdown]
# Look before you train. Light brown is what no radar sees; it is `NaN` in the data. As a "forecast"
# we show the last image, repeated: *persistence*. What moved out of its place is the error.

# %%
context, future = test[len(test) - 1]
last = np.repeat(context[-1][-1:], 6, axis=0)
plotting.plot_forecast(context[-1], future[-1], last, units=units)

# %% [markdown]
# ## The model, and a loss for rain
#
# `fill_missing=0` shows the model dry pixels where data are missing; losses and scores leave those
# out.
#
# With a plain squared error a model learns to forecast drizzle everywhere, as heavy rain is too
# rare to matter. The balanced loss weighs pixels by the true rain: 1 below 2 mm/h, then 2, 5, 10,
# and 30 from 30 mm/h on.

# %%
epochs = 1 if SMOKE else 40
model = build(
    "convlstm", multiscale=True, filters=24, scales=(1, 2, 1), patch_size=4, fill_missing=0, seed=0
)
steps = epochs * len(train)
rate = keras.optimizers.schedules.CosineDecay(
    1e-4, steps, warmup_target=4e-3, warmup_steps=max(1, steps // 20)
)
model.compile(
    keras.optimizers.Adam(rate),
    losses.BalancedSquaredPlusAbsoluteError(units),
    metrics=[metrics.CSI(0.5, units), metrics.CSI(2, units)],
)
history = model.fit(
    train,
    validation_data=validation,
    epochs=epochs,
    verbose=0,
    steps_per_epoch=2 if SMOKE else None,
)

# %% [markdown]
# CSI is the number of pixels where rain was forecast and fell, divided by the number where it was
# forecast *or* fell. 1 is perfect; correct dry pixels do not count, so that a dry day flatters
# nobody. Watch `val_csi`: it is measured on real forecasts of later times than those of the
# training.

# %%
plotting.plot_history(history)

# %% [markdown]
# ## Look at a forecast
#
# In mm/h, on the scale that all radar pictures of this package have. The forecast moves the rain;
# it is also smoother than the truth. It cannot know which shower will grow, so it forecasts the
# average of what may happen.

# %%
forecast = model.predict(context, verbose=0)
plotting.plot_forecast(context[-1], future[-1], forecast[-1], units=units, persistence=True)

# %% [markdown]
# ## Verify it
#
# All scores of the test windows in one pass. We print CSI; `print(scores)` shows all, with what
# exactly each number is, and `scores.to_csv("scores.csv")` keeps them.

# %%
thresholds = (0.5, 2, 5)
scores = evaluate_forecast({"MS-ConvLSTM": model}, test, thresholds=thresholds)
print("lead time (minutes)     ", *(f"{5 * t:6}" for t in range(1, 7)))
for threshold in thresholds:
    for name, csi in scores.by_lead_time(f"csi_{threshold}").items():
        print(f"{threshold:4} mm/h  {name:14}", *(f"{value:6.2f}" for value in csi))

# %%
plotting.plot_scores(
    scores.by_lead_time("csi_2"), "CSI at 2 mm/h (higher is better)", xlabel="lead time (5 minutes)"
)

# %% [markdown]
# Persistence falls off fast: after half an hour the showers are elsewhere. And every forecast gets
# worse with the threshold, as heavy showers are small and short-lived.
#
# CSI alone rewards forecasting too much rain. So always look at the share of false alarms (FAR),
# and at how much of the rain was found (POD):

# %%
for name in ("pod_2", "far_2"):
    print(name, {model: round(value, 2) for model, value in scores.overall(name).items()})

# %% [markdown]
# How does the amount compare? A model trained on reflectivity tends to lose rain as it looks
# further ahead; this shows by how much.

# %%
rain = {"truth": future, "forecast": forecast}
seen = np.isfinite(future)
plt.figure(figsize=(5, 2.5))
for name, frames in rain.items():
    amount = np.where(seen, units.to_rain(frames), np.nan)
    plt.plot(range(5, 35, 5), np.nanmean(amount, (0, 2, 3, 4)), "o-", label=name)
plt.xlabel("lead time (minutes)")
plt.ylabel("mean rain (mm/h)")
plt.ylim(0)
plt.legend()
plt.show()

# %% [markdown]
# These are a few hours of one day: they show how the pieces work together, not how well a model
# nowcasts in general. For that, train on months and test on other months.
#
# ## Try next
#
# - More files in `knmi`: nothing else changes. `data.save_rain` keeps what was cropped and resized
#   in one file, which is much faster to read.
# - Finer pixels: `resize=(104, 104)`, then `(208, 208)`. When memory runs out: `remat="sqrt"` in
#   `build`, which trades time for memory.
# - `losses.SquaredPlusAbsoluteError()` instead of the balanced loss: see what becomes of CSI at 5
#   mm/h.
# - Other radars: `data.ODIM` and `data.Germany`.
