# %% [markdown]
# # Tuning the scales
#
# The paper's pyramid is 1-2-4-4-2-1. Is it the best for *your* frames and *your* memory? Here the
# pyramid itself becomes a hyperparameter of [KerasTuner](https://keras.io/keras_tuner/), within a
# budget of memory that is checked by analysis, before a trial costs anything.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import keras

import keras_msrnn
from keras_msrnn.tuning import ForecasterHyperModel, create_tuner, plot_pareto, pyramids

keras.utils.set_random_seed(0)

# %% [markdown]
# ## The data
#
# Digits of 14 x 14 pixels in frames of 32 x 32, 3 frames to 3 frames. Three parts: to train a
# trial, to choose between trials, and one that neither sees, to judge what was chosen.


# %%
def half_size(digits):
    return digits.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype("uint8")


motion = {"context": 3, "horizon": 3, "size": 32, "digits_per_frame": 1, "speed": (1, 3)}
digits = [half_size(keras_msrnn.data.rendered_digits(1000, seed)) for seed in range(3)]
trial_batches = 2 if SMOKE else 200
train = keras_msrnn.data.MovingMNIST(digits[0], 8, trial_batches, fixed=True, **motion)
choosing = keras_msrnn.data.MovingMNIST(digits[1], 64, 1, seed=1, fixed=True, **motion)
test = keras_msrnn.data.MovingMNIST(digits[2], 64, 1, seed=2, fixed=True, **motion)

# %% [markdown]
# ## The space
#
# `pyramids` lists natural pyramids: how many cells, how many different scales, by which factor.

# %%
offered = pyramids(cells=[2, 3, 4], factor=2)
for scales in offered:
    print("-".join(map(str, scales)))

# %% [markdown]
# Each part of the space is a keyword: a list is searched, anything else is fixed. The budget is 5
# MB for the training of a batch, which some of these exceed. All else is fixed, so that this stays
# a lesson of minutes.

# %%
hypermodel = ForecasterHyperModel(
    (3, 32, 32, 1),  # the context: time, height, width, channels
    horizon=3,
    batch_size=8,
    max_training_memory=5e6,  # bytes
    model="convlstm",
    scales=offered[:2] if SMOKE else offered,
    filters=[16] if SMOKE else [8, 16],
    kernel_size=3,
    patch_size=4,
    skip="add",
    pooling="max",
    interpolation="bilinear",
    sampling="scheduled",
    learning_rate=4e-3,
    seed=0,
)

# %% [markdown]
# ## The search
#
# `create_tuner` makes one of KerasTuner's tuners: `"random"`, `"bayesian"`, `"hyperband"` or
# `"grid"`. Its folder keeps the state: interrupt this cell and run it again, and finished trials
# stay.

# %%
tuner = create_tuner(hypermodel, "pyramid-search", "random", max_trials=1 if SMOKE else 4, seed=1)
tuner.search(train, validation_data=choosing, epochs=1, verbose=0)
print(tuner.results())

# %% [markdown]
# *How to read it.* The best trial stands first; `score` is the validation loss, the sum of squared
# and absolute errors over the pixels of a frame. Trials over the budget are listed with the reason.
# They cost nothing and do not count.
#
# Error against memory: the line is the Pareto front, the trials which no other beats in both. Where
# it is steep, a little memory buys much; where it is flat, more memory buys nothing.

# %%
plot_pareto(tuner.results())

# %% [markdown]
# ## Is the winner really better?
#
# A trial is short, and shallow stacks learn sooner while deep ones get further. So train the winner
# again, for longer, beside the paper's pyramid with the same filters, and judge both on digits that
# neither the training nor the choice has seen.

# %%
best = tuner.best_model()
longer = 2 if SMOKE else 500
filters = best.rnn.cells[0].filters
models = {}
for name, scales in (("found", best.rnn.scales), ("paper", (1, 2, 4, 4, 2, 1)))[
    : 1 if SMOKE else 2
]:
    keras.utils.set_random_seed(0)
    model = keras_msrnn.build("convlstm", filters=filters, scales=scales, patch_size=4, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(6e-3, longer)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    data = keras_msrnn.data.MovingMNIST(digits[0], 8, longer, seed=3, **motion)
    model.fit(data, epochs=1, verbose=0)
    models[f"{name} {'-'.join(map(str, scales))}"] = model

# %%
scores = keras_msrnn.evaluate_forecast(models, test)
costs = keras_msrnn.compare(models, (3, 32, 32, 1), horizon=3, batch_size=8).values
for name, error in scores.overall("squared_error_per_frame").items():
    memory = f"{costs[name]['training_memory'] / 1e6:5.2f} MB" if name in costs else ""
    print(f"{name:20} squared error per frame {error:5.1f}   {memory}")
keras_msrnn.plotting.plot_scores(
    scores.by_lead_time("squared_error_per_frame"), "squared error per frame (lower is better)"
)

# %% [markdown]
# With one seed and minutes of training this settles nothing. A search of 24 trials with real digits
# found a pyramid that won after 300 batches and lost clearly after 1,200; [the page on
# tuning](../docs/tuning.md) has the numbers. The moral: **let trials run as long as the training
# that you mean to do**, or take `"hyperband"`, which does so for the best of them.
#
# The winner, forecasting:

# %%
context, future = test[0]
found = next(iter(models.values()))
forecast = found.predict(context, verbose=0)
keras_msrnn.plotting.plot_forecast(context[0], future[0], forecast[0], persistence=True)

# %% [markdown]
# ## Try next
#
# - `model=["convlstm", "predrnn", "mim"]`: the cell as a part of the search.
# - `objective=keras_msrnn.tuning.ErrorMemoryObjective("val_loss", exponent=0.1)`: half the memory
#   is worth 7 % of error.
# - A budget for your GPU: `max_training_memory=12e9`, at the size of your own frames.
# - Several machines: [one chief, two workers](../docs/tuning.md).
