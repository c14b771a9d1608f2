import keras
import numpy as np
import pytest

from keras_msrnn.data.units import RainRate, Reflectivity

RAIN = np.array([0.06, 0.5, 2, 5, 30, 100])


@pytest.mark.parametrize(
    "units, a, b, low, high",
    [
        (Reflectivity(), 200, 1.6, -10, 60),
        (Reflectivity("marshall-palmer", 0, 70), 200, 1.6, 0, 70),
        (Reflectivity("hong-kong"), 58.53, 1.56, -10, 60),
        (Reflectivity("germany"), 256, 1.42, -10, 60),
        (Reflectivity((300, 1.4), -5, 75), 300, 1.4, -5, 75),
    ],
)
def test_reflectivity(units, a, b, low, high):
    dbz = 10 * np.log10(a * RAIN**b)
    pixels = (dbz - low) / (high - low)
    np.testing.assert_allclose(units.rain_to_dbz(RAIN), dbz)
    np.testing.assert_allclose(units.dbz_to_rain(dbz), RAIN)
    np.testing.assert_allclose(units.to_dbz(pixels), dbz)
    np.testing.assert_allclose(units.from_dbz(dbz), pixels.clip(0, 1))
    np.testing.assert_allclose(units.from_rain(RAIN), pixels.clip(0, 1))
    inside = (pixels > 0) & (pixels < 1)
    assert inside.sum() > 4
    np.testing.assert_allclose(units.to_rain(units.from_rain(RAIN))[inside], RAIN[inside])


def test_dry_missing_and_beyond():
    units = Reflectivity("germany")
    np.testing.assert_array_equal(units.from_rain([0, 1e-9, 1e9, np.nan]), [0, 0, 1, np.nan])
    np.testing.assert_array_equal(units.to_rain([0, -1, np.nan]), [0, 0, np.nan])
    assert units.to_rain(1e-9) > 0


def test_rain_at_a_threshold_has_its_pixel():
    for units in (Reflectivity("germany"), Reflectivity("hong-kong"), RainRate(30)):
        pixels = units.from_rain(RAIN.astype("float32")[1:5]).astype("float32")
        thresholds = [np.float32(units.from_rain(value)) for value in RAIN[1:5]]
        assert (pixels == thresholds).all()


def test_rain_rate():
    units = RainRate(50)
    np.testing.assert_allclose(units.from_rain([0, 5, 100, np.nan]), [0, 0.1, 2, np.nan])
    np.testing.assert_allclose(units.to_rain(units.from_rain(RAIN)), RAIN)


@pytest.mark.parametrize(
    "units", [Reflectivity("germany"), Reflectivity((300, 1.4), 0, 70), RainRate(50)]
)
def test_units_are_saved(units):
    config = keras.saving.serialize_keras_object(units)
    again = keras.saving.deserialize_keras_object(config)
    assert again == units and repr(again) == repr(units)
    assert units != RainRate(51)


@pytest.mark.parametrize(
    "make, rule",
    [
        (lambda: Reflectivity("munich"), "`zr` must be one of .*'germany'.*zr='munich'"),
        (lambda: Reflectivity((200, -1)), "`zr` must be"),
        (lambda: Reflectivity((200, 1, 1)), "`zr` must be"),
        (lambda: Reflectivity(200), "`zr` must be"),
        (lambda: Reflectivity(low=60, high=0), "`low` must be below `high`"),
        (lambda: RainRate(0), "`scale` must be positive"),
        (lambda: RainRate(float("nan")), "`scale` must be positive"),
    ],
)
def test_rejects(make, rule):
    with pytest.raises(ValueError, match=rule) as error:
        make()
    assert "Received: " in str(error.value)
