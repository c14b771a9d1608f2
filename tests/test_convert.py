import os
import pickle

import numpy as np
import pytest
from keras import ops

from keras_msrnn import convert


@pytest.fixture
def model(small_model):
    return small_model("ms-predrnn-v2", filters=4, scales=2, horizon=2)


def checkpoint(model):
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(entry.shape).astype("float32")
        for name, entry in convert.reference_entries(model).items()
    }


def weights(model):
    return [ops.convert_to_numpy(variable) for variable in model.trainable_variables]


@pytest.mark.parametrize("wrapped", [False, True])
def test_reads_a_file_of_a_distributed_wrapper(model, tmp_path, wrapped):
    import torch

    arrays = checkpoint(model)
    tensors = {f"module.{name}": torch.tensor(array) for name, array in arrays.items()}
    path = tmp_path / "model.pth"
    torch.save({"state_dict": tensors} if wrapped else tensors, path)
    convert.load_reference_weights(model, path)
    from_file = weights(model)
    assert all(np.abs(weight).max() > 0 for weight in from_file)
    convert.load_reference_weights(model, arrays)
    for a, b in zip(from_file, weights(model), strict=True):
        np.testing.assert_array_equal(a, b)
    # The biases of convolutions that are added are one bias here.
    cell = model.rnn.cells[0]
    np.testing.assert_allclose(
        ops.convert_to_numpy(cell.gates.bias),
        arrays["rnns.lstm.0._conv_x2h.bias"] + arrays["rnns.lstm.0._conv_h2h.bias"],
        rtol=1e-6,
    )


def test_all_problems_are_named_and_nothing_is_loaded(model):
    arrays = checkpoint(model)
    before = weights(model)
    del arrays["rnns.lstm.1._conv_h2h.weight"]
    arrays["rnns.adapter.weight"] = np.zeros((4, 4, 3, 3), "float32")
    arrays["rnns.lstm.2._conv_h2h.bias"] = np.zeros(16, "float32")
    arrays["fc.conv_fc.bias"] = np.full(1, np.nan, "float32")
    with pytest.raises(ValueError) as error:
        convert.load_reference_weights(model, arrays)
    for line in (
        "missing: rnns.lstm.1._conv_h2h.weight (16, 4, 3, 3)",
        "shape of rnns.adapter.weight: (4, 4, 1, 1) needed, (4, 4, 3, 3) found",
        "unexpected: rnns.lstm.2._conv_h2h.bias (16,)",
        "not finite: fc.conv_fc.bias",
    ):
        assert line in str(error.value)
    for a, b in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoint_of_another_model(model, small_model):
    with pytest.raises(ValueError, match="of the same model"):
        convert.load_reference_weights(model, checkpoint(small_model("ms-mim", scales=2)))


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_unreadable_and_malicious_files(model, tmp_path):
    import torch

    path = tmp_path / "model.pth"
    with pytest.raises(FileNotFoundError, match=r"model\.pth"):
        convert.load_reference_weights(model, path)
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="cannot be read"):
        convert.load_reference_weights(model, path)
    path.write_bytes(pickle.dumps(Attack(str(tmp_path / "attacked"))))
    with pytest.raises(ValueError, match="with code inside, which is refused"):
        convert.load_reference_weights(model, path)
    assert not (tmp_path / "attacked").exists()


def test_wrong_arguments(model, small_model):
    with pytest.raises(ValueError, match="must be a path or a mapping"):
        convert.load_reference_weights(model, [1, 2])
    with pytest.raises(ValueError, match="without entries"):
        convert.load_reference_weights(model, {})
    with pytest.raises(ValueError, match="must be built before"):
        convert.load_reference_weights(small_model(channels=None), {"a": np.ones(1)})
