"""The cells by themselves, and the operations on maps that they use."""

import importlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_msrnn
from keras_msrnn import backend, cells
from keras_msrnn.cells import spatial

CELLS = [
    cells.ConvLSTMCell(4),
    cells.TrajGRUCell(4, links=3),
    cells.PredRNNCell(4),
    cells.CausalLSTMCell(4, highway=True),
    cells.MIMCell(4),
    cells.MotionCell(cells.PredRNNCell(4)),
    cells.PrecipLSTMCell(4, window=5),
    cells.MoDeRNNCell(4),
    cells.CMSLSTMCell(4),
    cells.MKLSTMCell(4),
]


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: type(cell).__name__)
def test_cell_alone_equals_a_stack_of_one(cell):
    """In Keras's own RNN layer, in a Python loop and in MultiScaleRNN."""
    cell = type(cell).from_config(cell.get_config())
    sequence = random(2, 3, 8, 8, 4)
    by_keras = keras.layers.RNN(cell)(sequence)
    states = cell.get_initial_state(batch_size=2)
    assert len(states) == len(cell.state_names) == len(cell.state_size)
    for t in range(3):
        output, states = cell(sequence[:, t], states)
    stack = keras_msrnn.MultiScaleRNN([cell])(sequence)
    for result in (by_keras, stack):
        np.testing.assert_allclose(
            ops.convert_to_numpy(result), ops.convert_to_numpy(output), atol=1e-6
        )


@pytest.mark.parametrize(
    ("cell", "shape", "message"),
    [
        (cells.ConvLSTMCell(4), (2, 8, 8), "Received: shape=(2, 8, 8)"),
        (cells.CMSLSTMCell(4), (2, 8, 6, 4), "divide by 4. Received: height=8, width=6"),
        (cells.MotionCell(cells.MIMCell(4)), (2, 8, 7, 4), "divide by 2"),
        (cells.MotionCell(cells.MIMCell(4)), (2, 8, 8, 3), "inputs of 3 channels, filters=4"),
    ],
)
def test_wrong_input_shape(cell, shape, message):
    with pytest.raises(ValueError) as error:
        cell.build(shape)
    assert message in str(error.value)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`filters` must be at least 1. Received: filters=0"):
        cells.ConvLSTMCell(0)
    with pytest.raises(TypeError, match="`filters` must be an integer. Received: filters=2.5"):
        cells.ConvLSTMCell(2.5)
    with pytest.raises(ValueError, match="divide by 4.*Received: filters=6"):
        cells.MotionCell(cells.PredRNNCell(6))
    with pytest.raises(ValueError, match="`compat` must be None"):
        cells.TrajGRUCell(4, compat="torch")
    with pytest.raises(ValueError, match="must be known to make an initial state"):
        cells.ConvLSTMCell(4).get_initial_state(batch_size=2)


def test_seeds_make_weights_reproducible():
    first, second, other = (cells.PredRNNCell(4, seed=seed) for seed in (1, 1, 2))
    for cell in (first, second, other):
        cell.build((None, 8, 8, 3))
    first, second, other = (
        [ops.convert_to_numpy(weight) for weight in cell.weights if "kernel" in weight.name]
        for cell in (first, second, other)
    )
    for a, b, c in zip(first, second, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all()
    # The initial distribution is uniform with the fan-in of each input for itself.
    assert 0.9 / np.sqrt(9 * 3) < np.abs(first[0][:, :, :3]).max() <= 1 / np.sqrt(9 * 3)
    assert 0.9 / np.sqrt(9 * 4) < np.abs(first[0][:, :, 3:]).max() <= 1 / np.sqrt(9 * 4)


def naive_warp(image, flow):
    height, width, _ = image.shape
    out = np.zeros((height, width, flow.shape[2], image.shape[-1]))
    for y, x, field in np.ndindex(out.shape[:3]):
        u, v = flow[y, x, field]
        top, left = int(np.floor(y + v)), int(np.floor(x + u))
        for row in (top, top + 1):
            for column in (left, left + 1):
                if 0 <= row < height and 0 <= column < width:
                    weight = (1 - abs(y + v - row)) * (1 - abs(x + u - column))
                    out[y, x, field] += weight * image[row, column]
    return out


def test_warp():
    images, flow = random(2, 5, 7, 3), 3 * random(2, 5, 7, 2, 2)

    def warp(flow):
        tensors = map(ops.convert_to_tensor, (images, flow))
        return ops.convert_to_numpy(spatial.warp(*tensors))

    warped = warp(flow)
    expected = np.stack([naive_warp(*sample) for sample in zip(images, flow, strict=True)])
    np.testing.assert_allclose(warped, expected, atol=1e-5)
    np.testing.assert_allclose(warp(np.zeros_like(flow))[:, :, :, 0], images, atol=1e-5)
    flow[0] = np.nan
    np.testing.assert_array_equal(warp(flow)[1], warped[1])


def naive_local_attention(query, key, value, window):
    height, width, _ = query.shape
    out = np.zeros_like(query)
    for y, x in np.ndindex(height, width):
        similarities, values = [], []
        for dy in range(-(window // 2), window - window // 2):
            for dx in range(-(window // 2), window - window // 2):
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                similarities.append(query[y, x] @ key[y + dy, x + dx] if inside else 0.0)
                values.append(value[y + dy, x + dx] if inside else 0 * query[0, 0])
        weights = np.exp(similarities - np.max(similarities))
        out[y, x] = weights @ np.array(values) / weights.sum()
    return out


@pytest.mark.parametrize(("height", "width", "window"), [(5, 7, 3), (20, 9, 6), (35, 18, 30)])
def test_local_attention(height, width, window):
    q, k, v = random(3, 1, height, width, 2)
    attended = spatial.local_attention(*map(ops.convert_to_tensor, (q, k, v)), window)
    expected = naive_local_attention(q[0], k[0], v[0], window)
    np.testing.assert_allclose(ops.convert_to_numpy(attended)[0], expected, atol=1e-5)


def gradients(function, *arrays):
    """Those of half the squared distance of `function(*arrays)` from noise, by a step of SGD.

    A sum of the outputs would not do: no update would wait for the outputs, and TensorFlow may then
    update a variable before it is read (its optimizer takes Keras's `IdentityN` of all gradients
    for the order, and removes it later).
    """

    class Layer(keras.layers.Layer):
        def build(self, shape):
            for array in arrays:
                self.add_weight(
                    shape=array.shape, initializer=lambda *_, x=array, **__: ops.array(x.copy())
                )

        def call(self, inputs):
            outputs = function(*map(ops.convert_to_tensor, self.weights))
            noise = ops.convert_to_tensor(random(*outputs.shape))
            return ops.sum(ops.square(outputs - noise)) / 2 + 0 * inputs

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([Layer()])
    model.compile(keras.optimizers.SGD(1.0), lambda _, output: output)
    model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))
    return [a - ops.convert_to_numpy(w) for a, w in zip(arrays, model.weights, strict=True)]


def numeric_gradients(function, *arrays):
    """The same by differences of a function of one sample, in double precision."""
    arrays = [array.astype("float64") for array in arrays]
    noise = random(*function(*arrays).shape)
    results = []
    for array in arrays:
        results.append(np.zeros_like(array))
        for index in np.ndindex(array.shape):
            value, total = array[index], []
            for step in (1e-4, -1e-4):
                array[index] = value + step
                total.append(((function(*arrays) - noise) ** 2).sum() / 2)
            array[index] = value
            results[-1][index] = (total[0] - total[1]) / 2e-4
    return results


def test_gradients_of_warp():
    image, flow = random(1, 3, 4, 2), np.floor(2 * random(1, 3, 4, 2, 2))
    flow += np.random.default_rng(1).uniform(0.1, 0.9, flow.shape).astype("float32")
    expected = numeric_gradients(lambda x, y: naive_warp(x[0], y[0])[None], image, flow)
    for ours, theirs in zip(gradients(spatial.warp, image, flow), expected, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("kept_mask", [0, 2**20])  # PyTorch computes larger masks again
@pytest.mark.parametrize("height", [3, 10])  # one block of rows, and two
def test_gradients_of_local_attention(height, kept_mask, monkeypatch):
    module = importlib.import_module("keras_msrnn.backend.attention")
    monkeypatch.setattr(module, "KEPT_MASK", kept_mask)
    arrays = random(3, 1, height, 4, 2)

    def naive(*qkv):
        return naive_local_attention(*(x[0] for x in qkv), window=3)[None]

    def ours(*qkv):
        return spatial.local_attention(*qkv, window=3)

    expected = numeric_gradients(naive, *arrays)
    for received, gradient in zip(gradients(ours, *arrays), expected, strict=True):
        np.testing.assert_allclose(received, gradient, atol=1e-4)


@pytest.mark.parametrize("chunk", [2, 8])  # some queries at a time, and all
def test_attention_and_its_gradients(chunk, monkeypatch):
    module = importlib.import_module("keras_msrnn.backend.attention")
    monkeypatch.setattr(module, "CHUNK", chunk)
    arrays = random(3, 2, 8, 3)

    def naive(query, key, value):
        weights = np.exp(query @ np.swapaxes(key, 1, 2))
        return weights @ value / weights.sum(axis=-1, keepdims=True)

    attended = backend.attention(*map(ops.convert_to_tensor, arrays))
    np.testing.assert_allclose(ops.convert_to_numpy(attended), naive(*arrays), rtol=1e-4, atol=1e-5)
    expected = numeric_gradients(naive, *arrays)
    for received, gradient in zip(gradients(backend.attention, *arrays), expected, strict=True):
        np.testing.assert_allclose(received, gradient, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
def test_gradients_of_convolution_are_those_of_keras(kernel_size):
    arrays = random(2, 6, 5, 3), *random(2, kernel_size, kernel_size, 3, 3) / kernel_size**2

    def keras_convolution(x, kernel):
        return ops.conv(x, kernel, padding="same", data_format="channels_last")

    results = [
        gradients(lambda x, first, second, c=convolve: c(c(x, first), second), *arrays)
        for convolve in (backend.convolution, keras_convolution)
    ]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [(1, 1, "same"), (3, 1, "same"), (4, 1, "same"), (3, 1, "valid"), (2, 2, "valid")],
)
def test_convolution_is_that_of_keras(size, strides, padding):
    arrays = random(2, 6, 7, 3), random(size, size, 3, 5), random(5)
    inputs, kernel, bias = map(ops.convert_to_tensor, arrays)
    convolved = ops.conv(inputs, kernel, strides, padding, data_format="channels_last")
    for term, expected in ((None, convolved), (bias, convolved + bias)):
        received = backend.convolution(inputs, kernel, term, strides, padding)
        received, expected = map(ops.convert_to_numpy, (received, expected))
        np.testing.assert_allclose(received, expected, atol=1e-5)


LAST = {"data_format": "channels_last"}
CHANGES_OF_SCALE = {  # shape of a kernel, ours, Keras's
    "max": ((), lambda x: backend.pool(x, 2, "max"), lambda x: ops.max_pool(x, 2, 2, **LAST)),
    "average": (
        (),
        lambda x: backend.pool(x, 2, "average"),
        lambda x: ops.average_pool(x, 2, 2, **LAST),
    ),
    "upsample": (
        (),
        lambda x: backend.upsample_bilinear(x, 3),
        lambda x: ops.image.resize(x, (15, 21), "bilinear", **LAST),
    ),
    **{
        f"transposed {size}": (
            (size, size, 4, 3),
            lambda x, kernel: backend.transposed_convolution(x, kernel, 2),
            lambda x, kernel: ops.conv_transpose(x, kernel, 2, "same", **LAST),
        )
        for size in (2, 4)
    },
}


@pytest.mark.parametrize("name", CHANGES_OF_SCALE)
def test_changes_of_scale_and_their_gradients_are_those_of_keras(name):
    kernel_shape, ours, theirs = CHANGES_OF_SCALE[name]
    arrays = [random(2, 5, 7, 3), *([random(*kernel_shape)] if kernel_shape else [])]
    tensors = [ops.convert_to_tensor(array) for array in arrays]
    received, expected = (ops.convert_to_numpy(f(*tensors)) for f in (ours, theirs))
    np.testing.assert_allclose(received, expected, atol=1e-5)
    for pair in zip(gradients(ours, *arrays), gradients(theirs, *arrays), strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("parts", [2, (1, 3)])
def test_channels_are_split_and_joined(parts):
    x = ops.convert_to_tensor(random(2, 3, 3, 4))
    split = backend.split(x, parts)
    assert [part.shape[-1] for part in split] == ([2, 2] if parts == 2 else [1, 3])
    joined = backend.concatenate(split)
    np.testing.assert_array_equal(ops.convert_to_numpy(joined), ops.convert_to_numpy(x))
