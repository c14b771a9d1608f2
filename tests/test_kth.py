import os
import pickle
import sys

import av
import numpy as np
import pytest

from keras_msrnn.data import kth
from keras_msrnn.data.kth import read_kth

# Lines of the published file: a title, blanks, tabs and spaces, ranges that overlap or go back.
LISTING = """
In our experiments we used the following subdivision with respect to the subject:

Training:   person11, 12, 13, 14, 15, 16, 17, 18

person01_boxing_d1\t\tframes\t1-24, 25-60
person13_handclapping_d2    \tframes\t1-22, 40-62, 25-48, 3-10
person13_handclapping_d3\t*missing*
person16_running_d4    \t\tframes\t5-30

person17_walking_d1\t\tframes\t1-35, 35-70
person25_jogging_d2\tframes\t1-20,31-64
"""
LENGTHS = {1: [24, 36], 13: [22, 23, 24, 8], 16: [26], 17: [35, 36], 25: [20, 34]}
FIRST = {1: [1, 25], 13: [1, 40, 25, 3], 16: [5], 17: [1, 35], 25: [1, 31]}


def grey(person, number):
    """Frame `number` (from 1) of a test video: its number on the left, its person on the right."""
    frame = np.empty((120, 160), "uint8")
    frame[:, :80], frame[:, 80:] = 3 * number, 10 * person
    return frame


def write(path, person, frames, codec="mpeg4"):
    """A small video as KTH has them: 160 x 120, 25 frames/s, DIVX in AVI."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 160, 120
        stream.pix_fmt = "yuv420p" if codec == "mpeg4" else "gray"
        if codec == "mpeg4":
            stream.codec_context.codec_tag, stream.bit_rate = "DIVX", 4_000_000
        for number in range(1, frames + 1):
            frame = av.VideoFrame.from_ndarray(grey(person, number), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def fill(folder):
    (folder / "00sequences.txt").write_text(LISTING)
    (folder / "running").mkdir()
    write(folder / "person01_boxing_d1_uncomp.avi", 1, 62)
    write(folder / "person13_handclapping_d2_uncomp.avi", 13, 65, "rawvideo")
    write(folder / "running" / "person16_running_d4_uncomp.avi", 16, 30)
    write(folder / "person17_walking_d1_uncomp.avi", 17, 70)
    write(folder / "person25_jogging_d2_uncomp.avi", 25, 66)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kth")
    fill(folder)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """A folder with the same videos and no cache, one of which a test may replace."""
    folder_copy = tmp_path / "kth"
    folder_copy.mkdir()
    for path in folder.rglob("*.avi"):
        (folder_copy / path.name).symlink_to(path)
    (folder_copy / "00sequences.txt").write_text(LISTING)
    return folder_copy


def numbers(frames):
    """The frame numbers that `grey` has painted, and the person."""
    left = frames[..., frames.shape[-2] // 4, 0] * 255 / 3
    right = frames[..., -frames.shape[-2] // 4, 0] * 255 / 10
    shown = left.mean(-1), right.mean((1, 2))
    return np.rint(shown[0]).astype(int), np.rint(shown[1]).astype(int)


THREE = ((1, 12), (13, 16), (17, 25))


@pytest.mark.parametrize(
    "split, part, persons, horizon",
    [
        (((1, 16), (17, 25)), 0, (1, 13, 16), 10),
        (((1, 16), (17, 25)), 1, (17, 25), 20),
        (THREE, 1, (13, 16), 10),
    ],
)
def test_windows_show_the_listed_frames_of_the_persons(folder, split, part, persons, horizon):
    parts = read_kth(folder, persons=split, shuffle=False, batch_size=500, stride=1)
    assert len(parts) == len(split)
    data = parts[part]
    assert len(data) == 1
    context, future = data[0]
    assert context.dtype == np.float32 and context.shape[1:] == (10, 64, 64, 1)
    assert future.shape[1:] == (horizon, 64, 64, 1)
    shown, person = numbers(np.concatenate([context, future], 1))
    extent = 10 + horizon
    wanted = [
        (p, list(range(first + start, first + start + extent)))
        for p in persons
        for first, length in zip(FIRST[p], LENGTHS[p])
        for start in range(length - extent + 1)
    ]
    assert [(p, list(s)) for p, s in zip(person, shown)] == wanted


def test_protocol(folder):
    train, test = read_kth(folder)
    assert train.shuffle and not test.shuffle
    assert len(train.starts) == 5 + 17 + 3 + 4 + 5 + 7  # 20 frames; a range of 8 has no window
    assert list(test.starts) == [0, 35, 71 + 20]  # 30 frames, each 20 after the one before
    assert (train.context, train.horizon, test.context, test.horizon) == (10, 10, 10, 20)
    train, validation, test = read_kth(folder, 5, 6, 7, persons=THREE)
    assert [part.horizon for part in (train, validation, test)] == [6, 6, 7]
    assert [part.shuffle for part in (train, validation, test)] == [True, False, False]


def test_pixels_keep_their_range_and_place(folder):
    data = read_kth(folder, persons=((13, 13), (17, 25)), size=32, shuffle=False)[0]
    context, _ = data[0]
    assert context.shape == (8, 10, 32, 32, 1)
    for t in (0, 9):  # raw video has no loss
        image = context[0, t, ..., 0] * 255
        np.testing.assert_allclose(image[:, :14], 3 * (t + 1), atol=0.01)
        np.testing.assert_allclose(image[:, 18:], 130, atol=0.01)


def test_videos_are_converted_once(copy):
    first = read_kth(copy, 4, 4, size=16, shuffle=False)[0]
    frames = copy / "kth_16" / "frames.npy"
    array = np.load(frames)
    assert array.shape == (sum(map(sum, LENGTHS.values())), 16, 16) and array.dtype == np.uint8
    assert sorted(os.listdir(copy / "kth_16")) == ["frames.npy", "index.json"]
    assert not [name for name in os.listdir(copy) if name.startswith(".")]
    written = frames.stat().st_mtime_ns
    for path in copy.rglob("*.avi"):
        path.unlink()
    (copy / "00sequences.txt").unlink()
    again = read_kth(copy, 4, 4, size=16, shuffle=False)[0]
    np.testing.assert_array_equal(first[0][0], again[0][0])
    assert frames.stat().st_mtime_ns == written


def test_cache_may_lie_elsewhere(copy, tmp_path):
    cache = tmp_path / "caches" / "small"
    read_kth(copy, size=8, cache=cache)
    assert (cache / "frames.npy").is_file() and not list(copy.glob("kth_*"))


def test_worker_processes_get_the_path_only(folder):
    data = read_kth(folder)[1]
    assert len(pickle.dumps(data)) < 2**13
    twin = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(twin[0][1], data[0][1])


def test_published_video_that_breaks_off(copy, monkeypatch):
    assert kth.SHORT_VIDEOS == {"person01_boxing_d4": 304}
    monkeypatch.setattr(kth, "SHORT_VIDEOS", {"person01_boxing_d1": 50})
    path = copy / "person01_boxing_d1_uncomp.avi"
    path.unlink()
    write(path, 1, 50)
    assert len(read_kth(copy, size=8, persons=THREE)[0].starts) == 5 + 7


# What can go wrong


@pytest.mark.parametrize("kept", [0, 100, 0.6])
@pytest.mark.parametrize("name", ["person17_walking_d1", "person13_handclapping_d2"])
def test_truncated_video_is_named_and_leaves_nothing(copy, name, kept):
    path = copy / f"{name}_uncomp.avi"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    before = sorted(os.listdir(copy))
    with pytest.raises(ValueError, match=rf"{name}_uncomp.avi', of which \d+ of ") as error:
        read_kth(copy, size=8)
    assert "Download it again, or delete its line" in str(error.value)
    assert sorted(os.listdir(copy)) == before


def test_damage_inside_a_video_is_not_painted_over(copy):
    path = copy / "person17_walking_d1_uncomp.avi"
    content = bytearray(path.read_bytes())
    frame = content.index(b"00dc", content.index(b"movi")) + 8
    content[frame + 100 : frame + 140] = bytes(40)
    path.unlink()
    path.write_bytes(content)
    with av.open(str(path)) as container:  # by default the decoder goes on
        assert len(list(container.decode(video=0))) == 70
    with pytest.raises(ValueError, match="person17_walking_d1_uncomp.avi"):
        read_kth(copy, size=8)
    assert not (copy / "kth_8").exists()


def test_missing_videos_and_how_to_leave_them_out(copy):
    (copy / "person25_jogging_d2_uncomp.avi").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of 5: person25_jogging_d2") as error:
        read_kth(copy, size=8)
    assert "https://www.csc.kth.se/cvap/actions/" in str(error.value)
    (copy / "00sequences.txt").write_text(LISTING.replace("person25_jogging", "# person25_jogging"))
    assert len(read_kth(copy, size=8, stride=1)[1].starts) == 6 + 7


def test_missing_listing(tmp_path):
    with pytest.raises(FileNotFoundError, match="00sequences.txt") as error:
        read_kth(tmp_path / "none")
    assert "boxing.zip" in str(error.value)
    (tmp_path / "00sequences.txt").write_text("Not found")
    with pytest.raises(FileNotFoundError, match="lacks"):
        read_kth(tmp_path)
    assert os.listdir(tmp_path) == ["00sequences.txt"]


@pytest.mark.parametrize("ranges", ["", "frames", "frames\t0-5", "frames\t9-5", "frames\t1-5, 6"])
def test_damaged_listing(copy, ranges):
    lines = LISTING.splitlines()
    lines[5] = f"person01_boxing_d1\t\t{ranges}"
    (copy / "00sequences.txt").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="00sequences.txt', whose line 6 is 'person01_boxing_d1"):
        read_kth(copy)


@pytest.mark.parametrize("harm", ["truncate", "no index", "broken index", "size", "listing"])
def test_damaged_cache_is_not_rebuilt_silently(copy, harm):
    cache = copy / "kth_8"
    read_kth(copy, size=8)
    frames, index = cache / "frames.npy", cache / "index.json"
    if harm == "truncate":
        frames.write_bytes(frames.read_bytes()[:-100])
    elif harm == "no index":
        index.unlink()
    elif harm == "broken index":
        index.write_text(index.read_text()[:-9])
    elif harm == "size":
        cache.rename(copy / "kth_9")
    else:
        (copy / "00sequences.txt").write_text(LISTING.replace("1-24", "1-23"))
    with pytest.raises(ValueError, match="Delete it to convert the videos again"):
        read_kth(copy, size=9 if harm == "size" else 8)


def test_an_interrupted_conversion_leaves_nothing(copy, monkeypatch):
    decode, calls = kth._decode, []

    def stop(path):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(path)

    before = sorted(os.listdir(copy))
    monkeypatch.setattr(kth, "_decode", stop)
    with pytest.raises(KeyboardInterrupt):
        read_kth(copy, size=8)
    assert sorted(os.listdir(copy)) == before


def test_without_pyav(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "keras_msrnn\[video\]"'):
        read_kth(copy)


@pytest.mark.parametrize(
    "persons",
    [
        "test",
        3,
        (1, 16),
        ((1, 16),),
        ((0, 3), (4, 5)),
        ((1, 3), (26, 26)),
        ((5, 4), (6, 7)),
        ((1, 16), (16, 25)),
        ((17, 25), (20, 21)),
        ((1.5, 2), (3, 4)),
    ],
)
def test_persons_must_be_parts(folder, persons):
    with pytest.raises(ValueError, match="`persons` must be the first and last"):
        read_kth(folder, persons=persons)


def test_persons_without_videos(folder):
    with pytest.raises(ValueError, match="has none of 2 to 12"):
        read_kth(folder, persons=((1, 1), (2, 12), (17, 25)))


def test_size_must_be_positive(folder):
    with pytest.raises(ValueError, match="`size` must be a positive integer"):
        read_kth(folder, size=0)
