import gc
import types
import warnings
import weakref

import keras
import numpy as np
import pytest
from keras import ops

import keras_msrnn
from keras_msrnn import backend, sampling


class Sequences(keras.utils.PyDataset):
    def __init__(self, context, future, batch_size=2, **kwargs):
        super().__init__(**kwargs)
        self.frames = context, future
        self.batch_size = batch_size

    def __len__(self):
        return len(self.frames[0]) // self.batch_size

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return tuple(frames[rows] for frames in self.frames)


def torch_loader(context, future):
    import torch

    dataset = torch.utils.data.TensorDataset(torch.tensor(context), torch.tensor(future))
    return torch.utils.data.DataLoader(dataset, batch_size=2)


def tensorflow_dataset(context, future):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((context, future)).batch(2)


def generator(context, future):
    while True:
        for start in (0, 2):
            yield context[start : start + 2], future[start : start + 2]


DATASETS = {
    "PyDataset": Sequences,
    "tf.data": tensorflow_dataset,
    "DataLoader": torch_loader,
    "generator": generator,
}


def weights(model):
    return [ops.convert_to_numpy(variable) for variable in model.trainable_variables]


# Training


@pytest.mark.parametrize("kind", DATASETS)
def test_fit_and_evaluate_on_every_kind_of_data(kind, small_model, sequences):
    context, future = sequences()
    by_array, by_dataset = small_model(sampling=None), small_model(sampling=None)
    by_array.fit(context, future, batch_size=2, shuffle=False, verbose=0)
    steps = 2 if kind == "generator" else None
    by_dataset.fit(DATASETS[kind](context, future), steps_per_epoch=steps, verbose=0)
    for a, b in zip(weights(by_array), weights(by_dataset), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert by_dataset.horizon == future.shape[1]
    np.testing.assert_allclose(
        by_array.evaluate(context, future, batch_size=2, verbose=0),
        by_dataset.evaluate(DATASETS[kind](context, future), steps=steps, verbose=0),
        rtol=1e-4,
    )


def test_workers_hand_over_each_batch_once(small_model, sequences):
    context, future = sequences(samples=24)
    model = small_model()
    first = model.evaluate(Sequences(context, future, workers=4), verbose=0)
    again = model.evaluate(Sequences(context, future), verbose=0)
    np.testing.assert_allclose(first, again, rtol=1e-5)


def test_ready_with_nothing_but_a_name(sequences):
    model = keras_msrnn.build("MS_PredRNN-V2")
    assert isinstance(model.sampling, sampling.ReverseScheduledSampling)
    assert isinstance(model.loss, keras_msrnn.losses.SquaredPlusAbsoluteError)
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 3e-4)
    assert model.rnn.scales == (1, 2, 4, 4, 2, 1)
    assert {cell.filters for cell in model.rnn.cells} == {64}
    assert model.rnn.decoupling_weight == 0.01


def test_loss_of_the_paper():
    rng = np.random.default_rng(0)
    truth, forecast = rng.uniform(size=(2, 2, 3, 4, 5, 2)).astype("float32")
    error = truth - forecast
    expected = (error**2 + np.abs(error)).sum((2, 3, 4))
    loss = keras_msrnn.losses.SquaredPlusAbsoluteError()
    np.testing.assert_allclose(float(loss(truth, forecast)), expected.mean(), rtol=1e-6)
    per_sample = float(loss(truth, forecast, sample_weight=np.array([1.0, 0.0])))
    np.testing.assert_allclose(per_sample, expected[0].sum() / 6, rtol=1e-6)


def test_sample_weight_and_metrics(small_model, sequences):
    context, future = sequences()
    model = small_model(sampling=None)
    model.compile(keras.optimizers.SGD(0.0), model.loss, metrics=["mae"])
    trained = model.fit(context, future, verbose=0).history["mae"][0]
    evaluated = model.evaluate(context, future, verbose=0)[1]
    error = np.abs(model.predict(context, verbose=0) - future).mean()
    # Metrics are those of the forecasts, in training too.
    np.testing.assert_allclose([trained, evaluated], error, rtol=1e-5)

    weight = np.ones((4, 2), "float32")
    loss = model.fit(context, future, sample_weight=weight, verbose=0).history["loss"]
    unweighted = model.fit(context, future, verbose=0).history["loss"]
    np.testing.assert_allclose(loss, unweighted, rtol=1e-5)
    weight[:, 1] = 0
    assert model.fit(context, future, sample_weight=weight, verbose=0).history["loss"] < unweighted
    mask = np.ones((4, 2, 8, 8, 1), bool)
    loss = model.fit(context, future, sample_weight=mask, verbose=0).history["loss"]
    np.testing.assert_allclose(loss, unweighted, rtol=1e-5)
    mask[:, 1, 2:] = False
    loss = model.fit(context, future, sample_weight=mask, verbose=0).history["loss"]
    holes = np.where(mask, future, np.float32("nan"))
    missing = model.fit(context, holes, verbose=0).history["loss"]
    np.testing.assert_allclose(loss, missing, rtol=1e-5)
    assert loss < unweighted


def test_the_future_is_used_in_training_only(small_model, sequences):
    model = small_model()
    context, future = sequences()
    forecast = model.predict(context, verbose=0)
    inputs = {"context": context, "future": future + 1}
    evaluated = model(inputs, training=False)
    np.testing.assert_allclose(ops.convert_to_numpy(evaluated), forecast[:, :2], atol=1e-6)
    model.sampling.total.assign(10)  # at the first step all frames are true
    trained = ops.convert_to_numpy(model(inputs, training=True))
    assert trained.shape[1] == 3 + 2 - 1
    np.testing.assert_allclose(trained[:, 2], forecast[:, 0], atol=1e-6)
    assert np.abs(trained[:, 3] - forecast[:, 1]).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["ms-mk-lstm", "ms-mim", "predrnn++", "trajgru", "modernn"])
def test_folded_embedding_changes_no_number(name, dtype, small_model):
    model = small_model(name, name.startswith("ms"), filters=8, channels=2, dtype=dtype)
    model.embed.bias.assign(np.linspace(-1, 1, 8))
    frame = np.random.default_rng(0).uniform(size=(2, 5, 7, 2)).astype("float32")
    states = model.get_initial_state(2, (5, 7))
    states = [state + 0.1 for state in states]
    features, expected = model.rnn.step(model.embed(ops.convert_to_tensor(frame)), states)
    forecast, received = model.step(ops.convert_to_tensor(frame), states)
    tolerance = 1e-5 if dtype == "float32" else 5e-2
    for a, b in zip([model.head(features), *expected], [forecast, *received], strict=True):
        a, b = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (a, b))
        np.testing.assert_allclose(a, b, atol=tolerance)


def test_embedding_is_not_folded_into_a_cell_that_inherits(small_model, sequences):
    class Doubled(keras_msrnn.cells.ConvLSTMCell):
        def call(self, inputs, states, training=None):
            return super().call(2 * inputs, states)

    rnn = keras_msrnn.MultiScaleRNN([Doubled(8)])
    model = keras_msrnn.Forecaster(rnn, horizon=2, channels=1)
    assert model.predict(sequences()[0], verbose=0).shape == (4, 2, 8, 8, 1)


@pytest.mark.parametrize("name", ["ms-predrnn-v2", "preciplstm"])
def test_rematerialisation_changes_no_number(name, small_model, sequences):
    context, future = sequences(context=5, horizon=5, height=20)
    results = []
    for remat in (None, "step", "sqrt"):
        model = small_model(name, name.startswith("ms"), remat=remat, sampling=None)
        model.compile(keras.optimizers.SGD(1e-3), model.loss)
        model.fit(context, future, verbose=0)
        results.append(weights(model))
    for kept, step, sqrt in zip(*results, strict=True):
        np.testing.assert_allclose(step, kept, atol=1e-5)
        np.testing.assert_allclose(sqrt, kept, atol=1e-5)


def held_bytes():
    """Bytes of all tensors that Python or the backend hold."""
    if keras.backend.backend() == "jax":
        import jax

        return sum(array.nbytes for array in jax.live_arrays())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("CPU:0")["current"]
    import torch

    tensors = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return sum(x.nbytes for x in tensors)


@pytest.mark.parametrize("remat", [None, "step", "sqrt"])
def test_a_step_leaves_nothing_behind(remat, small_model, sequences):
    """Nothing waits for Python's garbage collector: memory would grow until it runs."""
    model = small_model("predrnn", remat=remat)
    data = sequences(context=5, horizon=5, height=32, width=32)
    model.train_on_batch(*data)
    gc.collect()
    gc.disable()
    try:
        before = held_bytes()
        model.train_on_batch(*data)
        after = held_bytes()
    finally:
        gc.enable()
    assert after - before < 2e6  # of 40e6


def host_accesses(model, context, future):
    """How often a training step calls Python, copies from it or reads a value back."""
    if keras.backend.backend() == "torch":
        from torch.utils._python_dispatch import TorchDispatchMode

        class Counter(TorchDispatchMode):
            count = 0

            def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
                kwargs = kwargs or {}
                copied = operation.name() == "aten::_to_copy" and "device" in kwargs
                read = operation.name() in ("aten::lift_fresh", "aten::_local_scalar_dense")
                self.count += copied or read
                return operation(*args, **kwargs)

        frames = [ops.convert_to_tensor(x) for x in (context, future)]
        model.train_on_batch(*frames)
        with Counter() as counter:
            model.train_on_batch(*frames)
        return counter.count

    def run(context, future):
        return model({"context": context, "future": future}, training=True)

    if keras.backend.backend() == "jax":
        import jax

        return str(jax.make_jaxpr(run)(context, future)).count("callback")
    import tensorflow as tf

    graph = tf.function(run).get_concrete_function(context, future).graph.as_graph_def()
    nodes = [node.op for function in graph.library.function for node in function.node_def]
    return sum("PyFunc" in operation for operation in nodes)


@pytest.mark.parametrize("name", ["trajgru", "motionrnn", "preciplstm", "cms-lstm"])
def test_no_step_in_time_waits_for_the_host(name, small_model, sequences):
    """On a GPU, what reads or copies a value within the loop makes both wait."""
    counts = [
        host_accesses(small_model(name), *sequences(horizon=horizon, height=16, width=16))
        for horizon in (2, 4)
    ]
    assert counts[0] == counts[1]
    assert keras.backend.backend() == "torch" or counts == [0, 0]


def weak_reference(tensor):
    """A function that tells whether the memory of a tensor is still in use."""
    if keras.backend.backend() == "torch":
        from torch.multiprocessing.reductions import StorageWeakRef

        storage = StorageWeakRef(tensor.untyped_storage())
        return lambda: not storage.expired()
    reference = weakref.ref(tensor)
    return lambda: reference() is not None


def kept_carries(remat, steps=36):
    """How many of the carries of a loop are kept until its gradient is taken."""
    kept = []

    def loop(carry):
        def step(carry, _):
            kept.append(weak_reference(carry[0]))
            return [ops.tanh(ops.tanh(carry[0]))], []

        return backend.scan(step, [carry], steps, like=[], remat=remat)[0]

    carry = ops.ones((64, 64))
    if keras.backend.backend() == "jax":
        import jax

        before = held_bytes()
        result = jax.vjp(loop, carry)
        return (held_bytes() - before) / result[0][0].nbytes
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(carry)
            result = loop(carry)
    else:
        result = loop(carry.requires_grad_())
    gc.collect()
    assert result is not None
    return sum(is_kept() for is_kept in kept)


def test_rematerialisation_keeps_few_states():
    assert kept_carries(None) >= 36
    assert 36 <= kept_carries("step") < 40
    assert 6 <= kept_carries("sqrt") < 10


def test_rematerialisation_goes_on_with_large_maps():
    """TensorFlow's memory optimizer, on its own, broke the second step."""
    frames = np.random.default_rng(0).uniform(size=(4, 4, 256, 256, 1)).astype("float32")
    model = keras_msrnn.build("ms-convlstm", filters=8, horizon=2, remat="step", seed=0)
    history = model.fit(frames[:, :2], frames[:, 2:], batch_size=4, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


def test_xla_compiles_only_where_it_can(small_model, monkeypatch):
    """On GPUs Keras hands TensorFlow models to XLA, unless they say that it cannot be."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpu = types.SimpleNamespace(device_type="GPU")
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [gpu])
    assert small_model().jit_compile == (keras.backend.backend() == "jax")


def test_the_step_is_traced_once(small_model, sequences):
    traces = 0

    def loss(truth, forecast):
        nonlocal traces
        traces += 1
        return keras.ops.mean(keras.ops.square(truth - forecast))

    model = small_model()
    model.compile(keras.optimizers.Adam(), loss)
    model.fit(*sequences(), batch_size=2, verbose=0)
    # JAX and PyTorch find out the shapes before, and PyTorch runs it for each of two batches.
    assert traces == {"tensorflow": 1, "jax": 2, "torch": 3}[keras.backend.backend()]


def test_compile_keeps_the_loss(small_model, sequences, tmp_path):
    model = small_model()
    loss = model.loss
    model.compile("adam")
    assert model.loss is loss
    data = sequences()
    model.fit(*data, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.evaluate(*data, verbose=0), model.evaluate(*data, verbose=0), rtol=1e-5
    )


def test_same_seed_same_result(small_model, sequences):
    context, future = sequences()
    results = []
    for seed in (1, 1, 2):
        model = small_model("ms-predrnn", seed=seed)
        model.sampling.extend(100)
        model.fit(context, future, epochs=2, shuffle=False, verbose=0)
        results.append(model.predict(context, verbose=0))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-3


@pytest.mark.parametrize("name", ["convlstm", "ms-motionrnn", "ms-predrnn-v2"])
def test_mixed_bfloat16(name, small_model, sequences):
    context, future = sequences()
    model = small_model(name, name.startswith("ms"), dtype="mixed_bfloat16")
    model.optimizer.learning_rate = 3e-3
    history = model.fit(context, future, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    states = model.get_initial_state(1, (8, 8))
    assert {keras.backend.standardize_dtype(state.dtype) for state in states} == {"bfloat16"}
    forecast = model.predict(context, verbose=0)
    assert forecast.dtype == "float32" and np.isfinite(forecast).all()
    full = small_model(name, name.startswith("ms"), horizon=2)
    full.set_weights(model.get_weights())
    np.testing.assert_allclose(forecast, full.predict(context, verbose=0), atol=0.05)


# Sampling


def test_scheduled_sampling_falls_linearly():
    schedule = sampling.ScheduledSampling(steps=10)
    schedule.build()
    for step, expected in ((0, 1.0), (5, 0.5), (10, 0.0), (20, 0.0)):
        schedule.step.assign(step)
        p = ops.convert_to_numpy(schedule.probabilities(3, 3))
        np.testing.assert_allclose(p, [1, 1, 1, expected, expected])


def test_reverse_scheduled_sampling():
    schedule = sampling.ReverseScheduledSampling(steps=150)
    schedule.build()
    values = {
        0: (0.5, 0.5),
        49: (0.5, 0.5),
        60: (1 - 0.5 * np.exp(-1), 0.4),
        75: (1 - 0.5 * np.exp(-2.5), 0.25),
        101: (1.0, 0.0),
        150: (1.0, 0.0),
    }
    for step, (in_context, after) in values.items():
        schedule.step.assign(step)
        p = ops.convert_to_numpy(schedule.probabilities(2, 3))
        np.testing.assert_allclose(p, [in_context, in_context, after, after], atol=1e-6)


def test_sampling_draws_for_each_step_and_sample(small_model):
    model = small_model(sampling=sampling.ReverseScheduledSampling(steps=10))
    drawn = ops.convert_to_numpy(model._draw_sampling(500, 3, 3))
    assert drawn.shape == (5, 500, 1, 1, 1)
    assert drawn[0].all()
    np.testing.assert_allclose(drawn[1:].mean(axis=(1, 2, 3, 4)), 0.5, atol=0.1)
    assert 0.3 < (drawn[1] != drawn[2]).mean() < 0.7


def test_schedule_goes_on_after_loading(small_model, sequences, tmp_path):
    context, future = sequences()
    model = small_model()
    model.fit(context, future, batch_size=2, epochs=4, verbose=0)
    assert (int(model.sampling.step), int(model.sampling.total)) == (8, 8)
    model.sampling.step.assign(4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.sampling.step) == 4
    loaded.fit(context, future, batch_size=2, epochs=4, initial_epoch=2, verbose=0)
    assert (int(loaded.sampling.step), int(loaded.sampling.total)) == (8, 8)


def test_unknown_length_of_the_training(small_model, sequences):
    data = sequences()
    with pytest.raises(ValueError, match=r"Pass `steps_per_epoch`, or `sampling="):
        small_model().fit(generator(*data), verbose=0)
    model = small_model(sampling=sampling.ScheduledSampling(steps=7))
    model.fit(generator(*data), steps_per_epoch=2, verbose=0)
    assert (int(model.sampling.step), int(model.sampling.total)) == (2, 7)
    with pytest.raises(ValueError, match="`sampling` must be one of 'scheduled'"):
        small_model(sampling="never")


# Forecasting


def test_any_horizon_and_the_models_own_stays(small_model, sequences):
    model = small_model("ms-mim", horizon=2)
    context, _ = sequences()
    long = model.forecast(context, steps=7)
    assert long.shape[1] == 7 and model.horizon == 2
    np.testing.assert_allclose(model.predict(context, verbose=0), long[:, :2], atol=1e-6)
    np.testing.assert_allclose(model.forecast(context, steps=1), long[:, :1], atol=1e-6)
    np.testing.assert_allclose(model.forecast(context), long[:, :2], atol=1e-6)
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        model.forecast(context, steps=0)


def test_forecasts_follow_the_weights(small_model, sequences):
    model = small_model(horizon=2)
    context, future = sequences()
    before = model.forecast(context), model.stream().update(context[:, 0])
    model.compile(keras.optimizers.SGD(1e-3), model.loss)
    model.fit(context, future, verbose=0)
    after = model.forecast(context), model.stream().update(context[:, 0])
    for a, b in zip(before, after, strict=True):
        assert np.abs(a - b).max() > 1e-4


@pytest.mark.parametrize("name", ["ms-convlstm", "ms-motionrnn", "preciplstm"])
def test_streaming_equals_forecasting(name, small_model, sequences):
    model = small_model(name, name.startswith("ms"))
    context, _ = sequences(samples=2, context=4)
    stream = model.stream()
    for t in range(4):
        streamed = stream.update(context[:, t], steps=3)
        batch = ops.convert_to_numpy(model({"context": context[:, : t + 1], "future": streamed}))
        np.testing.assert_allclose(streamed, batch, atol=1e-5)
    stream.reset()
    again = stream.update(context[:, 0], steps=3)
    np.testing.assert_allclose(again, model.forecast(context[:, :1], steps=3), atol=1e-5)
    with pytest.raises(ValueError, match="same shape"):
        stream.update(context[:1, 0])
    with pytest.raises(ValueError, match=r"Use `frame\[None\]`"):
        stream.update(context[0, 0])


def test_other_sizes_from_call_to_call(small_model, sequences):
    model = small_model("ms-preciplstm", horizon=2)
    for height, width, samples in ((8, 8, 2), (9, 20, 3), (8, 8, 1)):
        context, _ = sequences(samples=samples, height=height, width=width)
        assert model.predict(context, verbose=0).shape == (samples, 2, height, width, 1)


@pytest.mark.parametrize("patch_size", [2, 3])
def test_patches(patch_size, small_model, sequences):
    context, future = sequences(height=8, width=9, channels=2)
    model = small_model("ms-convlstm", patch_size=patch_size, channels=None)
    model.fit(context, future, verbose=0)
    assert model.predict(context, verbose=0).shape == future.shape
    assert model.embed.kernel.shape[0] == 2 * patch_size**2


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": (4, 3, 8, 8)}, "A channel axis may be missing"),
        ({"context": (4, 0, 8, 8, 1)}, "at least one frame"),
        ({"context": (4, 3, 8, 8, 2), "future": (4, 2, 8, 8, 2)}, "must have 1 channels"),
        ({"future": (4, 2, 8, 9, 1)}, "same height, width and channels"),
        ({"future": (4, 0, 8, 8, 1)}, "with at least one frame"),
        ({"future": (3, 2, 8, 8, 1)}, "same number of samples. Received: 4 and 3"),
        ({"future": None}, "need the future"),
    ],
)
def test_wrong_shapes(arguments, message, small_model):
    shapes = {"context": (4, 3, 8, 8, 1), "future": (4, 2, 8, 8, 1), **arguments}
    context, future = (None if s is None else np.zeros(s, "float32") for s in shapes.values())
    with pytest.raises(ValueError) as error:
        small_model().fit(context, future, verbose=0)
    assert message in str(error.value)


def test_wrong_dtype_and_range(small_model, sequences):
    context, _ = sequences()
    model = small_model()
    with pytest.raises(TypeError, match="must hold numbers. Received: dtype=bool"):
        model.predict(context > 0.5, verbose=0)
    with pytest.raises(TypeError, match="must hold numbers. Received: dtype=<U"):
        model.predict(context.astype("str"), verbose=0)
    with pytest.warns(UserWarning, match="scaled to about 0..1. Received values up to 255"):
        model.predict((context / context.max() * 255).astype("uint8"), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.predict(context.astype("float64"), verbose=0)


@pytest.mark.parametrize("kind", ["array", *DATASETS])
def test_frames_that_are_not_finite_are_found_on_request(kind, small_model, sequences):
    context, future = sequences()
    context[3, 1, 2, 0, 0] = np.nan
    model = small_model(check_finite=True, sampling=sampling.ScheduledSampling(10))
    before = weights(model)
    with pytest.raises(Exception, match="must be finite") as error:
        if kind == "array":
            model.fit(context, future, verbose=0)
        else:
            steps = 2 if kind == "generator" else None
            model.fit(DATASETS[kind](context, future), steps_per_epoch=steps, verbose=0)
    if kind == "array":
        assert "nan in sample 3 at (1, 2, 0, 0)" in str(error.value)
        for a, b in zip(before, weights(model), strict=True):
            np.testing.assert_array_equal(a, b)


def test_missing_data_are_filled_for_the_model_and_left_out_of_the_loss(small_model, sequences):
    context, future = sequences()
    holes, gaps = context.copy(), future.copy()
    holes[1, 1, 3, 3], gaps[2, 0, :, 4:] = np.nan, np.nan
    results = []
    for x, y in ((holes, gaps), (np.nan_to_num(holes), np.nan_to_num(gaps))):
        model = small_model(sampling=sampling.ScheduledSampling(10), fill_missing=0)
        losses = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        assert np.isfinite(losses).all()
        results.append((losses[0], small_model(fill_missing=0).predict(x, verbose=0)))
    # The same forecasts, but missing pixels, of which the model is wrong, are not scored.
    assert results[0][0] < results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    stream = small_model(fill_missing=0, horizon=2).stream()
    assert np.isfinite(stream.update(holes[:, 1])).all()


def test_a_bad_sample_does_not_spread(small_model, sequences):
    context, _ = sequences(samples=3)
    for name in ("ms-trajgru", "ms-cms-lstm", "ms-preciplstm"):
        model = small_model(name, horizon=2)
        good = model.predict(context, verbose=0)
        bad = context.copy()
        bad[1, 0, 3, 3] = np.nan
        forecast = model.predict(bad, verbose=0)
        np.testing.assert_allclose(forecast[[0, 2]], good[[0, 2]], atol=1e-6)
        assert np.isnan(forecast[1]).any()
