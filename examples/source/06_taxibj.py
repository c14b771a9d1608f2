# %% [markdown]
# # TaxiBJ: the traffic of a city
#
# Beijing in 32 x 32 districts; for each half hour, how many taxis entered a district and how many
# left. Two channels instead of one, no motion to follow, but a strong rhythm of the day. And so a
# lesson about baselines: persistence is not the one to beat here.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import pathlib

import h5py
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_msrnn

keras.utils.set_random_seed(0)

# %% [markdown]
# ## The files
#
# The data set is four files, `BJ13_M32x32_T30_InOut.h5` to `BJ16_M32x32_T30_InOut.h5`;
# [DeepST](https://github.com/TolicWang/DeepST/tree/master/data/TaxiBJ) says from where. Put them
# into a folder `TaxiBJ` beside this notebook and it uses them.
#
# Without them the notebook writes four small files in exactly that format, with **generated
# flows**: a map of districts, some of which live and others work, a rhythm of the day and the week,
# and a city that is busier or calmer for hours at a time. They show how to use the data set. Scores
# on them say nothing about Beijing.


# %%
def generated_flows(times, seed=0):
    """Inflow and outflow `(times, 2, 32, 32)` in taxis per half hour."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:32, :32]
    size = 250 * np.exp(-np.hypot(rows - 16, columns - 16) / 7) * rng.uniform(0.3, 1.2, (32, 32))
    offices = rng.uniform(0, 1, (8, 8)).repeat(4, 0).repeat(4, 1)  # the share of a district
    hour = (times - times.astype("M8[D]")) / np.timedelta64(60, "m")
    weekend = (times.astype("M8[D]").astype(int) + 3) % 7 > 4
    day = 0.15 + np.exp(-(((hour - 14) / 6) ** 2))
    morning = np.exp(-(((hour - 8.5) / 1.5) ** 2)) * np.where(weekend, 0.2, 1)
    evening = np.exp(-(((hour - 18.5) / 2) ** 2)) * np.where(weekend, 0.4, 1)
    busy = np.convolve(rng.normal(0, 1, len(times) + 23), np.ones(24) / 24, "valid")
    level = np.exp(0.9 * busy)[:, None, None]
    to_work, to_home = morning[:, None, None] * size, evening[:, None, None] * size
    still = day[:, None, None] * size
    inflow = level * (still + 2 * to_work * offices + 2 * to_home * (1 - offices))
    outflow = level * (still + 2 * to_work * (1 - offices) + 2 * to_home * offices)
    return rng.poisson(np.stack([inflow, outflow], 1)).astype("float32")


def write_files(folder, days):
    """Files with the names and the structure of the published ones: `data` and `date`."""
    folder.mkdir(exist_ok=True)
    for year, first in {
        13: "2013-07-01",
        14: "2014-03-01",
        15: "2015-03-01",
        16: "2015-11-01",
    }.items():
        times = np.datetime64(first, "m") + np.arange(48 * days[year]) * np.timedelta64(30, "m")
        slots = np.tile(np.arange(1, 49), days[year])  # 01 to 48, the half hours of a day
        dates = [f"{str(t)[:10].replace('-', '')}{s:02d}" for t, s in zip(times, slots)]
        with h5py.File(folder / f"BJ{year}_M32x32_T30_InOut.h5", "w") as file:
            file["date"] = np.array(dates, "S10")
            file["data"] = generated_flows(times, seed=year)


folder, generated = pathlib.Path("TaxiBJ"), pathlib.Path("TaxiBJ-generated")
if not folder.is_dir():
    folder = generated
    write_files(folder, {13: 10, 14: 10, 15: 50, 16: 33})
source = "generated flows, not of Beijing" if folder == generated else "the published files"
print(source)

# %% [markdown]
# `read_taxibj` splits as the paper does: the last four weeks are the test part. It leaves out days
# of which a half hour is missing, lets no window cross a gap, and scales by the extremes of the
# training part. Unlike the released code it takes the four weeks *before* the test part for
# validation, not the test part itself.

# %%
train, validation, test = keras_msrnn.data.read_taxibj(folder, context=4, horizon=4)
print("windows:", *(len(part.starts) for part in (train, validation, test)))
print("test part:", test.times.min(), "to", test.times.max())
print("scaling:", train.scaling, "taxis per half hour become 0 and 1")
context, future = test[10]
print(context.shape, future.shape)

# %% [markdown]
# One window, the inflow (`channel=0`), in taxis. As a "forecast" here the last frame, repeated. The
# places do not move; they get busier and calmer.

# %%
look = {"channel": 0, "unit": "taxis", "cmap": "magma"}
past, truth = test.inverse(context[0]), test.inverse(future[0])
keras_msrnn.plotting.plot_forecast(past, truth, np.repeat(past[-1:], 4, axis=0), **look)

# %% [markdown]
# ## What is easy?
#
# The mean over the city shows what to expect from a forecast without any learning: persistence is
# wrong whenever the day turns, and the mean of the same half hour in the training part
# (*climatology*) knows the rhythm but not that today is busier.


# %%
def half_hour(times):
    return ((times - times.astype("M8[D]")) / np.timedelta64(30, "m")).astype(int)


def frames_of(part, count):
    """All first `count` frames of a part in order of time, and their times."""
    part = keras_msrnn.data.read_taxibj(folder, 1, 1, shuffle=False)[part]
    batches = [part[i][0][:, 0] for i in range(min(len(part), count // 16))]
    frames = np.concatenate(batches)
    return frames, part.times[: len(frames), 0]


known, when = frames_of(0, 480 if SMOKE else 4800)
climatology = np.stack([known[half_hour(when) == slot].mean(0) for slot in range(48)])
days, when = frames_of(2, 3 * 48)
plt.figure(figsize=(7, 2.2))
to_taxis = train.scaling[1] - train.scaling[0]
plt.plot(when, to_taxis * days[..., 0].mean((1, 2)), label="inflow, three test days")
plt.plot(when, to_taxis * climatology[half_hour(when)][..., 0].mean((1, 2)), label="climatology")
plt.ylabel("taxis per district")
plt.tick_params(axis="x", labelsize=7)
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Train
#
# As in the paper 4 -> 4 frames, in small: a multi-scale ConvLSTM of three cells. `channels` is 2,
# taken from the data.

# %%
epochs = 1 if SMOKE else 3
model = keras_msrnn.build("convlstm", filters=16, scales=(1, 2, 1), patch_size=2, seed=0)
steps = 2 if SMOKE else len(train)
rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * steps)
model.compile(keras.optimizers.Adam(rate), loss=model.loss)
few = [validation[i] for i in range(0, 80, 20)]  # scoring all of it each epoch would take longer
few = tuple(np.concatenate(part) for part in zip(*few))
model.fit(train, validation_data=few, epochs=epochs, steps_per_epoch=steps, verbose=2)

# %% [markdown]
# ## Look, and score
#
# The inflow again, now with the model's forecast.

# %%
forecast = model.predict(context, verbose=0)
keras_msrnn.plotting.plot_forecast(past, truth, test.inverse(forecast[0]), persistence=True, **look)

# %% [markdown]
# The score of this data set is the root mean squared error in taxis. We let climatology compete as
# a function: `evaluate_forecast` takes anything that makes a forecast, here from the time of each
# window.

# %%
batches = 2 if SMOKE else 28  # of 16 windows, spread over the test part
chosen = [test[i] for i in np.linspace(0, len(test) - 1, batches).astype(int)]
starts = np.linspace(0, len(test) - 1, batches).astype(int)
slots = iter([half_hour(test.times[16 * i : 16 * i + 16, 4:]) for i in starts])
models = {"MS-ConvLSTM": model, "climatology": lambda context: climatology[next(slots)]}
scores = keras_msrnn.evaluate_forecast(models, chosen)

squared = scores.by_lead_time("squared_error_per_pixel")
rmse = {name: to_taxis * np.sqrt(values) for name, values in squared.items()}
for name, values in rmse.items():
    print(f"{name:12} RMSE in taxis", *(f"{value:6.2f}" for value in values))
keras_msrnn.plotting.plot_scores(
    rmse, "RMSE in taxis (lower is better)", xlabel="lead time (half hours)"
)

# %% [markdown]
# *How to read it.* Persistence gets worse by the half hour; climatology does not, as it never knew
# the present; a useful model is below both, which means it knows the present and the rhythm. The
# closer it is to climatology at the end, the less it makes of what it saw.
#
# ## Try next
#
# - The published files. There a plain mean of the day is a weaker rival.
# - `kernel_size=5`, `patch_size=1`, six cells: `scales=(1, 2, 4, 4, 2, 1)`.
# - Give the model the time: two more channels with the sine and cosine of the hour, through [your
#   own data](02_your_own_data.ipynb).
