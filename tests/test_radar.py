import pickle

import h5py
import numpy as np
import pytest

from keras_msrnn.data import (
    KNMI,
    ODIM,
    Germany,
    RainRate,
    Reflectivity,
    Windows,
    load_rain,
    read_germany,
    save_rain,
    split_in_time,
)

START = np.datetime64("2010-08-25T23:55", "s")
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"


def knmi_stamp(time):
    year, month, day = str(time)[:10].split("-")
    return np.array(
        [f"{day}-{MONTHS[4 * int(month) - 4 :][:3]}-{year};{str(time)[11:]}.000"], "S25"
    )


def write_knmi(path, values, end, minutes=5, formula="GEO=0.01*PV+0.0"):
    """A file with the groups and attributes of `RAD_NL25_RAP_5min_*.h5`."""
    with h5py.File(path, "w") as file:
        overview = file.create_group("overview").attrs
        overview["hdftag_version_number"] = np.bytes_(b"3.5")
        overview["product_group_name"] = np.bytes_(b"RAD_NL25_RAU_5mi")
        overview["product_datetime_end"] = knmi_stamp(end)
        overview["product_datetime_start"] = knmi_stamp(end - np.timedelta64(minutes, "m"))
        image = file.create_group("image1")
        image.attrs["image_geo_parameter"] = np.bytes_(b"ACCUMULATED_PRECIPITATION_[MM]")
        image.attrs["image_bytes_per_pixel"] = np.array([2], "int32")
        image.create_dataset(
            "image_data", data=values.astype("<u2"), chunks=values.shape, compression="gzip"
        )
        calibration = image.create_group("calibration").attrs
        calibration["calibration_flag"] = np.bytes_(b"Y")
        calibration["calibration_formulas"] = np.bytes_(formula.encode())
        calibration["calibration_missing_data"] = np.array([65535], "int32")
        calibration["calibration_out_of_image"] = np.array([65534], "int32")


@pytest.fixture
def knmi(tmp_path):
    """A folder of KNMI files over midnight, and their values in 0.01 mm."""
    values = np.random.default_rng(0).integers(500, size=(24, 9, 8))
    values[:, 0] = 65535
    values[:, 1, 0] = 65534
    folder = tmp_path / "knmi"
    folder.mkdir()
    for number in np.random.default_rng(1).permutation(24):  # names say nothing about the order
        path = folder / f"RAD_NL25_{(7 * number) % 24:03}.h5"
        write_knmi(path, values[number], START + 5 * number * np.timedelta64(1, "m"))
    return folder, values


def write_odim(path, values, time, quantity="RATE", at="data", **what):
    """An ODIM composite; OPERA's older files have the quantity at the data set, not at the data."""
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_(b"ODIM_H5/V2_3")
        root = file.create_group("what").attrs
        root["object"] = np.bytes_(b"COMP")
        root["date"] = np.bytes_(str(time)[:10].replace("-", "").encode())
        root["time"] = np.bytes_(str(time)[11:19].replace(":", "").encode())
        dataset = file.create_group("dataset1")
        data = dataset.create_group("data1")
        data.create_dataset("data", data=values, compression="gzip")
        attributes = {"quantity": quantity, "gain": 1.0, "offset": 0.0, **what}
        level = (data if at == "data" else dataset).create_group("what").attrs
        for name, value in attributes.items():
            level[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def write_germany(path, stamps, size=(6, 5), **values):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for stamp in stamps:
            rain = rng.gamma(0.2, 0.3, size).astype("float32")
            file.create_dataset(stamp, data=values.get(f"_{stamp}", rain), compression="gzip")
        return {name: file[name][:] for name in file}


def stamps(day, count):
    times = np.datetime64(day, "m") + 5 * np.arange(count)
    return [str(time).translate({45: "", 58: "", 84: ""}) for time in times]


# KNMI


def test_knmi(knmi):
    folder, values = knmi
    radar = KNMI(folder)
    assert radar.shape == (24, 9, 8) and radar.dtype == np.float32 and len(radar) == 24
    assert radar.times[0] == START and (np.diff(radar.times) == np.timedelta64(5, "m")).all()
    expected = np.where(values >= 65534, np.nan, values * 0.01 * 12)
    np.testing.assert_allclose(radar[:], expected, rtol=1e-6)
    np.testing.assert_allclose(radar[5:9:2], expected[5:9:2], rtol=1e-6)
    np.testing.assert_allclose(radar[-1], expected[-1], rtol=1e-6)
    assert radar[7].dtype == np.float32 and radar[3:3].shape == (0, 9, 8)
    with pytest.raises(IndexError):
        radar[24]
    few = KNMI(sorted(folder.iterdir())[:3])
    assert few.shape[0] == 3


def test_knmi_reads_calibration_and_duration_from_the_file(tmp_path):
    values = np.array([[0, 10], [20, 65535]])
    write_knmi(tmp_path / "hour.h5", values, START, 60, "GEO=0.500000*PV+-1.000000")
    radar = KNMI(tmp_path / "hour.h5")
    np.testing.assert_allclose(radar[0], [[np.nan, 4], [9, np.nan]])  # below 0 is no rain rate


def test_windows_of_knmi_are_pixels_of_their_units(knmi):
    folder, values = knmi
    train, validation, test = split_in_time(KNMI(folder), 3, 2, at=(0.5, 0.75), crop=(1, 0, 8, 8))
    assert [len(part.starts) for part in (train, validation, test)] == [8, 2, 2]
    assert test.units == Reflectivity() and test.scaling == "rain"
    context, _ = test[0]
    rain = np.where(values >= 65534, np.nan, values * 0.01 * 12)[18:21, 1:]
    np.testing.assert_allclose(context[0, ..., 0], Reflectivity().from_rain(rain), atol=1e-6)
    assert np.isnan(context).sum() == 6 and test.times[0, 0] == KNMI(folder).times[18]
    copied = pickle.loads(pickle.dumps(test))
    np.testing.assert_array_equal(copied[0][0], context)


def change(name, value, group="image1/calibration"):
    def damage(path):
        with h5py.File(path, "r+") as file:
            file[group].attrs[name] = value

    return damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def garble(path):
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        place = file["image1/image_data"].id.get_chunk_info(0).byte_offset
    content[place : place + 40] = b"?" * 40
    path.write_bytes(content)


def drop(path):
    with h5py.File(path, "r+") as file:
        del file["image1/image_data"]


@pytest.mark.parametrize(
    "damage, problem",
    [
        (cut, "truncated"),
        (garble, "filter returned failure|inflate|read data"),
        (drop, "image_data"),
        (lambda path: path.write_bytes(b""), "file signature"),
        (change("calibration_formulas", b"GEO=PV"), "its calibration is 'GEO=PV'"),
        (change("image_geo_parameter", b"REFLECTIVITY_[DBZ]", "image1"), "REFLECTIVITY"),
        (change("product_datetime_end", b"26-AUX-2010;00:00:00.000", "overview"), "26-AUX-2010"),
        (change("product_datetime_start", b"27-AUG-2010;00:00:00.000", "overview"), "fell from"),
        (
            lambda path: write_knmi(path, np.zeros((3, 4)), START - 9999),
            r"one size.*\(3, 4\).*\(9, 8\)|one size.*\(9, 8\).*\(3, 4\)",
        ),
        (lambda path: write_knmi(path, np.zeros((9, 8)), START), "different times"),
    ],
)
def test_a_broken_file_is_named(knmi, damage, problem):
    folder, _ = knmi
    damage(folder / "RAD_NL25_005.h5")
    with pytest.raises(ValueError, match=problem) as error:
        KNMI(folder)[:]
    assert "RAD_NL25_005.h5" in str(error.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.h5"):
        KNMI(tmp_path / "none.h5")
    with pytest.raises(ValueError, match="`files` must hold HDF5 files"):
        KNMI(tmp_path)


# ODIM


RAW = np.array([[0, 255, 10], [20, 1, 254]], "uint8")
CALIBRATION = {"gain": 0.5, "offset": -2.0, "nodata": 255.0, "undetect": 0.0}


@pytest.mark.parametrize("at", ["data", "dataset"])
def test_odim_rain_rate(tmp_path, at):
    for minute in (15, 0, 30):
        time = np.datetime64("2024-02-29T23:00:00") + np.timedelta64(minute, "m")
        write_odim(tmp_path / f"{60 - minute}.h5", RAW + (minute == 15), time, at=at, **CALIBRATION)
    radar = ODIM(tmp_path)
    assert str(radar.times[1]) == "2024-02-29T23:15:00" and radar.shape == (3, 2, 3)
    np.testing.assert_allclose(radar[0], [[0, np.nan, 3], [8, np.nan, 125]])
    np.testing.assert_allclose(radar[1][1], [8.5, np.nan, np.nan])


def test_odim_accumulation(tmp_path):
    times = {"startdate": "20240229", "starttime": "234500", "enddate": "20240301"}
    what = {**CALIBRATION, **times, "endtime": "000000", "nodata": -9999000.0, "undetect": -8.0}
    values = np.array([[-9999000.0, -8.0], [10.0, 4.5]], "float64")
    write_odim(tmp_path / "a.hdf", values, np.datetime64("2024-03-01T00:00:00"), "ACRR", **what)
    rain = ODIM(tmp_path, "ACRR")[0]
    np.testing.assert_allclose(rain, [[np.nan, 0], [3 * 4, 0.25 * 4]])  # mm in 15 minutes


def test_odim_reflectivity(tmp_path):
    units = Reflectivity("germany")
    write_odim(tmp_path / "a.h5", RAW, START, "DBZH", **CALIBRATION)
    rain = ODIM(tmp_path, units=units)[0]
    dbz = np.array([3, 8, -1.5, 125])
    expected = (10 ** (dbz / 10) / 256) ** (1 / 1.42)
    np.testing.assert_allclose(rain[[0, 1, 1, 1], [2, 0, 1, 2]], expected, rtol=1e-6)
    assert rain[0, 0] == 0 and np.isnan(rain[0, 1])
    with pytest.raises(ValueError, match="`units` must have a Z-R relation"):
        ODIM(tmp_path, units=RainRate(50))


def test_odim_takes_the_quantity_that_is_asked_for(tmp_path):
    write_odim(tmp_path / "a.h5", RAW, START, "DBZH", **CALIBRATION)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.copy("dataset1", "dataset10")
        file["dataset10/data1/what"].attrs["quantity"] = b"RATE"
        file.copy("dataset10", "dataset2")
        file["dataset2/data1/what"].attrs["quantity"] = b"QIND"
    assert ODIM(tmp_path)[0][1, 0] < 1 < 8 == ODIM(tmp_path, "RATE")[0][1, 0]
    with pytest.raises(
        ValueError, match="a.h5 cannot be read: it holds DBZH, QIND, RATE, not ACRR"
    ):
        ODIM(tmp_path, "ACRR")
    with pytest.raises(ValueError, match="`quantity` must be"):
        ODIM(tmp_path, "VRAD")


def test_odim_names_what_is_missing(tmp_path):
    write_odim(tmp_path / "a.h5", RAW, START, **{**CALIBRATION, "quantity": "ACRR"})
    with pytest.raises(ValueError, match="a.h5 cannot be read: /dataset1/data1/what has no start"):
        ODIM(tmp_path)[0]
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["what"].attrs["date"] = b"2024"
    with pytest.raises(ValueError, match="a.h5 cannot be read: its time is '2024'"):
        ODIM(tmp_path)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["what"]
    with pytest.raises(ValueError, match="a.h5 cannot be read: .*what"):
        ODIM(tmp_path)


# Germany


def test_germany_in_mm_per_hour(tmp_path):
    names = [*stamps("2015-12-31T23:40", 8), *stamps("2016-03-01", 6)]
    path = tmp_path / "RYDL.hdf5"
    depths = write_germany(path, names[::-1])
    radar = Germany(path)
    assert radar.shape == (14, 6, 5) and radar.units == Reflectivity("germany")
    assert str(radar.times[0]) == "2015-12-31T23:40" and str(radar.times[-1]) == "2016-03-01T00:25"
    np.testing.assert_allclose(radar[2:5], [12 * depths[name] for name in names[2:5]], rtol=1e-6)
    assert Germany(path, years=[2016]).shape == (10, 6, 5)
    with pytest.raises(ValueError, match=r"RYDL.hdf5 cannot be read: it lacks .* 2014, 2017"):
        Germany(path, years=range(2014, 2018))
    copied = pickle.loads(pickle.dumps(radar))
    np.testing.assert_array_equal(copied[0], radar[0])


def test_germany_damaged(tmp_path):
    path = tmp_path / "RYDL.hdf5"
    write_germany(path, stamps("2015-01-01", 3), _201501010005=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"RYDL.hdf5 .*201501010005 has the shape \(3, 3\)"):
        Germany(path)[:]
    write_germany(path, ["201513010000"])
    with pytest.raises(ValueError, match="RYDL.hdf5 cannot be read: .*2015-13"):
        Germany(path)
    write_germany(path, ["rain"])
    with pytest.raises(ValueError, match="no data set that is named YYYYMMDDHHMM"):
        Germany(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="RYDL.hdf5 cannot be read: .*truncated"):
        Germany(path)


def test_the_protocol_of_the_paper(tmp_path):
    names = [name for year in range(2006, 2018) for name in stamps(f"{year}-07-01", 13)]
    path = tmp_path / "RYDL.hdf5"
    depths = write_germany(path, [*names, *stamps("2017-12-31T23:30", 12)])
    parts = read_germany(path, batch_size=2)
    years = [np.unique(part.times.astype("datetime64[Y]").astype(int) + 1970) for part in parts]
    assert [list(year) for year in years] == [list(range(2006, 2015)), [2015], [2016, 2017]]
    assert [len(part.starts) for part in parts] == [9, 1, 2]  # 2018 has no part in it
    assert [part.shuffle for part in parts] == [True, False, False]
    context, future = parts[1][0]
    assert context.shape == future.shape == (1, 5, 6, 5, 1)
    rain = np.array([depths[name] for name in stamps("2015-07-01", 5)]) * 12
    dbz = 10 * np.log10(256 * rain**1.42 + 1e-30)
    np.testing.assert_allclose(context[0, ..., 0], ((dbz + 10) / 70).clip(0, 1), atol=1e-5)


def test_years_that_the_protocol_lacks(tmp_path):
    path = tmp_path / "RYDL.hdf5"
    write_germany(path, [name for year in (2013, 2015, 2016) for name in stamps(f"{year}-07", 12)])
    with pytest.warns(UserWarning, match="lacks the year.* 2006, .*2012, 2014, 2017,"):
        read_germany(path)
    write_germany(path, [name for year in (2013, 2016) for name in stamps(f"{year}-07", 12)])
    with pytest.raises(ValueError, match=r"no frame of the year\(s\) 2015, the validation part"):
        read_germany(path)


# One file of rain


def test_rain_is_saved_and_loaded(knmi, tmp_path):
    folder, _ = knmi
    radar = KNMI(folder, units=Reflectivity("hong-kong"))
    path = tmp_path / "rain.h5"
    rain = save_rain(radar, path)
    assert rain.shape == radar.shape and rain.units == radar.units
    np.testing.assert_array_equal(rain.times, radar.times)
    np.testing.assert_array_equal(rain[:], radar[:])
    options = {"crop": (1, 0, 8, 6), "resize": (2, 3)}
    small = save_rain(radar, tmp_path / "small.h5", **options)
    direct, cached = Windows(radar, 3, 2, **options), Windows(small, 3, 2)
    np.testing.assert_array_equal(direct[0][1], cached[0][1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cached))[0][1], direct[0][1])
    with pytest.raises(FileExistsError, match="rain.h5 exists"):
        save_rain(radar, path)


def test_nothing_half_written_stays(knmi, tmp_path):
    folder, _ = knmi
    garble(folder / "RAD_NL25_005.h5")
    with pytest.raises(ValueError, match="RAD_NL25_005.h5"):
        save_rain(KNMI(folder), tmp_path / "rain.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["knmi"]


def test_rain_that_cannot_be_loaded(knmi, tmp_path):
    folder, _ = knmi
    with pytest.raises(ValueError, match="RAD_NL25_000.h5 cannot be read: `save_rain` did not"):
        load_rain(folder / "RAD_NL25_000.h5")
    save_rain(KNMI(folder), tmp_path / "rain.h5")
    cut(tmp_path / "rain.h5")
    with pytest.raises(ValueError, match="rain.h5 cannot be read: .*truncated"):
        load_rain(tmp_path / "rain.h5")
