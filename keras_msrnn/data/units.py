"""Units of radar frames: rain rate in mm/h, reflectivity in dBZ, and the pixels a model sees."""

from __future__ import annotations

import math

import keras
import numpy as np

ZR_RELATIONS = {
    "marshall-palmer": (200.0, 1.6),  # also MeteoNet and RAIN-F
    "hong-kong": (58.53, 1.56),
    "germany": (256.0, 1.42),
}


@keras.saving.register_keras_serializable("keras_msrnn")
class Reflectivity:
    """Pixels that are linear in reflectivity, with rain by a Z-R relation `Z = a R ** b`.

    A pixel of 0 is `low` dBZ, a pixel of 1 is `high` dBZ, and `dBZ = 10 log10(Z)`. To find
    rain at or above a threshold, compare pixels with `from_rain(threshold)`: rain that was
    converted there and back may differ in its last digit.

    Args:
        zr: Name of a relation, one of `ZR_RELATIONS`, or the pair `(a, b)`.
        low: Reflectivity of pixel 0, in dBZ.
        high: Reflectivity of pixel 1, in dBZ.

    Example:

    >>> units = Reflectivity("hong-kong")
    >>> [round(float(pixel), 3) for pixel in units.from_rain([0.0, 0.5, 30.0])]
    [0.0, 0.328, 0.725]
    >>> round(float(units.to_rain(0.725)), 1)
    30.1

    Reference:
        The released MS-RNN code uses -10..60 dBZ with `"hong-kong"` (HKO-7) and `"germany"`
        (RADOLAN), and 0..70 dBZ with `"marshall-palmer"` (MeteoNet).
    """

    def __init__(
        self, zr: str | tuple[float, float] = "marshall-palmer", low: float = -10, high: float = 60
    ) -> None:
        try:
            self.zr = zr if isinstance(zr, str) else tuple(map(float, zr))
            self.a, self.b = ZR_RELATIONS[zr] if isinstance(zr, str) else self.zr
            valid = self.a > 0 and self.b > 0
        except (KeyError, TypeError, ValueError):
            valid = False
        if not valid:
            raise ValueError(
                f"`zr` must be one of {', '.join(map(repr, ZR_RELATIONS))}, or a pair (a, b) of "
                f"positive numbers. Received: zr={zr!r}."
            )
        if not low < high:
            raise ValueError(f"`low` must be below `high`. Received: low={low}, high={high}.")
        self.low, self.high = float(low), float(high)

    def from_rain(self, rain) -> np.ndarray:
        """Pixels of rain rates in mm/h, clipped to 0..1; NaN stays NaN."""
        return self.from_dbz(self.rain_to_dbz(rain))

    def to_rain(self, pixels) -> np.ndarray:
        """Rain rates in mm/h of pixels; 0 for pixels at 0 or below."""
        pixels = np.asarray(pixels, "float64")
        return np.where(pixels <= 0, 0.0, self.dbz_to_rain(self.to_dbz(pixels)))

    def from_dbz(self, dbz) -> np.ndarray:
        """Pixels of reflectivities in dBZ, clipped to 0..1."""
        return np.clip((np.asarray(dbz, "float64") - self.low) / (self.high - self.low), 0, 1)

    def to_dbz(self, pixels) -> np.ndarray:
        """Reflectivities in dBZ of pixels."""
        return np.asarray(pixels, "float64") * (self.high - self.low) + self.low

    def rain_to_dbz(self, rain) -> np.ndarray:
        """Reflectivities in dBZ of rain rates in mm/h; minus infinity where it is dry."""
        with np.errstate(divide="ignore"):
            octaves = np.log2(np.asarray(rain, "float64"))  # many times faster than log10
        return 10 * (math.log10(self.a) + self.b * math.log10(2) * octaves)

    def dbz_to_rain(self, dbz) -> np.ndarray:
        """Rain rates in mm/h of reflectivities in dBZ."""
        octaves = (np.asarray(dbz, "float64") / 10 - math.log10(self.a)) / math.log10(2)
        return np.exp2(octaves / self.b)

    def get_config(self):
        return {"zr": self.zr, "low": self.low, "high": self.high}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self) -> str:
        return f"Reflectivity(zr={self.zr!r}, low={self.low:g}, high={self.high:g})"

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    __hash__ = None


@keras.saving.register_keras_serializable("keras_msrnn")
class RainRate:
    """Pixels that are linear in the rain rate: a pixel of 1 is `scale` mm/h.

    Args:
        scale: Rain rate of pixel 1, in mm/h.

    Example:

    >>> RainRate(scale=50).from_rain([0.0, 5.0])
    array([0. , 0.1])
    """

    def __init__(self, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"`scale` must be positive, in mm/h. Received: scale={scale}.")
        self.scale = float(scale)

    def from_rain(self, rain) -> np.ndarray:
        """Pixels of rain rates in mm/h."""
        return np.asarray(rain, "float64") / self.scale

    def to_rain(self, pixels) -> np.ndarray:
        """Rain rates in mm/h of pixels."""
        return np.asarray(pixels, "float64") * self.scale

    def get_config(self):
        return {"scale": self.scale}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def __repr__(self) -> str:
        return f"RainRate(scale={self.scale:g})"

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    __hash__ = None
