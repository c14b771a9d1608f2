"""`animate_forecast`: one sample as a GIF or a video."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_msrnn.plotting.frames import BLUE, ORANGE, check_sample, choose_scale, time_label

if TYPE_CHECKING:
    from PIL import Image


def animate_forecast(
    path: str | os.PathLike,
    context: Any,
    truth: Any | None,
    forecast: Any,
    *,
    channel: int | None = None,
    value_range: tuple[float, float] | None = None,
    cmap: str = "gray",
    units: Any | None = None,
    frames_per_second: float = 5.0,
    overwrite: bool = False,
) -> Path:
    """Writes one sample as an animated GIF or an MP4 video, the truth beside the forecast.

    Both sides show the context first, in blue frames; the forecast follows in orange ones, with
    its lead time below. Small frames are enlarged to about 256 pixels.

    Args:
        path: File to write, ending in ".gif" or ".mp4". Videos need PyAV,
            `pip install "keras_msrnn[video]"`.
        context: The frames that the model saw, `(time, height, width)` or
            `(time, height, width, channels)`, one channel or three (RGB).
        truth: The frames that followed; None if they are unknown, which leaves the forecast alone.
        forecast: The frames that the model forecast, as many as `truth` has.
        channel: The channel to draw, where there are others than one or three.
        value_range: Values that get the first and last color. By default the smallest and
            largest of `context` and `truth`.
        cmap: Matplotlib colormap of the values.
        units: `data.Reflectivity` or `data.RainRate`, if the values are pixels of rain: they are
            drawn on the rain scale of `plot_forecast`.
        frames_per_second: Speed; the last frame stays for one second longer.
        overwrite: Whether to replace the file if there is one.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: If there is such a file and `overwrite` is False.
        ImportError: If the file is a video and PyAV is not installed.
        ValueError: If the arrays are not one sample of matching shapes, or the ending is another.

    Example:

    >>> import numpy as np, tempfile
    >>> frames = np.random.default_rng(0).random((6, 16, 16))
    >>> path = Path(tempfile.mkdtemp(), "forecast.gif")
    >>> animate_forecast(path, frames[:3], frames[3:], frames[3:] ** 2).name
    'forecast.gif'
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"`path` must not exist yet. Received: path={str(path)!r}. Pass another path, or "
            "`overwrite=True` to replace the file."
        )
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise ValueError(f"`path` must end in .gif or .mp4. Received: path={str(path)!r}.")
    if not frames_per_second > 0:
        raise ValueError(
            "`frames_per_second` must be positive. Received: frames_per_second="
            f"{frames_per_second}. Pass a number such as 5."
        )
    context, truth, forecast = check_sample(context, truth, forecast, channel, units)
    future = forecast if truth is None else truth
    scale = choose_scale(cmap, value_range, units, context, future)
    sides = {"forecast": forecast} if truth is None else {"truth": truth, "forecast": forecast}
    sides = {name: scale(np.concatenate([context, side])) for name, side in sides.items()}
    times = range(1 - len(context), len(forecast) + 1)
    images = [
        _animation_frame({name: side[i] for name, side in sides.items()}, time, times)
        for i, time in enumerate(times)
    ]
    colors = np.concatenate([side.reshape(-1, 3) for side in sides.values()])
    # Written under another name first, so that a failure leaves no half of a file.
    unfinished = path.with_name(f".{path.name}.unfinished{path.suffix}")
    try:
        if path.suffix.lower() == ".mp4":
            _write_mp4(unfinished, images, frames_per_second)
        else:
            _write_gif(unfinished, images, frames_per_second, colors)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _write_gif(
    path: Path, images: list[Image.Image], frames_per_second: float, colors: np.ndarray
) -> None:
    from PIL import Image

    palette = _palette(colors)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    duration = [round(1000 / frames_per_second)] * len(images)
    duration[-1] += 1000
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)


def _write_mp4(path: Path, images: list[Image.Image], frames_per_second: float) -> None:
    from fractions import Fraction

    try:
        import av
    except ImportError as error:
        raise ImportError(
            'Videos need PyAV: `pip install "keras_msrnn[video]"`, or write a .gif.'
        ) from error
    rate = Fraction(frames_per_second).limit_denominator(1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuv420p"
        for image in [*images, *[images[-1]] * round(frames_per_second)]:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def _animation_frame(
    sides: Mapping[str, np.ndarray], time: int, times: Sequence[int]
) -> Image.Image:
    """One picture of an animation: named frames side by side, framed, with their time below."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    font = ImageFont.truetype(str(font), 16)
    color = ORANGE if time > 0 else BLUE
    border, space, head, foot = 4, 10, 26, 40
    height, width = next(iter(sides.values())).shape[:2]
    zoom = max(1, round(256 / max(height, width)))
    height, width = height * zoom, width * zoom
    pitch = width + 2 * border + space
    size = (max(pitch * len(sides) + space, 180), height + 2 * border + head + foot)
    size = tuple(side + side % 2 for side in size)  # video codecs want even sides
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, (name, frame) in enumerate(sides.items()):
        left = space + pitch * number
        right, bottom = left + width + 2 * border - 1, head + height + 2 * border - 1
        draw.rectangle((left, head, right, bottom), fill=color)
        enlarged = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        image.paste(enlarged, (left + border, head + border))
        draw.text((left, 4), name, fill="black", font=font)

    # Below: what is seen, and a bar of the whole time which fills up.
    middle = size[0] / 2
    caption = f"{'lead time' if time > 0 else 'context'}  {time_label(time)}"
    draw.text((middle, size[1] - foot + 4), caption, fill=color, font=font, anchor="ma")
    step = (size[0] - 2 * space) / len(times)
    for number, other in enumerate(times):
        shade = (ORANGE if other > 0 else BLUE) if other <= time else "#DDDDDD"
        left = space + number * step
        draw.rectangle((left, size[1] - 10, left + step - 2, size[1] - 5), fill=shade)
    return image


def _palette(colors: np.ndarray) -> Image.Image:
    """One palette for a whole file, which keeps it small and its colors steady."""
    from PIL import Image, ImageColor

    own = [np.array(ImageColor.getrgb(name)) for name in ("black", BLUE, ORANGE, "#DDDDDD")]
    own = [255 - (255 - color) * part // 4 for color in own for part in range(5)]  # smooth letters
    pixels = colors[:: -(-len(colors) // 200_000), None]
    chosen = Image.fromarray(pixels).quantize(256 - len(own)).getpalette()[: 3 * (256 - len(own))]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*chosen, *np.ravel(own).tolist()])
    return palette
