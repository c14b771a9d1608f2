"""Arrays of PyTorch checkpoints."""

import os
from collections.abc import Mapping

import numpy as np


def read_arrays(source):
    """The arrays of a checkpoint by name, without the prefix of distributed wrappers.

    Args:
        source: Path of a `.pth` file, which needs PyTorch and may hold tensors only, or a mapping
            of names to arrays.

    Raises:
        FileNotFoundError, ImportError: If the file or PyTorch is not there.
        ValueError: If it is not such a checkpoint.
    """
    if isinstance(source, (str, os.PathLike)):
        source = _read_file(source)
    for key in ("state_dict", "model"):
        if isinstance(source, Mapping) and isinstance(source.get(key), Mapping):
            source = source[key]
    if not isinstance(source, Mapping) or not source:
        raise ValueError(
            "`source` must be a path or a mapping of names to arrays. "
            f"Received: {type(source).__name__}"
            f"{' without entries' if isinstance(source, Mapping) else ''}."
        )
    arrays = {}
    for name, value in source.items():
        if hasattr(value, "detach"):
            value = value.detach().cpu().float().numpy()
        arrays[str(name).removeprefix("module.")] = np.asarray(value)
    return arrays


def _read_file(path):
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"No such checkpoint file: {path!r}.")
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "Reading a `.pth` checkpoint needs PyTorch: `pip install torch`. "
            "Or pass a mapping of names to arrays."
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"`source` must be a checkpoint of tensors. Received: {path!r}, which cannot be read "
            f"(truncated, not a checkpoint, or with code inside, which is refused): {reason}"
        ) from error
