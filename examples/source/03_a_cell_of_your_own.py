# %% [markdown]
# # A cell of your own, and its multi-scale form
#
# You have an idea for a recurrent cell. To know whether it is any good you need it in a stack,
# trained, beside the others, and in a pyramid of scales. Here that takes twenty lines: a cell knows
# *one step at one scale*, and the package does the rest.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import time

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops

import keras_msrnn

# %% [markdown]
# ## One step
#
# The cell is a convolutional GRU, which the package does not have. With the frame (or the output of
# the cell below) $x$ and the state $h$:
#
# $$z, r = \sigma(W * [x, h])$$
#
# $$\tilde h = \tanh(V * [x, r h])$$
#
# $$h' = (1 - z)\,h + z\,\tilde h$$
#
# Three things to write: the names of the states; the convolutions, in `build`; the step, in `call`.
# `add_convolution` takes the channels of each input and of the output, and gives weights the
# initial distribution of the published models. Use `keras.ops` and it runs on all backends.


# %%
@keras_msrnn.register("convgru")
@keras.saving.register_keras_serializable("my_package")
class ConvGRUCell(keras_msrnn.cells.ConvRNNCell):
    state_names = ("h",)

    def build(self, inputs_shape, states_shape=None):
        super().build(inputs_shape)
        inputs = (self.input_channels, self.filters)
        self.gates = self.add_convolution("gates", inputs, 2 * self.filters)
        self.candidate = self.add_convolution("candidate", inputs, self.filters)

    def call(self, inputs, states, training=None):
        [h] = states
        z, r = ops.split(ops.sigmoid(self.gates(inputs, h)), 2, axis=-1)
        h = (1 - z) * h + z * ops.tanh(self.candidate(inputs, r * h))
        return h, [h]


# %% [markdown]
# ## Does the step do what you think?
#
# A cell is an ordinary Keras RNN cell, so it runs alone. With zero weights both gates are 0.5 and
# the candidate is 0: the state must halve in every step. Such a check finds more than a training
# does.

# %%
cell = ConvGRUCell(filters=2)
cell.build((1, 8, 8, 2))
cell.set_weights([np.zeros_like(weight) for weight in cell.get_weights()])
h = ops.ones((1, 8, 8, 2))
for step in range(3):
    _, [h] = cell(ops.ones((1, 8, 8, 2)), [h])
    print(f"step {step + 1}: h is {ops.convert_to_numpy(ops.mean(h)):.3f} everywhere")

# %% [markdown]
# ## Its multi-scale form
#
# `register` made it a model. The prefix `ms-` (or `multiscale=True`) puts it into the pyramid:
# pooling on the way to coarser scales, upsampling and skip connections on the way back. The weights
# are the same; the work and the memory are not.

# %%
sizes = {"filters": 16, "channels": 1, "patch_size": 4, "seed": 0}
plain = keras_msrnn.build("convgru", multiscale=False, scales=3, **sizes)
pyramid = keras_msrnn.build("ms-convgru", scales=(1, 2, 1), **sizes)
print(keras_msrnn.compare({"ConvGRU": plain, "MS-ConvGRU": pyramid}, (5, 32, 32, 1), horizon=5))

# %% [markdown]
# ## Beside another model, this evening
#
# The same digits, the same number of steps, the same settings for all. One seed only: differences
# of a few per cent are chance.


# %%
def half_size(digits):
    return digits.reshape(-1, 14, 2, 14, 2).mean((2, 4)).astype("uint8")


motion = {"context": 5, "horizon": 5, "size": 32, "digits_per_frame": 1, "speed": (1, 3)}
digits = half_size(keras_msrnn.data.rendered_digits(2000, seed=0))
unseen = half_size(keras_msrnn.data.rendered_digits(500, seed=1))
test = keras_msrnn.data.MovingMNIST(unseen, 64, batches=1, seed=1, fixed=True, **motion)
steps = 2 if SMOKE else 300


def train(name, **options):
    """A trained model and the seconds it took."""
    keras.utils.set_random_seed(0)
    model = keras_msrnn.build(name, **options, **sizes)
    rate = keras.optimizers.schedules.CosineDecay(6e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    data = keras_msrnn.data.MovingMNIST(digits, 8, batches=steps, **motion)
    began = time.perf_counter()
    model.fit(data, epochs=1, verbose=0)
    return model, time.perf_counter() - began


models, seconds = {}, {}
for name in ("convgru", "ms-convgru", "ms-convlstm")[: 2 if SMOKE else 3]:
    scales = (1, 2, 1) if name.startswith("ms-") else 3
    models[name], seconds[name] = train(name, multiscale=scales != 3, scales=scales)

# %%
scores = keras_msrnn.evaluate_forecast(models, test)
for name, error in scores.overall("squared_error_per_frame").items():
    weights = f"{models[name].count_params():8,} weights" if name in models else ""
    print(f"{name:12} squared error per frame {error:5.1f}  {weights}")
keras_msrnn.plotting.plot_scores(
    scores.by_lead_time("squared_error_per_frame"), "squared error per frame (lower is better)"
)

# %% [markdown]
# Numbers hide what goes wrong. The same sequence, forecast by each:

# %%
context, future = test[0]
films = {"truth": future, **{n: m.predict(context, verbose=0) for n, m in models.items()}}
figure, axes = plt.subplots(len(films), 1, figsize=(7, 1.25 * len(films)))
for axis, (name, film) in zip(axes, films.items()):
    axis.imshow(np.hstack(film[0]), cmap="gray", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(name, rotation=0, ha="right", va="center")
figure.suptitle("frames 1 to 5 ahead", fontsize=10)
plt.show()

# %% [markdown]
# ## It is a model like all others
#
# Streaming, longer horizons, `.keras` files, the tuner and the profiler know it. The second
# decorator, `register_keras_serializable`, is what lets a file find the class again; in the process
# that loads it, the class must have been imported.

# %%
models["ms-convgru"].save("ms_convgru.keras")
again = keras.saving.load_model("ms_convgru.keras")
print(type(again.rnn.cells[0]).__name__, again.rnn.scales, again.forecast(context[:1], 8).shape)

# %% [markdown]
# ## Try next
#
# - Give it a memory that climbs the stack, as PredRNN has one: `state_names = ("h", "m")` and
#   `climbing_states = ("m",)`. The stack hands `m` from cell to cell within a step, and resamples
#   it between scales.
# - Let the first cell differ from the others: register a function `cell(index, count, filters,
#   ...)`.
# - Options of its own: add an argument to `__init__` and `get_config`, and its name to
#   `register("convgru", options=("links",))`. `build` then takes it, and so does the tuner.
# - More seeds. Three are the least to say that one cell is better than another.
