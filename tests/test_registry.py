import pytest

import keras_msrnn
from keras_msrnn import cells, registry


def test_all_models_are_there():
    assert set(keras_msrnn.list_models()) == {
        "convlstm", "trajgru", "predrnn", "predrnn++", "mim", "motionrnn", "predrnn-v2",
        "preciplstm", "modernn", "cms-lstm", "mk-lstm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "model", "prefixed"),
    [
        ("PredRNN++", "predrnn++", False),
        ("predrnn_pp", "predrnn++", False),
        ("MS-PredRNN++", "predrnn++", True),
        ("ms_motion_rnn", "motionrnn", True),
        ("PredRNNv2", "predrnn-v2", False),
        ("CMS_LSTM", "cms-lstm", False),
        ("mk lstm", "mk-lstm", False),
        ("ms-lstm", "mk-lstm", True),
        ("MS-MK-LSTM", "mk-lstm", True),
    ],
)
def test_names_are_forgiving(name, model, prefixed):
    found, is_prefixed = registry.find(name)
    assert (found.name, is_prefixed) == (model, prefixed)


@pytest.mark.parametrize(
    ("scales", "multiscale", "expected"),
    [
        (None, True, (1, 2, 4, 4, 2, 1)),
        (None, False, (1,) * 6),
        (1, True, (1,)),
        (2, True, (1, 1)),
        (5, True, (1, 2, 4, 2, 1)),
        (8, True, (1, 2, 4, 4, 4, 4, 2, 1)),
        (3, False, (1, 1, 1)),
        ([1, 4, 1], True, (1, 4, 1)),
    ],
)
def test_scales(scales, multiscale, expected):
    model = keras_msrnn.build("mim", multiscale, scales=scales, filters=4, channels=1)
    assert model.rnn.scales == expected


def test_models_differ_within_the_stack():
    def kinds(name, count):
        model = keras_msrnn.build(name, scales=count, filters=4)
        return [type(cell).__name__ for cell in model.rnn.cells]

    assert kinds("mim", 3) == ["PredRNNCell", "MIMCell", "MIMCell"]
    assert kinds("motionrnn", 3) == ["MotionCell", "MotionCell", "MIMCell"]
    model = keras_msrnn.build("predrnn++", scales=4, filters=4)
    assert [cell.highway for cell in model.rnn.cells] == [False, True, False, False]


def test_own_options():
    assert keras_msrnn.build("trajgru", links=3, filters=4).rnn.cells[0].links == 3
    assert keras_msrnn.build("preciplstm", window=7, filters=4).rnn.cells[0].window == 7
    model = keras_msrnn.build("motionrnn", compat="reference", filters=4)
    assert {cell.compat for cell in model.rnn.cells} == {"reference"}
    keras_msrnn.build("convlstm", compat="reference", filters=4)  # nothing to change


def test_register_a_model_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))

    @keras_msrnn.register("Own-Cell", options=("twist",))
    class OwnCell(cells.ConvLSTMCell):
        def __init__(self, filters, kernel_size=3, twist=0, **kwargs):
            super().__init__(filters, kernel_size, **kwargs)
            self.twist = twist

    model = keras_msrnn.build("ms-own_cell", filters=4, twist=2)
    assert "Own-Cell" in keras_msrnn.list_models()
    assert [(type(cell), cell.twist) for cell in model.rnn.cells] == [(OwnCell, 2)] * 6
    with pytest.raises(ValueError, match="under which .*OwnCell.* is registered"):
        keras_msrnn.register("owncell", cells.MIMCell)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "predrn"}, ValueError, "Did you mean 'predrnn'?"),
        ({"name": "ms-motionrn"}, ValueError, "Did you mean 'motionrnn'?"),
        ({"name": "xyz"}, ValueError, "The models are cms-lstm, convlstm"),
        ({"name": 3}, TypeError, "`name` must be a string"),
        ({"name": "ms-mim", "multiscale": False}, ValueError, "contradicts the prefix"),
        ({"name": "mim", "links": 3}, TypeError, "not an option of 'mim'"),
        ({"name": "mim", "compat": "torch"}, ValueError, "`compat` must be None"),
        ({"name": "mim", "scales": 0}, ValueError, "at least one cell"),
        ({"name": "mim", "multiscale": False, "scales": (1, 2)}, ValueError, "must all be 1"),
        ({"name": "mim", "scales": (1, 2, 3)}, ValueError, "with 2 next to 3"),
        ({"name": "motionrnn", "filters": 6}, ValueError, "`filters` must divide by 4"),
        ({"name": "mim", "horizon": 0}, ValueError, "`horizon` must be at least 1"),
        ({"name": "mim", "patch_size": 1.5}, TypeError, "`patch_size` must be an integer"),
        ({"name": "mim", "channels": -1}, ValueError, "`channels` must be at least 1"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error) as raised:
        keras_msrnn.build(**arguments)
    assert message in str(raised.value)
