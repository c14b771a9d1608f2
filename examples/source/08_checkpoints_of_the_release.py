# %% [markdown]
# # Checkpoints of the authors' release
#
# You have a `.pth` file that was trained with the authors' PyTorch code. Here it becomes a Keras
# model, on any backend, and you see that it computes what the checkpoint means.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # or "jax", or "torch"
SMOKE = "SMOKE" in os.environ  # a run of a few seconds, which only tests the notebook

import importlib.util
import pathlib

import numpy as np

import keras_msrnn
from keras_msrnn import convert

# %% [markdown]
# ## The model that the file belongs to
#
# A checkpoint is names and arrays; it does not say which model it is. You say: the cell,
# multi-scale or plain, the filters, the kernel size, the channels of a frame (after patches, if the
# training used them).
#
# `compat="reference"`, for TrajGRU, MIM and MotionRNN, also computes what the released code does
# differently from the papers, so that a checkpoint gives the numbers it gave there; [the
# differences](../docs/differences.md) are listed. The other models need no switch.

# %%
sizes = {"filters": 8 if SMOKE else 64, "scales": 3 if SMOKE else 6, "channels": 1}
model = keras_msrnn.build("ms-convlstm", **sizes)
entries = convert.reference_entries(model)
print(f"{len(entries)} arrays are expected, the first six:")
for name in list(entries)[:6]:
    print(f"  {name:36} {entries[name].shape}")

# %% [markdown]
# PyTorch keeps a kernel as `(out, in, height, width)`, Keras as `(height, width, in, out)`. And
# where the release adds two convolutions (`_conv_x2h` and `_conv_h2h`), this package has one over
# both inputs. Loading takes care of it.
#
# ## The file
#
# With your file beside the notebook as `checkpoint.pth`, and PyTorch installed, it is one line:
#
# ```python
# convert.load_reference_weights(model, "checkpoint.pth")
# ```
#
# The file is read in the mode of PyTorch that loads tensors only: a file with code inside is
# refused.
#
# **Where PyTorch is not installed,** turn the file into arrays once, on a machine that has it:
#
# ```python
# import numpy as np, torch
# state = torch.load("checkpoint.pth", map_location="cpu", weights_only=True)
# np.savez("checkpoint.npz", **{name: tensor.numpy() for name, tensor in state.items()})
# ```
#
# and load the `.npz`, as below. If you have neither, the notebook makes a state dict with the
# published names and shapes and **random values**: all steps are the same, but its forecasts mean
# nothing.

# %%
if pathlib.Path("checkpoint.pth").exists():
    source = "checkpoint.pth"
else:
    if not pathlib.Path("checkpoint.npz").exists():
        rng = np.random.default_rng(0)
        spread = {
            n: np.sqrt(1 / np.prod(e.shape[1:])) if len(e.shape) > 1 else 0.1
            for n, e in entries.items()
        }
        state = {n: spread[n] * rng.standard_normal(e.shape) for n, e in entries.items()}
        np.savez("checkpoint.npz", **{n: array.astype("float32") for n, array in state.items()})
        print("made checkpoint.npz with random values")
    source = dict(np.load("checkpoint.npz"))

convert.load_reference_weights(model, source)
print(f"loaded {model.count_params():,} weights")

# %% [markdown]
# Fewer weights than numbers in the file: two biases that are added became one.
#
# ## Is it the same model?
#
# Do not believe it; compute the first forecasts by hand. NumPy, the names of the checkpoint and the
# formula of the paper are enough for one ConvLSTM cell:
#
# $$[i, f, g, o] = W_x * x + W_h * h$$
#
# $$c' = \sigma(f)\,c + \sigma(i)\tanh g$$
#
# $$h' = \sigma(o)\tanh c'$$


# %%
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(weights, name, frame):
    """A "same" convolution of `(channels, height, width)` with a kernel as PyTorch keeps it."""
    kernel, edge = weights[f"{name}.weight"], weights[f"{name}.weight"].shape[-1] // 2
    frame = np.pad(frame, ((0, 0), (edge, edge), (edge, edge)))
    windows = np.lib.stride_tricks.sliding_window_view(frame, kernel.shape[2:], axis=(1, 2))
    return np.einsum("chwij,ocij->ohw", windows, kernel) + weights[f"{name}.bias"][:, None, None]


def by_hand(weights, frames):
    """The forecast of the frame after `frames` `(time, height, width)`, of one cell."""
    filters = len(weights["embed.conv_embed.bias"])
    h = c = np.zeros((filters, *frames.shape[1:]))
    for frame in frames:
        x = convolve(weights, "embed.conv_embed", frame[None])
        gates = convolve(weights, "rnns.lstm.0._conv_x2h", x) + convolve(
            weights, "rnns.lstm.0._conv_h2h", h
        )
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return convolve(weights, "fc.conv_fc", h)[0]


# %% [markdown]
# The first cell of the state dict, as a model of one cell:

# %%
weights = source if isinstance(source, dict) else keras_msrnn.checkpoint.read_arrays(source)
weights = {
    n: a for n, a in weights.items() if not n.startswith("rnns.") or n.startswith("rnns.lstm.0.")
}
single = keras_msrnn.build("convlstm", scales=(1,), filters=sizes["filters"], channels=1)
convert.load_reference_weights(single, weights)

frames = np.random.default_rng(1).random((3, 12, 12)).astype("float32")
keras_forecast = single.forecast(frames[None, ..., None], steps=1)[0, 0, ..., 0]
difference = np.abs(keras_forecast - by_hand(weights, frames)).max()
print(f"largest difference {difference:.1e}, largest value {np.abs(keras_forecast).max():.2f}")

# %% [markdown]
# Rounding of float32, nothing else. The tests of the package do the same for all models and both
# forms, against numbers that the released code itself computed.
#
# If PyTorch is here, the same arrays as a `.pth` file must give the same forecasts:

# %%
if importlib.util.find_spec("torch") is None:
    print("PyTorch is not installed: the .npz was the way.")
else:
    import torch

    torch.save({n: torch.from_numpy(a) for n, a in weights.items()}, "one_cell.pth")
    convert.load_reference_weights(single, "one_cell.pth")
    again = single.forecast(frames[None, ..., None], steps=1)[0, 0, ..., 0]
    print("the .pth file gives the same forecast:", np.array_equal(again, keras_forecast))

# %% [markdown]
# ## When it does not fit
#
# Nothing is loaded unless every entry fits, and the error names what does not. Here the model has a
# larger kernel than the file:

# %%
other = keras_msrnn.build(
    "convlstm", scales=(1,), filters=sizes["filters"], kernel_size=5, channels=1
)
try:
    convert.load_reference_weights(other, weights)
except ValueError as error:
    print(error)

# %% [markdown]
# ## From here on a Keras model
#
# Forecast with it, train it further, save it as `.keras`. With **your** checkpoint look at a
# forecast first. Frames must be scaled as in its training: 0..1 in the release. If the forecast is
# a smear from the first frame on, the scaling or the patches are not those of the training.

# %%
film = keras_msrnn.data.MovingMNIST(batch_size=2, batches=1, size=64, seed=1, fixed=True)
context, future = film[0]
if SMOKE:
    context, future = context[..., ::4, ::4, :], future[..., ::4, ::4, :]
forecast = model.forecast(context, steps=10)
print("forecast of", "random weights" if isinstance(source, dict) else source)
keras_msrnn.plotting.plot_forecast(context[0], future[0], forecast[0])

# %% [markdown]
# Random weights forecast next to nothing, as they should.

# %%
model.save("from_checkpoint.keras")
print(pathlib.Path("from_checkpoint.keras").stat().st_size // 1000, "kB")

# %% [markdown]
# ## Try next
#
# - Other models: `keras_msrnn.build("ms-predrnn", channels=1)` and so on, with the `filters` of the
#   file.
# - TaxiBJ, radar and Moving MNIST have readers that give frames as the release scaled them: [the
#   page on data](../docs/data.md).
# - Serve it: [09_serving](09_serving.ipynb).
