"""KTH: people who walk, jog, run, box, wave and clap."""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from PIL import Image

from keras_msrnn.data.checks import check_positive
from keras_msrnn.data.windows import Windows

SEQUENCES = "00sequences.txt"
# Published videos that end before their last range, with the frames that can be decoded.
SHORT_VIDEOS = {"person01_boxing_d4": 304}

_LINE = re.compile(
    r"(person(?P<person>\d\d)_(?P<action>[a-z]+)_d[1-4])\s+"
    r"(\*missing\*|frames\s+(?P<ranges>\d+-\d+(\s*,\s*\d+-\d+)*))"
)
_INSTRUCTIONS = (
    f"Download {SEQUENCES} and the six archives boxing.zip, handclapping.zip, handwaving.zip, "
    "jogging.zip, running.zip and walking.zip from https://www.csc.kth.se/cvap/actions/ into "
    "`folder` and unpack them there, each into a folder of its name or all into one."
)


def read_kth(
    folder: str | os.PathLike,
    context: int = 10,
    horizon: int = 10,
    test_horizon: int = 20,
    *,
    size: int = 64,
    persons: Sequence[tuple[int, int]] = ((1, 16), (17, 25)),
    cache: str | os.PathLike | None = None,
    shuffle: bool = True,
    **options: Any,
) -> tuple[Windows, ...]:
    """Reads KTH from its original videos, split by person as in the papers.

    The first call decodes the frames with a person, as `00sequences.txt` lists them, and keeps
    them resized in `cache`; later calls map that file into memory. No window crosses the end of
    a listed range of frames.

    Args:
        folder: Folder with `00sequences.txt` and the videos, `person01_boxing_d1_uncomp.avi` and
            so on, directly in it or in a folder for each action. Once the cache is made, the
            videos are not needed any more.
        context: Frames that the model sees.
        horizon: Frames that it shall forecast.
        test_horizon: The same in the last part.
        size: Side of a frame in pixels: the original 160 x 120 are resized to a square.
        persons: First and last person of each part. `((1, 14), (15, 16), (17, 25))` takes a
            validation part out of the training part.
        cache: Folder of the converted frames; by default `kth_64` in `folder`, after `size`.
        shuffle: Whether the first part is shuffled.
        **options: Other arguments of `Windows`, such as `batch_size`. By default `stride` is 1,
            and 20 in the last part.

    Returns:
        `Windows` for each part, by default training and test. Their batches `(context, future)`
        are `float32` in 0..1 of shape `(batch_size, time, size, size, 1)`.

    Raises:
        ImportError: If the videos must be converted and PyAV is not installed.
        FileNotFoundError: If videos or `00sequences.txt` are missing.
        ValueError: If a video cannot be decoded, `00sequences.txt` or the cache is damaged, or
            an argument is out of range.

    Example:

    >>> train, test = read_kth("KTH")  # doctest: +SKIP

    Reference:
        Schuldt, Laptev and Caputo, "Recognizing Human Actions: a Local SVM Approach", 2004,
        https://www.csc.kth.se/cvap/actions/

    Notes:
        Of the 600 videos person13_handclapping_d3 was never published, and person01_boxing_d4
        breaks off after frame 304. The released MS-RNN code resizes to 88 x 88, and takes its
        windows from ranges trimmed by hand, which are not published with the videos.
    """
    persons = _check_persons(persons)
    check_positive(size=size)
    folder = Path(folder)
    cache = folder / f"kth_{size}" if cache is None else Path(cache)
    if not cache.exists():
        _convert(folder, cache, size)
    clips = _check_cache(folder, cache, size)
    starts = np.cumsum([0] + [length for _, length in clips])
    parts = []
    for number, (first, last) in enumerate(persons):
        here = np.flatnonzero([first <= person <= last for person, _ in clips])
        if not len(here):
            raise ValueError(
                "`persons` must have videos in every part. Received: persons="
                f"{persons}, and {str(cache)!r} has none of {first} to {last}."
            )
        is_last = number == len(persons) - 1
        parts.append(
            Windows(
                _Frames(cache / "frames.npy", starts[here[0]], starts[here[-1] + 1]),
                context,
                test_horizon if is_last else horizon,
                breaks=starts[here] - starts[here[0]],
                scaling=(0, 255),
                shuffle=shuffle and number == 0,
                **{"stride": 20 if is_last else 1, **options},
            )
        )
    return tuple(parts)


def _check_persons(persons: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    try:
        pairs = [(operator.index(first), operator.index(last)) for first, last in persons]
        ends = [end for pair in pairs for end in pair]
        parted = all(a[1] < b[0] or b[1] < a[0] for a, b in itertools.combinations(pairs, 2))
        valid = len(pairs) > 1 and parted and all(a <= b for a, b in pairs)
        valid = valid and min(ends) >= 1 and max(ends) <= 25
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            "`persons` must be the first and last person, from 1 to 25, of two or more parts that "
            f"have no person in common. Received: persons={persons!r}. Pass such as "
            "`((1, 14), (15, 16), (17, 25))`."
        )
    return pairs


class _Frames:
    """Frames of the cache; another process maps the file anew instead of getting a copy."""

    def __init__(self, path: Path, begin: int, end: int) -> None:
        self.path, self.begin, self.end = path.absolute(), int(begin), int(end)
        self.array = np.load(path, mmap_mode="r")[begin:end]
        self.shape, self.dtype = self.array.shape, self.array.dtype

    def __getitem__(self, index: slice) -> np.ndarray:
        return self.array[index]

    def __reduce__(self):
        return _Frames, (self.path, self.begin, self.end)


def _check_cache(folder: Path, cache: Path, size: int) -> list[list[int]]:
    """The person and the number of frames of each clip in the cache."""
    try:
        index = json.loads((cache / "index.json").read_text(encoding="utf-8"))
        frames = np.load(cache / "frames.npy", mmap_mode="r")
        clips, made_for = index["clips"], index["sequences"]
        problem, shape = None, (sum(length for _, length in clips), size, size)
        if frames.dtype != np.uint8 or frames.shape != shape:
            problem = f"its frames are {frames.dtype} of shape {frames.shape}, not uint8 of {shape}"
        elif (folder / SEQUENCES).is_file() and made_for != _digest(folder / SEQUENCES):
            problem = f"it was made for another {SEQUENCES}"
    except (KeyError, OSError, TypeError, ValueError, EOFError) as error:
        problem = f"it cannot be read ({error})"
    if problem:
        raise ValueError(
            "`cache` must be a folder that `read_kth` has made for `folder` and `size`. Received: "
            f"{str(cache)!r}; {problem}. Delete it to convert the videos again, or pass another."
        )
    return clips


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _convert(folder: Path, cache: Path, size: int) -> None:
    """Writes the frames of all listed ranges, person by person, into a new folder `cache`."""
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'Videos are decoded with PyAV: `pip install "keras_msrnn[video]"`.'
        ) from error
    videos = _list_videos(folder)
    ranges = [r for _, _, several in videos for r in several]
    clips = [[person, stop - start] for person, _, several in videos for start, stop in several]
    shape = (sum(stop - start for start, stop in ranges), size, size)
    cache.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{cache.name}-", dir=cache.parent))
    try:
        with (made / "frames.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            progress = keras.utils.Progbar(len(videos), unit_name="video")
            for i, (_, path, several) in enumerate(videos):
                _write_clips(file, path, several, size)
                progress.update(i + 1)
        index = {"clips": clips, "sequences": _digest(folder / SEQUENCES)}
        (made / "index.json").write_text(json.dumps(index), encoding="utf-8")
        made.chmod(0o755)  # `mkdtemp` makes folders that nobody else can read
        os.replace(made, cache)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _list_videos(folder: Path) -> list[tuple[int, Path, list[tuple[int, int]]]]:
    """For each video, sorted by person: the person, its path, and its ranges from 0 on."""
    listing = folder / SEQUENCES
    if not listing.is_file():
        raise FileNotFoundError(
            f"`folder` must hold {SEQUENCES}. Received: folder={str(folder)!r}, in which there is "
            f"none. {_INSTRUCTIONS}"
        )
    videos, missing = [], []
    for number, line in enumerate(listing.read_text("utf-8", "replace").splitlines(), 1):
        if not line.startswith("person"):
            continue  # the text above the list
        match = _LINE.fullmatch(line.strip())
        pairs = [] if match is None else re.findall(r"(\d+)-(\d+)", match["ranges"] or "")
        ranges = [(int(start) - 1, int(stop)) for start, stop in pairs]
        if match is None or any(not 0 <= start < stop for start, stop in ranges):
            raise ValueError(
                f"`folder` must hold {SEQUENCES} as published. Received: {str(listing)!r}, whose "
                f"line {number} is {line!r}. Download it again from "
                "https://www.csc.kth.se/cvap/actions/."
            )
        if ranges:  # but for the one video that was never published
            end = SHORT_VIDEOS.get(match[1])
            if end is not None:
                ranges = [(start, min(stop, end)) for start, stop in ranges]
            name = f"{match[1]}_uncomp.avi"
            places = [folder / name, folder / match["action"] / name]
            path = next((place for place in places if place.is_file()), None)
            videos.append((int(match["person"]), path, ranges))
            missing += [name] if path is None else []
    if missing or not videos:
        named = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise FileNotFoundError(
            f"`folder` must hold the videos that {SEQUENCES} lists. Received: folder="
            f"{str(folder)!r}, which lacks {len(missing)} of {len(videos)}: {named}. "
            f"{_INSTRUCTIONS} To leave videos out, delete their lines in {SEQUENCES}."
        )
    return sorted(videos, key=lambda video: (video[0], video[1].name))


def _write_clips(file: BinaryIO, path: Path, ranges: list[tuple[int, int]], size: int) -> None:
    wanted = max(stop for _, stop in ranges)
    frames, problem = [], "it ends there"
    try:
        for frame in _decode(path):
            frames.append(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))
            if len(frames) == wanted:
                break
    except ValueError as error:
        problem = str(error)
    if len(frames) < wanted:
        raise ValueError(
            f"`folder` must hold videos that can be decoded. Received: {str(path)!r}, of which "
            f"{len(frames)} of {wanted} frames can be: {problem}. Download it again, or delete its "
            f"line in {SEQUENCES} to leave it out."
        )
    for start, stop in ranges:
        file.write(np.stack(frames[start:stop]).tobytes())


def _decode(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video as grey `uint8` `(height, width)`."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Otherwise the decoder paints over what it cannot read.
            stream.codec_context.options = {"err_detect": "explode"}
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="gray")
    except (av.FFmpegError, IndexError) as error:  # IndexError: only sound, no video
        raise ValueError(str(error)) from error
