"""Digit images for Moving MNIST: drawn here without a download, or read from an MNIST file."""

from __future__ import annotations

import functools
import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

# The fonts of matplotlib that have real digits; its others draw symbols, boxes or nothing there.
FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-BoldOblique", "-Oblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-BoldOblique", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-BoldItalic", "-Italic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "BolIta", "Italic")),
    *("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
# Most people write a plain stroke for "1", which these fonts draw only as a capital I.
STROKE_FONTS = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSans-Bold", "cmss10")

SIZE = 28  # side of an image, as in MNIST
BOX = 20  # side of the box that the ink fills, as in MNIST
CANVAS, GLYPH = 72, 48  # sides of the finer grid on which the glyphs are thinned, and of their ink


def rendered_digits(count: int, seed: int = 0) -> np.ndarray:
    """Draws digits that look handwritten, with no download.

    Each image takes the centre line of a digit of one of matplotlib's fonts, rotates, slants,
    stretches and bends it at random, and inks it with a pen of random width. All ten digits are
    equally likely. The same arguments give the same images on the same version of matplotlib.

    Args:
        count: Number of images, at least 1.
        seed: Non-negative integer.

    Returns:
        `uint8` array `(count, 28, 28)`, ink 255 on 0, centred by its mass as in MNIST.

    Raises:
        ValueError: If `count` is not a positive integer.

    Example:

    >>> digits = rendered_digits(100)
    >>> digits.shape, digits.dtype
    ((100, 28, 28), dtype('uint8'))
    """
    if count != int(count) or count < 1:
        raise ValueError(
            f"`count` must be a positive integer. Received: count={count}. Pass the number of "
            "digit images to draw; 2000 is plenty for Moving MNIST."
        )
    rng = np.random.default_rng(seed)
    atlas = _glyphs()
    chunks = [min(1000, count - start) for start in range(0, count, 1000)]  # bounds the memory
    return np.concatenate([_ink(*atlas, size, rng) for size in chunks])


def load_idx(path: str | os.PathLike) -> np.ndarray:
    """Reads an MNIST file in the idx format: images `(n, height, width)` or labels `(n,)`.

    Args:
        path: The file, such as `train-images-idx3-ubyte.gz`, compressed with gzip or not.

    Returns:
        `uint8` array of the shape that the file states.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, truncated, or not an idx file of unsigned bytes.

    Example:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    >>> load_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    content = Path(path).read_bytes()
    if content[:2] == b"\x1f\x8b":  # by its first bytes: browsers drop or keep ".gz" at will
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise _idx_error(path, f"its gzip stream is broken ({error})") from error
    if not content:
        raise _idx_error(path, "it is empty")
    if len(content) < 4 or content[:2] != b"\x00\x00" or not content[3]:
        raise _idx_error(path, f"it starts with {content[:4]!r}, which is not idx")
    if content[2] != 8:
        raise _idx_error(path, f"its values have idx type 0x{content[2]:02x}, not 0x08 (uint8)")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise _idx_error(path, f"it ends inside its header, after {len(content)} bytes")
    shape = tuple(int(side) for side in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != math.prod(shape):
        raise _idx_error(
            path,
            f"its header states shape {shape}, {math.prod(shape)} bytes, and "
            f"{len(content) - start} follow",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _idx_error(path: str | os.PathLike, problem: str) -> ValueError:
    return ValueError(
        "`path` must be a complete idx file of unsigned bytes, as MNIST comes. "
        f"Received: path={os.fspath(path)!r}; {problem}. Download the file again, or use "
        "`rendered_digits`, which needs no file."
    )


@functools.cache
def _glyphs() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Thins every digit of every font, once per process.

    Returns:
        For each digit the indices of its glyphs; distance to the centre line
        `(glyphs, CANVAS, CANVAS)`; points of the centre line `(glyphs, points, 2)` as row and
        column from the middle of the canvas, some of them repeated so that all glyphs have as
        many. Both in pixels of the canvas.
    """
    glyphs = [(digit, str(digit), font) for digit in range(10) for font in FONTS]
    glyphs = [g for g in glyphs if g[0] or "Mono" not in g[2]]  # a dot fills the zero of Mono
    glyphs += [(1, "I", font) for font in STROKE_FONTS * 4]  # about as many as there are fonts
    drawn = {key: _draw(*key) for key in {glyph[1:] for glyph in glyphs}}
    lines = _thin(np.stack([drawn[glyph[1:]] for glyph in glyphs]))

    members = [np.flatnonzero([g[0] == digit for g in glyphs]) for digit in range(10)]
    points = [np.argwhere(line) - (CANVAS - 1) / 2 for line in lines]
    most = max(map(len, points))
    points = [p[np.linspace(0, len(p) - 1, most).round().astype(int)] for p in points]
    return members, _distance(lines), np.stack(points).astype("float32")


def _draw(character: str, font: str) -> np.ndarray:
    """Draws one character, its longer side `GLYPH`, in the middle of a boolean canvas."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    left, top, right, bottom = ImageFont.truetype(str(path), 200).getbbox(character)
    scaled = ImageFont.truetype(str(path), round(200 * GLYPH / max(right - left, bottom - top)))
    image = Image.new("L", (CANVAS, CANVAS))
    left, top, right, bottom = scaled.getbbox(character)
    corner = ((CANVAS - left - right) // 2, (CANVAS - top - bottom) // 2)
    ImageDraw.Draw(image).text(corner, character, fill=255, font=scaled)
    return np.asarray(image) > 127


def _thin(images: np.ndarray) -> np.ndarray:
    """Thins boolean `images` `(n, height, width)` to lines one pixel wide (Zhang and Suen 1984)."""
    images = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    ring = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # from north
    changed = True
    while changed:
        changed = False
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            near = np.stack([np.roll(images, (-y, -x), (1, 2)) for y, x in ring])
            neighbours = near.sum(0, dtype="int8")
            crossings = (~near & np.roll(near, -1, 0)).sum(0, dtype="int8")
            peel = images & (neighbours >= 2) & (neighbours <= 6) & (crossings == 1)
            peel &= ~(near[first[0]] & near[first[1]] & near[first[2]])
            peel &= ~(near[second[0]] & near[second[1]] & near[second[2]])
            images = images & ~peel
            changed |= bool(peel.any())
    return images[:, 1:-1, 1:-1]


def _distance(lines: np.ndarray, reach: int = 12) -> np.ndarray:
    """Distance in pixels from every pixel to the nearest one of `lines`, at most `reach`."""
    squared = np.where(lines, 0, reach**2).astype("int32")
    for axis in (1, 2):  # the squared distance separates into rows and columns
        padding = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(squared, padding, constant_values=reach**2)
        for shift in range(-reach, reach + 1):
            window = padded.take(range(reach + shift, reach + shift + CANVAS), axis)
            squared = np.minimum(squared, window + shift**2)
    return np.sqrt(squared, dtype="float32")


def _ink(
    members: list[np.ndarray],
    distance: np.ndarray,
    points: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws `count` digits from what `_glyphs` returns."""
    glyph = np.array([rng.choice(members[digit]) for digit in rng.integers(10, size=count)])
    radius = rng.normal(1.15, 0.3, count).clip(0.7, 1.9).astype("float32")  # of the pen

    # Canvas to image: stretch, slant, rotate, then fit the ink into the box.
    angle = rng.normal(0, np.deg2rad(8), count)
    slant = rng.normal(-0.12, 0.18, count)  # of columns per row: tops lean right
    width = rng.uniform(0.8, 1.25, count)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.stack([cos - sin * slant, -sin * width, sin + cos * slant, cos * width], -1)
    matrix = matrix.reshape(count, 2, 2).astype("float32")
    line = points[glyph] @ matrix.swapaxes(1, 2)
    extent = np.ptp(line, axis=1).max(-1)
    scale = (BOX - 1 - 2 * radius) / extent  # the bends add about one pixel
    centre = line.mean(1) * scale[:, None]
    inverse = np.linalg.inv(matrix * scale[:, None, None])

    # Where each pixel of the image comes from, bent by smooth noise.
    grid = np.stack(np.meshgrid(*[np.arange(SIZE, dtype="float32")] * 2, indexing="ij"), -1)
    bend = np.stack([_smooth_noise(count, rng), _smooth_noise(count, rng)], -1)
    position = grid - (SIZE - 1) / 2 + 1.1 * bend + centre[:, None, None]
    source = position.reshape(count, -1, 2) @ inverse.swapaxes(1, 2) + (CANVAS - 1) / 2

    # Canvas pixels are smaller than image pixels by the mean scale of the matrix.
    unit = np.sqrt(np.abs(np.linalg.det(matrix))) * scale
    away = _bilinear(distance, glyph, source) * unit[:, None]
    pen = radius[:, None] * (1 + 0.15 * _smooth_noise(count, rng).reshape(count, -1))
    ink = (pen + 0.5 - away).clip(0, 1)
    return np.rint(255 * ink).astype("uint8").reshape(count, SIZE, SIZE)


def _smooth_noise(count: int, rng: np.random.Generator, knots: int = 5) -> np.ndarray:
    """Noise `(count, SIZE, SIZE)` of mean 0, variance about 1."""
    at = np.linspace(0, knots - 1, SIZE)[:, None] - np.arange(knots)
    basis = np.exp(-(at**2)).astype("float32")
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    noise = basis @ rng.standard_normal((count, knots, knots), dtype="float32") @ basis.T
    return noise - noise.mean((1, 2), keepdims=True)


def _bilinear(images: np.ndarray, index: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Samples `images[index]` at positions `at` `(n, points, 2)`, clamped to the border."""
    at = at.clip(0, CANVAS - 1.001)
    corner = at.astype("int32")
    row, column = np.moveaxis(at - corner, -1, 0)
    start = (index[:, None] * CANVAS + corner[..., 0]) * CANVAS + corner[..., 1]
    flat = images.reshape(-1)
    top = flat[start] * (1 - column) + flat[start + 1] * column
    bottom = flat[start + CANVAS] * (1 - column) + flat[start + CANVAS + 1] * column
    return top * (1 - row) + bottom * row
