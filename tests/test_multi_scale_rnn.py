import keras
import numpy as np
import pytest
from keras import ops

import keras_msrnn
from keras_msrnn import MultiScaleRNN
from keras_msrnn.cells import ConvLSTMCell, ConvRNNCell, PredRNNCell
from keras_msrnn.pyramid import Resampling


def stack(cell=ConvLSTMCell, count=3, filters=4, **options):
    options.setdefault("scales", (1, 2, 1)[:count])
    return MultiScaleRNN([cell(filters, seed=i) for i in range(count)], **options)


def random(*shape):
    return np.random.default_rng(0).uniform(size=shape).astype("float32")


def numpy(x):
    return ops.convert_to_numpy(x)


class ConvGRUCell(ConvRNNCell):
    """A user's own cell, as in the documentation of `ConvRNNCell`."""

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


def test_returns_last_output_or_sequences_and_states():
    sequence = random(2, 4, 8, 8, 3)
    rnn = stack(PredRNNCell, return_sequences=True, return_state=True)
    outputs, states = rnn(sequence)
    assert outputs.shape == (2, 4, 8, 8, 4)
    assert len(states) == len(rnn.state_names) == 2 * 3 + 1  # h and c of each cell, one m
    last = MultiScaleRNN(rnn.cells, scales=rnn.scales)
    np.testing.assert_allclose(numpy(last(sequence)), numpy(outputs)[:, -1], atol=1e-6)


def test_initial_state_continues_a_sequence():
    sequence = random(2, 5, 9, 11, 3)
    rnn = stack(PredRNNCell, return_sequences=True, return_state=True)
    whole, _ = rnn(sequence)
    first, states = rnn(sequence[:, :2])
    second, _ = rnn(sequence[:, 2:], initial_state=states)
    joined = np.concatenate([numpy(first), numpy(second)], axis=1)
    np.testing.assert_allclose(joined, numpy(whole), atol=1e-6)


def test_stateful():
    sequence = random(2, 4, 8, 8, 1)
    rnn = stack(return_sequences=True)
    stateful = MultiScaleRNN(rnn.cells, rnn.scales, return_sequences=True, stateful=True)
    whole = numpy(rnn(sequence))
    for _ in range(2):
        parts = [numpy(stateful(sequence[:, t : t + 2])) for t in (0, 2)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-6)
        stateful.reset_state()
    with pytest.raises(ValueError, match="needs a fixed batch size"):
        stack(stateful=True)(keras.Input((None, 8, 8, 1)))
    with pytest.raises(ValueError, match="made with `stateful=True`"):
        rnn.reset_state()


@pytest.mark.parametrize("return_sequences", [False, True])
def test_in_a_functional_model(return_sequences, tmp_path):
    inputs = keras.Input((None, 10, 12, 2))
    rnn = stack(PredRNNCell, return_sequences=return_sequences, return_state=True)
    outputs, states = rnn(inputs)
    decoded = stack(PredRNNCell, return_sequences=True)(inputs, initial_state=states)
    assert decoded.shape == (None, None, 10, 12, 4)
    time = (None,) if return_sequences else ()
    assert outputs.shape == (None, *time, 10, 12, 4)
    model = keras.Model(inputs, [outputs, decoded])
    x = random(3, 4, 10, 12, 2)
    model.compile("adam", ["mse", "mse"])
    model.fit(x, [numpy(y) for y in model(x)], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, b in zip(model.predict(x, verbose=0), loaded.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_cell_of_the_users_own_and_a_mixed_stack():
    rnn = MultiScaleRNN(
        [ConvGRUCell(4), PredRNNCell(4), ConvGRUCell(4), PredRNNCell(4), ConvLSTMCell(4)],
        scales=(1, 2, 4, 2, 1),
        return_state=True,
    )
    output, states = rnn(random(2, 3, 8, 8, 1))
    assert output.shape == (2, 8, 8, 4)
    assert [name.split("/")[1] for name in rnn.state_names] == ["h", "h", "c", "h", "h", "c",
                                                                "h", "c", "m"]  # fmt: skip
    assert states[-1].shape == (2, 4, 4, 4)  # the memory rests at the last cell that has it


@pytest.mark.parametrize(
    "scales",
    [
        (1,),
        (1, 1),
        (1, 2),
        (2, 1),
        (1, 3, 1),
        (1, 2, 4, 8, 4, 2, 1),
        (1, 4, 1),
        (2, 4, 2),
        (1, 2, 6),
    ],
)
@pytest.mark.parametrize("skip", ["add", None, "unet3+", "full"])
def test_any_scales_and_any_size(scales, skip):
    rnn = stack(PredRNNCell, count=len(scales), scales=scales, skip=skip)
    assert numpy(rnn(random(1, 2, 13, 7, 2))).shape == (1, 13, 7, 4)


def test_padding_is_invisible_where_it_is_not_needed():
    rnn = stack(return_sequences=True, scales=(1, 1, 1))
    padded = stack(return_sequences=True, scales=(1, 2, 1))
    x = random(1, 2, 8, 8, 1)
    assert rnn.size_multiple == 1 and padded.size_multiple == 2
    assert numpy(padded(x[:, :, :7])).shape == (1, 2, 7, 8, 4)


def test_average_pooling_and_nearest_interpolation():
    x = random(1, 2, 8, 8, 1)
    usual = numpy(stack()(x))
    for options in ({"pooling": "average"}, {"interpolation": "nearest"}):
        assert np.abs(numpy(stack(**options)(x)) - usual).max() > 1e-4


def test_learned_resampling_is_a_convolution_of_the_blocks():
    layer = ConvLSTMCell(4, seed=1)
    x = random(2, 6, 4, 3)
    down = Resampling(layer, "down", (1, 2), (3, 5), "convolution", None)
    blocks = x.reshape(2, 3, 2, 2, 2, 3)
    expected = np.einsum("byixjc,ijco->byxo", blocks, numpy(down.convolution.kernel))
    np.testing.assert_allclose(numpy(down(ops.convert_to_tensor(x))), expected, atol=1e-5)
    up = Resampling(layer, "up", (4, 2), (3, 5), None, "transposed_convolution")
    expected = np.einsum("byxc,ijoc->byixjo", x, numpy(up.transposed.kernel))
    upsampled = numpy(up(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(upsampled, expected.reshape(2, 12, 8, 5), atol=1e-5)


def test_learned_resampling_trains_and_is_saved(tmp_path):
    model = keras_msrnn.build(
        "predrnn",
        filters={1: 2, 2: 4, 4: 6},
        scales=(1, 2, 4, 2, 1),
        pooling="convolution",
        interpolation="transposed_convolution",
        seed=0,
    )
    frames = random(2, 4, 9, 7, 1)
    model.build((None, *frames.shape[1:]))
    before = [np.array(weight) for weight in model.rnn.get_weights()]
    model.fit(frames[:, :2], frames[:, 2:], verbose=0)
    names = [weight.path for weight in model.rnn.weights]
    assert sum("_to_" in name for name in names) == 2 * (2 + 2 + 2 + 4)  # up, down, skip, m
    for name, old, new in zip(names, before, model.rnn.get_weights()):
        assert (old != new).any(), name
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(frames[:, :2], verbose=0), model.predict(frames[:, :2], verbose=0), atol=1e-6
    )


@pytest.mark.parametrize("name", keras_msrnn.list_models())
def test_filters_for_each_scale(name):
    options = {"filters": {1: 4, 2: 8}, "scales": (1, 2, 1), "channels": 1}
    reasons = {"predrnn-v2": "one adapter serves all", "motionrnn": "adds the inputs"}
    if name in reasons:
        with pytest.raises(ValueError, match=reasons[name]):
            keras_msrnn.build(name, **options).build((None, 2, 8, 8, 1))
        return
    model = keras_msrnn.build(name, **options)
    model.build((None, 2, 8, 8, 1))
    frame = ops.convert_to_tensor(random(1, 8, 8, 1))
    output, states = model.step(frame, model.get_initial_state(1, (8, 8)))
    assert tuple(output.shape) == (1, 8, 8, 1)
    assert [tuple(a.shape) for a in states] == [
        tuple(b.shape) for b in model.get_initial_state(1, (8, 8))
    ]
    with pytest.raises(ValueError, match="without one for \\[4\\]"):
        keras_msrnn.build(name, filters={1: 4, 2: 8})


def test_skips_use_the_outputs_they_say():
    sources = {
        "add": [[-1], [0], [1], [2], [3, 1], [4, 0]],
        None: [[-1], [0], [1], [2], [3], [4]],
        "unet3+": [[-1], [0], [1], [0, 1, 2], [0, 1, 3], [0, 3, 4]],
        "full": [[-1], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]],
    }
    for skip, expected in sources.items():
        rnn = stack(count=6, scales=(1, 2, 4, 4, 2, 1), skip=skip)
        assert [sorted(s) for s in rnn.sources] == [sorted(s) for s in expected]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: stack(scales=(1, 2)), ValueError, "Received: 2 scales (1, 2) for 3 cells"),
        (lambda: stack(scales=(1, 0, 1)), ValueError, "`scales` must be at least 1"),
        (lambda: stack(scales=(1, 2.5, 1)), TypeError, "`scales` must be an integer"),
        (lambda: stack(scales=(1, 2, 3)), ValueError, "with 2 next to 3"),
        (lambda: stack(skip="sum"), ValueError, "`skip` must be one of 'add', None"),
        (lambda: stack(pooling="min"), ValueError, "`pooling` must be one of 'max', 'average'"),
        (lambda: stack(remat="all"), ValueError, "`remat` must be one of None, 'step', 'sqrt'"),
        (lambda: MultiScaleRNN([]), ValueError, "at least one cell"),
        (lambda: MultiScaleRNN([keras.layers.Dense(2)]), TypeError, "ConvRNNCell"),
        (lambda: MultiScaleRNN([ConvLSTMCell(2)] * 2), ValueError, "the same cell twice"),
        (lambda: stack().build((None, 8, 8, 1)), ValueError, "(batch, time, height, width"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error) as raised:
        make()
    assert message in str(raised.value)


def test_wrong_number_of_states():
    rnn = stack(return_state=True)
    x = random(1, 2, 8, 8, 1)
    _, states = rnn(x)
    with pytest.raises(ValueError, match="list of 6 tensors"):
        rnn(x, initial_state=states[:2])
