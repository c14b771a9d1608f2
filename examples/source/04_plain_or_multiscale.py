# %% [markdown]
# # Plain or multi-scale: error, memory, time
#
# The paper's claim: put the cells of a recurrent network into a pyramid of scales, and it needs
# less than half the memory and time, with the same weights and no larger error. Here you check it:
# the first half by counting, the second by training both.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import time

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_msrnn

# %% [markdown]
# ## What they cost, before anything runs
#
# Six cells of 64 filters on frames of 64 x 64, 10 frames to 10 frames, batch 16: the size of the
# paper. `compare` counts; it needs no GPU and a second or two. Percentages are of the first line.

# %%
paper = {
    "plain": keras_msrnn.build("predrnn", multiscale=False),
    "multi-scale": keras_msrnn.build("predrnn", multiscale=True),
}
print(keras_msrnn.compare(paper, (10, 64, 64, 1), horizon=10, batch_size=16))

# %% [markdown]
# Where does 43.75 % come from? Six cells at the scales 1-2-4-4-2-1 have maps of 1, 1/4, 1/16, 1/16,
# 1/4 and 1 times the pixels: (2 + 2/4 + 2/16) / 6. The number of weights does not depend on the
# size of a map.
#
# One model in detail: in the column `field`, how far each cell sees in the newest frame. A pyramid
# also sees further, which matters where things move fast.

# %%
print(keras_msrnn.profile(paper["multi-scale"], (10, 64, 64, 1), horizon=10, batch_size=16))

# %% [markdown]
# ## Train both
#
# In small, for a CPU: ConvLSTM, the cheapest cell, frames of 32 x 32, 8 filters, patches of 2 x 2
# pixels. Equal in all else: the same digits in the same order, the same seed, the same number of
# steps.


# %%
def half_size(digits):
    return digits.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype("uint8")


motion = {"context": 5, "horizon": 5, "size": 32, "digits_per_frame": 1, "speed": (1, 3)}
digits = half_size(keras_msrnn.data.rendered_digits(2000, seed=0))
unseen = half_size(keras_msrnn.data.rendered_digits(500, seed=1))
test = keras_msrnn.data.MovingMNIST(unseen, 64, batches=1, seed=1, fixed=True, **motion)
context, future = test[0]
steps = 2 if SMOKE else 300
cells = 3 if SMOKE else 6

models = {}
for name, multiscale in (("plain", False), ("multi-scale", True)):
    keras.utils.set_random_seed(0)
    model = keras_msrnn.build(
        "convlstm", multiscale, scales=cells, filters=8, patch_size=2, channels=1, seed=0
    )
    rate = keras.optimizers.schedules.CosineDecay(6e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    data = keras_msrnn.data.MovingMNIST(digits, 8, batches=steps, **motion)
    history = model.fit(data, epochs=1, verbose=0)
    models[name] = model
    print(f"{name:12} {model.count_params():,} weights, loss {history.history['loss'][0]:.4f}")

# %% [markdown]
# ## Error, memory, time
#
# The memory is that of the activations which training keeps, by analysis. On JAX and PyTorch, and
# on GPUs, `profile(..., measure=True)` also asks the backend what it really used.

# %%
scores = keras_msrnn.evaluate_forecast(models, test)
error = scores.overall("squared_error_per_frame")

# %% [markdown]
# How to time on a machine that does other things too: take turns, repeat, and keep the fastest step
# of each. What disturbs can only make a step slower.

# %%
seconds = dict.fromkeys(models, float("inf"))
for _ in range(2 if SMOKE else 20):
    for name, model in models.items():
        began = time.perf_counter()
        model.train_on_batch(*data[0])
        seconds[name] = min(seconds[name], time.perf_counter() - began)

# %%
costs = keras_msrnn.compare(models, (5, 32, 32, 1), horizon=5, batch_size=8).values
bars = {
    "squared error per frame": error,
    "memory of training (MB)": {n: costs[n]["training_memory"] / 1e6 for n in models},
    "time of a step (ms)": {n: 1000 * seconds[n] for n in models},
}
figure, axes = plt.subplots(1, 3, figsize=(8, 2.5))
for axis, (title, values) in zip(axes, bars.items()):
    colours = ["tab:blue", "tab:orange", "lightgray"][: len(values)]
    axis.bar_label(axis.bar(list(values), list(values.values()), color=colours), fmt="%.1f")
    axis.set_title(title, fontsize=9)
    axis.margins(y=0.15)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
plt.tight_layout()
plt.show()

# %% [markdown]
# *How to read it.* Persistence, in grey, is what you get for nothing. The memory has its ratio
# whatever the machine. The time does not quite: maps as small as these are over before a CPU has
# warmed up, and the overhead of each operation stays; the larger the frames, the closer it comes to
# the ratio of the multiply-adds. The error is one seed of a very short training: it says that both
# learn, not which one is better in the end. For that, train for long, from three seeds at least.
#
# ## Look

# %%
films = {"truth": future, **{n: m.predict(context, verbose=0) for n, m in models.items()}}
films["persistence"] = np.repeat(context[:, -1:], 5, axis=1)
figure, axes = plt.subplots(len(films), 2, figsize=(9, 1.1 * len(films)))
for row, (name, film) in zip(axes, films.items()):
    for axis, sample in zip(row, (0, 3)):
        axis.imshow(np.hstack(film[sample]), cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.suptitle("two sequences, frames 1 to 5 ahead", fontsize=10)
plt.show()

# %% [markdown]
# ## By lead time

# %%
keras_msrnn.plotting.plot_scores(
    scores.by_lead_time("squared_error_per_frame"), "squared error per frame (lower is better)"
)

# %% [markdown]
# ## If memory still runs out
#
# `remat` computes activations again in the backward pass instead of keeping them. It changes no
# number that the model computes, costs time, and adds to what the pyramid saves.

# %%
for remat in (None, "step", "sqrt"):
    model = keras_msrnn.build("ms-predrnn", channels=1, remat=remat)
    memory = keras_msrnn.profile(model, (10, 500, 500, 1), horizon=10).training_memory
    print(f"500 x 500 frames, 64 filters, one sequence, remat={remat!r:7} {memory / 1e9:6.1f} GB")

# %% [markdown]
# ## Try next
#
# - Other models: replace `"convlstm"`. Does each of them gain?
# - Other pyramids: `scales=(1, 2, 2, 2, 2, 1)`, or let a search find them,
#   [07_tuning_the_scales](07_tuning_the_scales.ipynb).
# - Larger frames on a GPU, `size=64` and 64 filters: look at the time again.
# - `python -m keras_msrnn.benchmark --help` times your machine properly.
