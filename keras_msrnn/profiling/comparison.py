"""`compare`: what several models cost, side by side."""

import dataclasses

from keras_msrnn.profiling import tables
from keras_msrnn.profiling.profiles import Profile, profile


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Profiles side by side; made by `compare`. `print` shows them as a table.

    Attributes:
        profiles: The profiles, in order.
    """

    profiles: tuple[Profile, ...]

    @property
    def values(self) -> dict[str, dict[str, int]]:
        """Name -> what is compared, for the whole sequence. Memory is for the batch."""
        return {
            profile.name: {
                "parameters": profile.parameters,
                "multiply_adds": profile.multiply_adds,
                "cell_multiply_adds": profile.steps * sum(c.multiply_adds for c in profile.cells),
                "cell_activations": profile.steps * sum(c.activations for c in profile.cells),
                "activation_memory": profile.activation_memory(profile.remat),
                "training_memory": profile.training_memory,
            }
            for profile in self.profiles
        }

    @property
    def ratios(self) -> dict[str, dict[str, float]]:
        """Name -> the values divided by those of the first model."""
        values = self.values
        first = values[self.profiles[0].name]
        return {
            name: {key: value / first[key] for key, value in entries.items()}
            for name, entries in values.items()
        }

    def to_dict(self) -> dict:
        """Returns values and ratios as a dictionary that `json` can write."""
        return {"values": self.values, "ratios": self.ratios}

    def __str__(self):
        return tables.comparison_table(self)


def compare(models, input_shape, *, horizon=None, batch_size=1, measure=False) -> Comparison:
    """Profiles models for the same frames and sets them side by side.

    Args:
        models: List of models, or a dictionary of names and models. Ratios are to the first.
        input_shape: `(time, height, width, channels)` of the context.
        horizon: Integer, number of frames to forecast.
        batch_size: Integer, number of samples for which the memory is given.
        measure: Boolean, see `profile`.

    Returns:
        A `Comparison`.

    Example:

    >>> plain, multiscale = (keras_msrnn.build("predrnn", ms, filters=8) for ms in (False, True))
    >>> both = compare({"plain": plain, "ms": multiscale}, (10, 64, 64, 1), horizon=10)
    >>> both.ratios["ms"]["parameters"], both.ratios["ms"]["cell_multiply_adds"]
    (1.0, 0.4375)
    >>> both.ratios["ms"]["cell_activations"]
    0.4375

    Reference:
        Ma et al., arXiv 2206.03010, section 3.
    """
    options = {"horizon": horizon, "batch_size": batch_size, "measure": measure}
    named = models.items() if isinstance(models, dict) else [(None, model) for model in models]
    profiles = {}
    for name, model in named:
        result = profile(model, input_shape, name=name, **options)
        same = sum(name.split(" #")[0] == result.name for name in profiles)
        if same:
            result = dataclasses.replace(result, name=f"{result.name} #{same + 1}")
        profiles[result.name] = result
    return Comparison(tuple(profiles.values()))
