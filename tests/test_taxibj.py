import h5py
import numpy as np
import pytest

from keras_msrnn.data.taxibj import read_taxibj

HALF_HOUR = np.timedelta64(30, "m")
FIRST = {13: "2013-07-01", 14: "2014-03-01", 15: "2015-03-01", 16: "2015-11-01"}
DAYS = {13: 3, 14: 4, 15: 33, 16: 32}


def dates_of(year, days):
    days = np.datetime64(FIRST[year]) + np.arange(days)
    return [f"{day}".replace("-", "") + f"{slot:02d}" for day in days for slot in range(1, 49)]


def level(times):
    """The inflow of the test files, the same everywhere: it grows by one each half hour."""
    return (times - np.datetime64("2013-07-01")) / HALF_HOUR + 5


def time_of(date):
    day = np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:8]}")
    return day + (int(date[8:]) - 1) * HALF_HOUR


def write(path, dates, **changes):
    """A file with the structure of the published ones."""
    data = np.zeros((len(dates), 2, 32, 32), "float32")
    data[:, 0] = level(np.array([time_of(date) for date in dates]))[:, None, None]
    data[:, 1] = np.arange(32)[:, None]  # the outflow grows from north to south
    with h5py.File(path, "w") as file:
        for name, values in {"data": data, "date": np.array(dates, "S10"), **changes}.items():
            if values is not None:
                file[name] = values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taxibj")
    for year, days in DAYS.items():
        dates = dates_of(year, days)
        if year == 15:  # a half hour is there twice on 11 March
            dates = dates[:500] + dates[499:]
        if year == 16:  # one is missing on 3 November, and one instead of another on 7 November
            dates = dates[:100] + dates[101:300] + dates[299:300] + dates[301:]
        write(folder / f"BJ{year}_M32x32_T30_InOut.h5", dates)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """A folder with the same files, one of which a test may replace."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_parts_have_the_windows_of_the_protocol(folder):
    train, validation, test = read_taxibj(folder)
    assert len(test.starts) == len(validation.starts) == 48 * 7 * 4
    assert len(test) == 84 and not test.shuffle and train.shuffle
    # Two days of 2016 are not whole and fall away: 1-2, 4-6 November and 8 November on are left.
    starts = [test.times[:, 0] >= np.datetime64(f"2015-11-0{day}") for day in (1, 4, 8)]
    assert [count.sum() for count in starts] == [1344, 25 * 48 - 7 + 3 * 48 - 7, 25 * 48 - 7]
    assert test.times.max() == np.datetime64("2015-12-02T23:30")
    # All others are the training part, but for 2 x 7 that share frames with the part after them.
    before = (10 + 22 + 2) * 48 - 3 * 7 - 14 - 1344 - 7 - 7
    assert len(train.starts) == 3 * 48 - 7 + 4 * 48 - 7 + before
    assert train.times.max() < validation.times.min()
    assert validation.times.max() < test.times.min()


def test_test_part_of_complete_days_ends_in_the_last_four_weeks(folder, copy):
    path = copy / "BJ16_M32x32_T30_InOut.h5"
    path.unlink()
    write(path, dates_of(16, 32))
    test = read_taxibj(copy)[2]
    assert len(test.starts) == 48 * 7 * 4
    ends = test.times[:, -1]
    assert (ends == np.datetime64("2015-11-05T00:00") + np.arange(1344) * HALF_HOUR).all()


@pytest.mark.parametrize("part", range(3))
def test_windows_run_forwards_over_complete_days_only(folder, part):
    data = read_taxibj(folder, shuffle=False, batch_size=50)[part]
    assert (np.diff(data.times, axis=1) == HALF_HOUR).all()
    days = np.unique(data.times.astype("M8[D]"))
    broken = np.array(["2015-03-11", "2015-11-03", "2015-11-07"], "M8[D]")
    assert not np.isin(broken, days).any()
    for batch in (0, len(data) - 1):
        context, future = data[batch]
        frames = data.inverse(np.concatenate([context, future], 1))
        truth = level(data.times[batch * 50 :][:50])
        np.testing.assert_allclose(frames[..., 5, 7, 0], truth, atol=0.02)
        south = np.broadcast_to(np.arange(32)[:, None], frames.shape[:-1])
        np.testing.assert_allclose(frames[..., 1], south, atol=0.02)


def test_scaling_is_that_of_the_training_part(folder):
    train, validation, test = read_taxibj(folder)
    highest = level(train.times).max()
    for part in (train, validation, test):
        assert part.scaling == (0, highest)
    context, _ = train[0]
    assert context.dtype == np.float32 and context.shape == (16, 4, 32, 32, 2)
    assert context.min() >= 0 and context.max() <= 1
    assert validation[0][0].max() > 1 and test[0][0].max() > 1


def test_lengths_and_options(folder):
    data = read_taxibj(folder, 6, 2, batch_size=8, shard=(0, 2))[2]
    context, future = data[0]
    assert context.shape == (8, 6, 32, 32, 2) and future.shape == (8, 2, 32, 32, 2)
    assert len(data) == 84


def test_missing_years(copy):
    for year in (14, 16):
        (copy / f"BJ{year}_M32x32_T30_InOut.h5").unlink()
    with pytest.raises(FileNotFoundError, match="lacks BJ14_M32x32_T30_InOut.h5, BJ16_") as error:
        read_taxibj(copy)
    assert "https://github.com" in str(error.value)
    with pytest.raises(FileNotFoundError, match="BJ13_.*BJ14_.*BJ15_.*BJ16_"):
        read_taxibj(copy / "none")


DATES = dates_of(15, 2)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"data": None}, "no data set 'data'"),
        ({"data": None, "date": None}, "no data set 'data' or 'date'"),
        ({"data": np.zeros((96, 32, 32, 2))}, "shape (96, 32, 32, 2)"),
        ({"date": np.array(DATES[1:], "S10")}, "'date' (95,)"),
        ({"date": np.array(DATES[:95] + ["2015030249"], "S10")}, "date 95 is b'2015030249'"),
        ({"date": np.array(["20150230" + "01"] + DATES[1:], "S10")}, "date 0 is b'2015023001'"),
        ({"date": np.array(["yesterday"] + DATES[1:], "S10")}, "date 0 is b'yesterday'"),
        ({"data": np.full((96, 2, 32, 32), np.nan, "float32")}, "not all finite"),
        ({"data": np.full((96, 2, 32, 32), -1, "int16")}, "not all finite numbers from 0 on"),
    ],
)
def test_damaged_file_is_named(copy, changes, problem):
    path = copy / "BJ15_M32x32_T30_InOut.h5"
    path.unlink()
    write(path, DATES, **changes)
    with pytest.raises(ValueError, match="BJ15_M32x32_T30_InOut.h5") as error:
        read_taxibj(copy)
    assert problem in str(error.value)


@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_truncated_file_is_named(folder, copy, kept):
    path = copy / "BJ14_M32x32_T30_InOut.h5"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(ValueError, match="BJ14_M32x32_T30_InOut.h5'; HDF5 cannot read it"):
        read_taxibj(copy)


def test_one_file_under_two_names(copy):
    path = copy / "BJ15_M32x32_T30_InOut.h5"
    path.unlink()
    path.symlink_to(copy / "BJ16_M32x32_T30_InOut.h5")
    with pytest.raises(ValueError, match="one file for each period"):
        read_taxibj(copy)


def test_too_little_data(copy):
    path = copy / "BJ16_M32x32_T30_InOut.h5"
    path.unlink()
    write(path, dates_of(16, 2))
    with pytest.raises(ValueError, match="must hold 1344 windows"):
        read_taxibj(copy)


def test_constant_flows(copy):
    for year, days in DAYS.items():
        path = copy / f"BJ{year}_M32x32_T30_InOut.h5"
        path.unlink()
        write(path, dates_of(year, days), data=np.ones((days * 48, 2, 32, 32), "uint8"))
    with pytest.raises(ValueError, match="every flow of the training part is 1"):
        read_taxibj(copy)


def test_lengths_must_be_positive(folder):
    with pytest.raises(ValueError, match="`horizon` must be a positive integer"):
        read_taxibj(folder, horizon=0)
