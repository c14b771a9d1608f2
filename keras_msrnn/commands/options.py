"""Options that several commands share, in groups of `argparse`.

Options that are not given are absent from the result, so that a command can tell them from
defaults, which depend on the data set or on the run.
"""

import argparse

MODEL_DEFAULTS = {
    "model": "predrnn",
    "plain": False,
    "filters": 64,
    "kernel_size": 3,
    "scales": None,
    "skip": "add",
    "pooling": "max",
    "interpolation": "bilinear",
    "patch_size": 1,
    "remat": "none",
    "dtype": "float32",
    "set": [],
}
DATA_HELP = """data sets (--data), and the frames seen -> forecast by default:
  moving-mnist  10 -> 10  drawn digits; --digits takes an idx file of MNIST, --path the published
                          test set mnist_test_seq.npy
  taxibj         4 -> 4   --path: folder of BJ13_M32x32_T30_InOut.h5 to BJ16_...
  kth           10 -> 10  --path: folder of the videos and 00sequences.txt; 20 frames in the test
  germany        5 -> 5   --path: RYDL.hdf5
  knmi, odim    10 -> 10  --path: folder of radar files
  PATH          10 -> 10  your frames: .npy, folder of images, data set of an HDF5 file, or what
                          keras_msrnn.data.save_rain wrote
The first four are split as in the papers, the others in time (--split)."""


def make_group(parser, title):
    """A function that adds options to a new group; they have no default."""
    group = parser.add_argument_group(title)

    def add(*flags, **options):
        group.add_argument(*flags, default=argparse.SUPPRESS, **options)

    return add


def add_data(parser):
    """Options of the data; `data` itself is demanded later, as runs know theirs."""
    add = make_group(parser, "data")
    add("--data", metavar="NAME|PATH", help="data set, or your frames; see below")
    add("--path", help="where the files of the data set are")
    add("--context", type=int, metavar="N", help="frames that the model sees")
    add("--horizon", type=int, metavar="N", help="frames that it forecasts")
    add(
        "--batch-size", type=int, metavar="N", help="sequences per batch (16, or 8 of large frames)"
    )
    add("--workers", type=int, metavar="N", help="threads that read data (1)")
    add = add_frames(parser)
    add("--stride", type=int, metavar="N", help="frames from one sequence to the next (1)")
    add(
        "--split",
        nargs=2,
        type=_fraction_or_time,
        metavar="AT",
        help="where validation and test begin: fractions (0.7 0.85), or times such as 2015-01-01",
    )
    add = make_group(parser, "frames of Moving MNIST and KTH")
    add("--digits", metavar="FILE", help="idx file of MNIST digits; by default they are drawn")
    add("--batches", type=int, metavar="N", help="Moving MNIST: batches per epoch (625)")
    add("--size", type=int, metavar="PIXELS", help="side of a frame (64)")
    add("--digits-per-frame", type=int, metavar="N", help="Moving MNIST (2)")
    add("--speed", nargs=2, type=float, metavar="PIXELS", help="Moving MNIST: per frame (2 6)")
    add("--test-horizon", type=int, metavar="N", help="KTH: frames to forecast in the test (20)")


def add_frames(parser):
    """Options of how frames are read, and the function that adds more of them."""
    add = make_group(parser, "frames of radar and of your own")
    add(
        "--crop",
        nargs=4,
        type=int,
        metavar=("TOP", "LEFT", "HEIGHT", "WIDTH"),
        help="part of the frames, in pixels",
    )
    add(
        "--resize",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="size of the frames, after the crop",
    )
    add("--spacing", type=int, metavar="N", help="frames from one in a sequence to the next (1)")
    add(
        "--zr",
        nargs="+",
        metavar="ZR",
        help="rain to reflectivity: marshall-palmer (default), hong-kong, germany, or A B of "
        "Z = A R ** B",
    )
    add(
        "--scaling",
        nargs="+",
        metavar="VALUE",
        help="your own: LOW HIGH become 0 and 1; fit or fit_channels takes them from the training "
        "part; rain says that values are mm/h; none that they are 0..1 (uint8: 0 255)",
    )
    add("--axes", help="your own: order of the axes, such as tchw (t, h, w, c, n: sequences)")
    add("--dataset", metavar="NAME", help="your own: data set of the HDF5 file")
    return add


def add_model(parser, several=False):
    add = make_group(parser, "model")
    if several:
        add("--model", nargs="+", metavar="NAME", help="one or several, or `all` (predrnn)")
    else:
        add("--model", metavar="NAME", help="one of `keras-msrnn list` (predrnn)")
        add("--plain", action="store_true", help="all cells at one scale: no pyramid")
    add("--filters", type=int, metavar="N", help="channels of the cells (64)")
    add("--kernel-size", type=int, metavar="N", help="side of the cells' kernels (3)")
    add(
        "--scales",
        nargs="+",
        type=int,
        metavar="N",
        help="number of cells, or the scale of each (1 2 4 4 2 1)",
    )
    add("--skip", choices=("add", "none", "unet3+", "full"), help="skip connections (add)")
    add("--pooling", choices=("max", "average", "convolution"), help="to coarser scales (max)")
    add(
        "--interpolation",
        choices=("bilinear", "nearest", "transposed_convolution"),
        help="to finer scales (bilinear)",
    )
    add(
        "--patch-size",
        type=int,
        metavar="N",
        help="side of patches that become channels: less memory and time, less detail (1)",
    )
    add("--remat", choices=("none", "step", "sqrt"), help="trade time for memory (none)")
    add("--dtype", help="such as mixed_bfloat16 (float32)")
    add(
        "--set",
        nargs="+",
        metavar="NAME=VALUE",
        help="options that only this model has: links=10, window=30, large_kernel_size=5",
    )


def add_scores(parser):
    add = make_group(parser, "scores")
    add(
        "--thresholds",
        nargs="+",
        type=float,
        metavar="VALUE",
        help="of CSI, POD, FAR and HSS: mm/h for rain (0.5 2 5 10 30), else pixel values 0..1",
    )
    return add


def _fraction_or_time(text):
    try:
        return float(text)
    except ValueError:
        return text
