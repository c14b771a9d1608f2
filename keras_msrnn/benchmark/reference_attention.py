"""The cells with attention in plain PyTorch: CMS-LSTM and PrecipLSTM."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

from keras_msrnn.benchmark.reference_cells import ConvLSTM, PredRNN, conv, update

BAND = 8  # rows of queries whose local attention is computed at once


class BlockAttention(nn.Module):
    """Attention within corresponding blocks of the two halves of a map."""

    def __init__(self, filters, blocks):
        super().__init__()
        self.f_key = conv(filters, filters, 1)
        self.f_query = conv(filters, filters, 1)
        self.f_value = conv(filters, filters, 1)
        self.blocks = blocks

    def forward(self, x):
        batch, channels, height, width = x.shape
        n = self.blocks
        tall, wide = height // n, width // (2 * n)

        def cut(x):
            x = x.reshape(batch, channels, n, tall, 2, n, wide).permute(0, 2, 5, 4, 3, 6, 1)
            return x.reshape(batch * n * n, 2 * tall * wide, channels)

        weights = torch.bmm(cut(self.f_query(x)), cut(self.f_key(x)).transpose(1, 2)).softmax(-1)
        attended = torch.bmm(weights, cut(self.f_value(x)))
        attended = attended.reshape(batch, n, n, 2, tall, wide, channels)
        attended = attended.permute(0, 6, 1, 4, 3, 2, 5)
        return attended.reshape(batch, channels, height, width) + x


class CMSLSTM(ConvLSTM):
    def __init__(self, place, filters, kernel_size, options):
        super().__init__(place, filters, kernel_size, options)
        self.convQ = conv(filters, filters, kernel_size)
        self.convR = conv(filters, filters, kernel_size)
        self.SEBlock = nn.ModuleDict(
            {
                "stages": nn.ModuleList(BlockAttention(filters, n) for n in (1, 2, 4)),
                "conv_bn": conv(3 * filters, filters, kernel_size),
                "w_z": conv(2 * filters, filters, 1),
                "w_h2h": conv(filters, 3 * filters, kernel_size),
                "w_z2h": conv(filters, 3 * filters, kernel_size),
            }
        )

    def forward(self, x, states):
        h = states["h"]
        for exchange in range(5):
            if exchange % 2 == 0:
                x = 2 * torch.sigmoid(self.convQ(h)) * x
            else:
                h = 2 * torch.sigmoid(self.convR(x)) * h
        states = super().forward(x, {**states, "h": h})
        block, h, c = self.SEBlock, states["h"], states["c"]
        both = torch.cat([h, c], dim=3)
        attended = block["conv_bn"](torch.cat([stage(both) for stage in block["stages"]], dim=1))
        z = block["w_z"](torch.cat(attended.chunk(2, 3), dim=1))
        i, g, o = (block["w_h2h"](h) + block["w_z2h"](z)).chunk(3, 1)
        i = torch.sigmoid(i)
        c = (1 - i) * c + i * torch.tanh(g)
        return {"h": torch.sigmoid(o) * c, "c": c}


class LocalAttention(nn.Module):
    """Attention of every pixel over the window around it.

    Positions outside the image count with similarity 0 and value 0: together they are one more
    key of zeros, whose score is the logarithm of their number. Queries are taken in bands of
    rows, which meet the rows of keys within reach.
    """

    def __init__(self, filters, window):
        super().__init__()
        self.window = window
        self.conv1 = conv(filters, filters, 1, bias=False)
        self.conv2 = conv(filters, filters, 1, bias=False)
        self.conv3 = conv(filters, filters, 1, bias=False)

    def forward(self, x):
        height, width = x.shape[2:]
        query, key, value = (c(x).flatten(2) for c in (self.conv1, self.conv2, self.conv3))
        bands = []
        for top in range(0, height, BAND):
            queries = query[:, :, top * width : (top + BAND) * width]
            first, end, mask = window_mask(top, height, width, self.window, x.device)
            keys = F.pad(key[:, :, first * width : end * width], (0, 1))
            values = F.pad(value[:, :, first * width : end * width], (0, 1))
            weights = (torch.bmm(queries.transpose(1, 2), keys) + mask).softmax(-1)
            bands.append(torch.bmm(values, weights.transpose(1, 2)))
        return torch.cat(bands, dim=2).reshape(x.shape)


@functools.cache
def window_mask(top, height, width, window, device):
    """The rows of keys within reach of a band of queries, and what is added to their scores."""
    before, after = window // 2, window - window // 2 - 1
    bottom = min(top + BAND, height)
    first, end = max(0, top - before), min(height, bottom + after)

    def reach(queries, keys):
        offset = keys - queries[:, None]
        return (offset >= -before) & (offset <= after)

    rows = reach(torch.arange(top, bottom), torch.arange(first, end))
    columns = reach(torch.arange(width), torch.arange(width))
    inside = (rows[:, None, :, None] & columns[None, :, None, :]).flatten(2).flatten(0, 1)
    outside = window**2 - inside.sum(dim=1, keepdim=True)
    mask = torch.where(inside, 0.0, -torch.inf)
    return first, end, torch.cat([mask, outside.log()], dim=1).to(device)


class PrecipLSTM(PredRNN):
    states = ("h", "c", "m", "ms", "mt", "x_prev")

    def __init__(self, place, filters, kernel_size, options):
        super().__init__(place, filters, kernel_size, options)
        del self._conv_c_m
        for name in ("ms", "mt"):
            self.add_module(f"_conv_x2h_{name}", conv(filters, 3 * filters, kernel_size))
            self.add_module(f"_conv_{name}2h_{name}", conv(filters, 3 * filters, kernel_size))
            self.add_module(f"_conv_{name}2o", conv(filters, filters, kernel_size))
        self.c_m_ms_mt = conv(4 * filters, filters, 1)
        self.LA = LocalAttention(filters, options.get("window", 30))
        self._conv_x_x_att = conv(filters, filters, kernel_size)

    def forward(self, inputs, states):
        h, m, ms, mt = (states[name] for name in ("h", "m", "ms", "mt"))
        x = inputs + self._conv_x_x_att(self.LA(inputs))
        i, f, g, o = (self._conv_x2h(x) + self._conv_h2h(h)).chunk(4, 1)
        c = torch.sigmoid(f) * states["c"] + torch.sigmoid(i) * torch.tanh(g)
        m, _ = update(m, self._conv_x2h_m(x) + self._conv_m2h_m(m))
        ms, _ = update(ms, self._conv_x2h_ms(x) + self._conv_ms2h_ms(ms))
        change = inputs - states["x_prev"]
        mt, _ = update(mt, self._conv_x2h_mt(change) + self._conv_mt2h_mt(mt))
        o = o + self._conv_c2o(c) + self._conv_ms2o(ms) + self._conv_mt2o(mt) + self._conv_m2o(m)
        h = torch.sigmoid(o) * torch.tanh(self.c_m_ms_mt(torch.cat([c, ms, mt, m], dim=1)))
        return {"h": h, "c": c, "m": m, "ms": ms, "mt": mt, "x_prev": inputs}
