"""The published models as a plain eager PyTorch program, with which the benchmark compares.

It computes what the authors' release computes, as that is described by the papers and by the
names and shapes in its checkpoints: channels first, one convolution for each term, a Python loop
over time, no compilation. The release also computes parts that change nothing, and so does this:
gradient highway units in all cells of PredRNN++, the inner memories of MIM in the first cell, the
motion unit of MotionRNN in the last. `unused_parts=False` leaves these out.
"""

import torch
import torch.nn.functional as F
from torch import nn

from keras_msrnn.benchmark import reference_attention, reference_cells

DECOUPLING_WEIGHT = 0.01
CELLS = {
    "cms-lstm": reference_attention.CMSLSTM,
    "convlstm": reference_cells.ConvLSTM,
    "mim": reference_cells.MIM,
    "mk-lstm": reference_cells.MKLSTM,
    "modernn": reference_cells.MoDeRNN,
    "motionrnn": reference_cells.MotionRNN,
    "preciplstm": reference_attention.PrecipLSTM,
    "predrnn": reference_cells.PredRNN,
    "predrnn++": reference_cells.CausalLSTM,
    "predrnn-v2": reference_cells.PredRNN,
    "trajgru": reference_cells.TrajGRU,
}


class Reference(nn.Module):
    """A forecaster in PyTorch whose `state_dict` has the names of the authors' checkpoints.

    Args:
        name: String, one of the released models, as in `keras_msrnn.list_models()`.
        multiscale: Boolean, whether the six cells form a pyramid of scales.
        filters: Integer, number of channels of the cells.
        channels: Integer, number of channels of a frame.
        kernel_size: Integer, side of the kernels.
        **options: `links`, `window`, `large_kernel_size`, `compat` as in `keras_msrnn.build`,
            and `unused_parts`, whether to compute what the release computes without using it.

    Call arguments:
        frames: `(batch, time, channels, height, width)`, the context.
        horizon: Integer, number of frames to forecast.

    Returns:
        The forecasts of all frames but the first, `(batch, time + horizon - 1, channels, height,
        width)`, and the cosines of PredRNN-V2 `(step, cell, batch, filters)`, `None` elsewhere
        and outside training.

    Raises:
        ValueError: for an unknown name.

    Reference:
        Ma et al., arXiv 2206.03010.
    """

    def __init__(self, name, multiscale, filters, channels=1, kernel_size=3, **options):
        super().__init__()
        if name not in CELLS:
            raise ValueError(
                f"`name` must be one of the released models, {', '.join(CELLS)}. "
                f"Received: name={name!r}, which has no PyTorch reference to compare with."
            )
        self.scales = (1, 2, 4, 4, 2, 1) if multiscale else (1,) * 6
        options["cells"] = len(self.scales)
        cells = [CELLS[name](i, filters, kernel_size, options) for i in range(len(self.scales))]
        self.filters = filters
        self.embed = nn.ModuleDict({"conv_embed": nn.Conv2d(channels, filters, 1)})
        self.rnns = nn.ModuleDict({"lstm": nn.ModuleList(cells)})
        self.decoupled = name == "predrnn-v2"
        if self.decoupled:
            self.rnns["adapter"] = nn.Conv2d(filters, filters, 1)
        self.fc = nn.ModuleDict({"conv_fc": nn.Conv2d(filters, channels, 1)})

    def forward(self, frames, horizon):
        states = self._initial_states(frames)
        forecasts, cosines = [], []
        for t in range(frames.shape[1] + horizon - 1):
            frame = frames[:, t] if t < frames.shape[1] else forecasts[-1]
            x = self._step(self.embed["conv_embed"](frame), states)
            forecasts.append(self.fc["conv_fc"](x))
            if self.decoupled and self.training:
                cosines.append(torch.stack([self._cosine(state) for state in states]))
        return torch.stack(forecasts, dim=1), torch.stack(cosines) if cosines else None

    def _initial_states(self, frames):
        batch, _, _, height, width = frames.shape
        states = []
        for cell, scale in zip(self.rnns["lstm"], self.scales):
            sides = height // scale, width // scale
            shapes = {name: cell.state_shape(name, self.filters, *sides) for name in cell.states}
            states.append({n: frames.new_zeros(batch, *shape) for n, shape in shapes.items()})
        return states

    def _step(self, x, states):
        """One step of the stack; replaces the `states` of the cells."""
        memory, below = states[-1].get("m"), 1
        outputs = []
        for index, (cell, scale) in enumerate(zip(self.rnns["lstm"], self.scales)):
            x, memory = resample(x, below, scale), resample(memory, below, scale)
            without_skip = x
            if scale < below:
                same = max(i for i in range(index) if self.scales[i] == scale)
                x = x + outputs[same]
            given = states[index] if memory is None else {**states[index], "m": memory}
            states[index] = new = cell(x, given)
            if not cell.remembers_skip:
                new["x_prev"] = without_skip
            x, memory, below = new["h"], new.get("m"), scale
            outputs.append(x)
        return x

    def _cosine(self, state):
        adapted = (self.rnns["adapter"](state[name]).flatten(2) for name in ("delta_c", "delta_m"))
        return F.cosine_similarity(*(F.normalize(x, dim=2) for x in adapted), dim=2).abs()

    def loss(self, frames, horizon):
        """The training loss on `frames`, the last `horizon` of which are the future."""
        forecasts, cosines = self(frames[:, :-horizon], horizon)
        error = forecasts - frames[:, 1:]
        loss = (error.square() + error.abs()).sum(dim=(2, 3, 4)).mean()
        if cosines is not None:
            loss = loss + DECOUPLING_WEIGHT * cosines.sum(dim=(1, 3)).mean()
        return loss


def resample(x, from_scale, to_scale):
    """Maps `(batch, channels, height, width)` at one scale brought to the next one."""
    if x is None or from_scale == to_scale:
        return x
    if to_scale > from_scale:
        return F.max_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
