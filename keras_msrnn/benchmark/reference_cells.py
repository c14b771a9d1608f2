"""The cells of the published models in plain PyTorch: one convolution for each term, nothing fused.

A cell takes its inputs `(batch, channels, height, width)` and a dictionary of states, and returns
the dictionary of new states, in which `h` is its output. Convolutions bear the names they have in
checkpoints of the authors' release. References to the models stand in `keras_msrnn.cells`.
"""

import torch
import torch.nn.functional as F
from torch import nn

MOTIONS = 9


def conv(inputs, outputs, kernel_size, bias=True):
    return nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=bias)


def update(memory, gates):
    """A memory after its forget and input gate, from `[i, f, g]`; also what was added to it."""
    i, f, g = gates.chunk(3, 1)
    added = torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(f) * memory + added, added


class ConvLSTM(nn.Module):
    states = ("h", "c")
    remembers_skip = True  # x_prev is the whole input, with the skip connection

    def __init__(self, place, filters, kernel_size, options):
        super().__init__()
        self._conv_x2h = conv(filters, 4 * filters, kernel_size)
        self._conv_h2h = conv(filters, 4 * filters, kernel_size)

    def state_shape(self, name, filters, height, width):
        return filters, height, width

    def forward(self, x, states):
        i, f, g, o = (self._conv_x2h(x) + self._conv_h2h(states["h"])).chunk(4, 1)
        c = torch.sigmoid(f) * states["c"] + torch.sigmoid(i) * torch.tanh(g)
        return {"h": torch.sigmoid(o) * torch.tanh(c), "c": c}


class MoDeRNN(ConvLSTM):
    def __init__(self, place, filters, kernel_size, options):
        super().__init__(place, filters, kernel_size, options)
        for kind in "XH":
            for k in (3, 5, 7):
                self.add_module(f"conv{k}{k}_{kind}", conv(filters, filters, k))

    def _gate(self, kind, x):
        convolved = [getattr(self, f"conv{k}{k}_{kind}")(x) for k in (3, 5, 7)]
        return 2 * torch.sigmoid(sum(convolved) / 3)

    def forward(self, x, states):
        h = states["h"]
        for exchange in range(5):
            if exchange % 2 == 0:
                x = self._gate("H", h) * x
            else:
                h = self._gate("X", x) * h
        return super().forward(x, {**states, "h": h})


class MKLSTM(ConvLSTM):
    states = ("h", "c_3", "c_5")

    def __init__(self, place, filters, kernel_size, options):
        nn.Module.__init__(self)
        for k, size in ((3, kernel_size), (5, options.get("large_kernel_size", 5))):
            self.add_module(f"_conv_x2h_{k}", conv(filters, 4 * filters, size))
            self.add_module(f"_conv_h2h_{k}", conv(filters, 4 * filters, size))
            self.add_module(f"_conv_c2o_{k}", conv(filters, filters, size))
        self._conv_out = conv(2 * filters, filters, 1)

    def _update(self, k, x, h, c):
        gates = getattr(self, f"_conv_x2h_{k}")(x) + getattr(self, f"_conv_h2h_{k}")(h)
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return c, o + getattr(self, f"_conv_c2o_{k}")(c)

    def forward(self, x, states):
        c_3, o_3 = self._update(3, x, states["h"], states["c_3"])
        c_5, o_5 = self._update(5, x, states["h"], states["c_5"])
        h = torch.sigmoid(o_3 + o_5) * torch.tanh(self._conv_out(torch.cat([c_3, c_5], dim=1)))
        return {"h": h, "c_3": c_3, "c_5": c_5}


def warp(images, flow, compat):
    """`images` `(batch, channels, height, width)` read at positions moved by `flow` `(u, v)`."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=3)
    return F.grid_sample(images, grid, align_corners=compat != "reference")


class TrajGRU(ConvLSTM):
    states = ("h",)

    def __init__(self, place, filters, kernel_size, options):
        nn.Module.__init__(self)
        self.links, self.compat = options.get("links", 10), options.get("compat")
        self._conv_x2h = conv(filters, 3 * filters, kernel_size)
        self._conv_x2f = conv(filters, filters, kernel_size)
        self._conv_h2f = conv(filters, filters, kernel_size)
        self._conv_flow = conv(filters, 2 * self.links, kernel_size)
        self.project = conv(self.links * filters, 3 * filters, 1)

    def forward(self, x, states):
        h = states["h"]
        flow = self._conv_flow(F.leaky_relu(self._conv_x2f(x) + self._conv_h2f(h), 0.2))
        warped = [warp(h, -link, self.compat) for link in flow.split(2, dim=1)]
        z_x, r_x, n_x = self._conv_x2h(x).chunk(3, 1)
        z_h, r_h, n_h = self.project(torch.cat(warped, dim=1)).chunk(3, 1)
        z = torch.sigmoid(z_x + z_h)
        n = F.leaky_relu(n_x + torch.sigmoid(r_x + r_h) * n_h, 0.2)
        return {"h": (1 - z) * n + z * h}


class PredRNN(ConvLSTM):
    states = ("h", "c", "m")

    def __init__(self, place, filters, kernel_size, options):
        super().__init__(place, filters, kernel_size, options)
        self._conv_x2h_m = conv(filters, 3 * filters, kernel_size)
        self._conv_m2h_m = conv(filters, 3 * filters, kernel_size)
        self._conv_c2o = conv(filters, filters, kernel_size)
        self._conv_m2o = conv(filters, filters, kernel_size)
        self._conv_c_m = conv(2 * filters, filters, 1)

    def forward(self, x, states):
        i, f, g, o = (self._conv_x2h(x) + self._conv_h2h(states["h"])).chunk(4, 1)
        delta_c = torch.sigmoid(i) * torch.tanh(g)
        c = torch.sigmoid(f) * states["c"] + delta_c
        return {**self.spatiotemporal(x, c, states["m"], o), "delta_c": delta_c}

    def spatiotemporal(self, x, c, m, o):
        m, delta_m = update(m, self._conv_x2h_m(x) + self._conv_m2h_m(m))
        o = torch.sigmoid(o + self._conv_c2o(c) + self._conv_m2o(m))
        h = o * torch.tanh(self._conv_c_m(torch.cat([c, m], dim=1)))
        return {"h": h, "c": c, "m": m, "o": o, "delta_m": delta_m}


class CausalLSTM(ConvLSTM):
    """The release has a gradient highway unit in every cell, whose output the second one uses."""

    states = ("h", "c", "m", "z")

    def __init__(self, place, filters, kernel_size, options):
        nn.Module.__init__(self)
        self.highway = place == 1
        self.with_highway = self.highway or options.get("unused_parts", True)
        self._conv_x_h_c = conv(3 * filters, 3 * filters, kernel_size)
        self._conv_x_c_m = conv(3 * filters, 3 * filters, kernel_size)
        self._conv_m = conv(filters, filters, 1)
        self._conv_o = conv(3 * filters, filters, kernel_size)
        self._conv_c_m = conv(2 * filters, filters, 1)
        self._conv_x = conv(filters, 2 * filters, kernel_size)
        self._conv_z = conv(filters, 2 * filters, kernel_size)

    def forward(self, x, states):
        h, m, z = states["h"], states["m"], states["z"]
        if self.with_highway:
            p, q = (self._conv_x(x) + self._conv_z(z)).chunk(2, 1)
            q = torch.sigmoid(q)
            z = q * torch.tanh(p) + (1 - q) * z
            x = z if self.highway else x
        c, _ = update(states["c"], self._conv_x_h_c(torch.cat([x, h, states["c"]], dim=1)))
        gates = self._conv_x_c_m(torch.cat([x, c, m], dim=1))
        m, _ = update(torch.tanh(self._conv_m(m)), gates)
        o = torch.tanh(self._conv_o(torch.cat([x, c, m], dim=1)))
        h = o * torch.tanh(self._conv_c_m(torch.cat([c, m], dim=1)))
        return {"h": h, "c": c, "m": m, "z": z}


class MIM(PredRNN):
    """The first cell of the stack gives what a PredRNN cell gives."""

    states = ("h", "c", "m", "n", "s", "x_prev")

    def __init__(self, place, filters, kernel_size, options):
        super().__init__(place, filters, kernel_size, options)
        self.first = place == 0
        self.with_memories = not self.first or options.get("unused_parts", True)
        self.remembers_skip = options.get("compat") != "reference"
        self._conv_x2h_n = conv(filters, 3 * filters, kernel_size)
        self._conv_n2h_n = conv(filters, 3 * filters, kernel_size)
        self._conv_diff2o = conv(filters, filters, kernel_size)
        self._conv_n2o = conv(filters, filters, kernel_size)
        self._conv_x2h_s = conv(filters, 4 * filters, kernel_size)
        self._conv_c2h_s = conv(filters, 4 * filters, kernel_size)
        self._conv_s2o = conv(filters, filters, kernel_size)

    def forward(self, x, states):
        inner = {name: states[name] for name in ("n", "s")}
        if self.with_memories:
            inner, kept = self._memories(x - states["x_prev"], states)
        if self.first:
            return {**super().forward(x, states), **inner, "x_prev": x}
        i, _, g, o = (self._conv_x2h(x) + self._conv_h2h(states["h"])).chunk(4, 1)
        c = kept + torch.sigmoid(i) * torch.tanh(g)
        return {**self.spatiotemporal(x, c, states["m"], o), **inner, "x_prev": x}

    def _memories(self, change, states):
        n, _ = update(states["n"], self._conv_x2h_n(change) + self._conv_n2h_n(states["n"]))
        difference = torch.sigmoid(self._conv_diff2o(change) + self._conv_n2o(n)) * torch.tanh(n)
        gates = self._conv_x2h_s(difference) + self._conv_c2h_s(states["c"])
        i, f, g, o = gates.chunk(4, 1)
        s = torch.sigmoid(f) * states["s"] + torch.sigmoid(i) * torch.tanh(g)
        return {"n": n, "s": s}, torch.sigmoid(o + self._conv_s2o(s)) * torch.tanh(s)


class MotionRNN(MIM):
    """The motion unit of the last cell changes nothing."""

    states = (*MIM.states, "flow", "trend")

    def __init__(self, place, filters, kernel_size, options):
        super().__init__(place, filters, kernel_size, options)
        self.last = place == options["cells"] - 1
        self.with_motion = not self.last or options.get("unused_parts", True)
        self.compat = options.get("compat")
        quarter, flows = filters // 4, 2 * MOTIONS
        self._conv_enc = nn.Conv2d(filters, quarter, 2, stride=2)
        self._conv_u = conv(quarter + flows, flows, 1)
        self._conv_r = conv(quarter + flows, flows, 1)
        self._conv_z = conv(quarter + flows, flows, 1)
        self._conv_hm = conv(quarter, MOTIONS, 1)
        self._conv_dec = conv(MOTIONS * quarter, quarter, 1)
        self._deconv_dec = nn.ConvTranspose2d(quarter, filters, 4, stride=2, padding=1)
        self._conv_g = conv(2 * filters, filters, 1)

    def state_shape(self, name, filters, height, width):
        if name in ("flow", "trend"):
            return 2 * MOTIONS, height // 2, width // 2
        return filters, height, width

    def forward(self, x, states):
        new = {**states, **super().forward(x, states)}
        if not self.with_motion:
            return new
        back, new["flow"], new["trend"] = self._motion(new["h"], states["flow"], states["trend"])
        y = torch.sigmoid(self._conv_g(torch.cat([back, new["h"]], dim=1)))
        h = y * new["h"] + (1 - y) * back + (1 - new["o"]) * x
        return new if self.last else {**new, "h": h}

    def _motion(self, h, flow, trend):
        e = self._conv_enc(h)
        both = torch.cat([e, flow], dim=1)
        u, r = torch.sigmoid(self._conv_u(both)), torch.sigmoid(self._conv_r(both))
        q = torch.tanh(self._conv_z(torch.cat([e, r * flow], dim=1)))
        trend = trend + 0.5 * (flow - trend)
        flow = u * q + (1 - u) * flow + trend
        batch, quarter, height, width = e.shape
        copies = e[:, None].expand(-1, MOTIONS, -1, -1, -1).flatten(0, 1)
        warped = warp(copies, flow.reshape(batch * MOTIONS, 2, height, width), self.compat)
        warped = warped.reshape(batch, MOTIONS, quarter, height, width)
        warped = torch.sigmoid(self._conv_hm(e))[:, :, None] * warped
        order = (0, 2, 3, 4, 1) if self.compat == "reference" else (0, 2, 1, 3, 4)
        warped = warped.permute(order).reshape(batch, quarter * MOTIONS, height, width)
        return self._deconv_dec(self._conv_dec(warped)), flow, trend
