"""Calibration of one level's features by anchors: every voxel attends to what full-modal cases look like.

FedMEPD's LACCA (for the paper see `FedSegCore.methods.fedmepd`), for voxels x in R^C, anchors a and heads h:

    p_h(x, a) = softmax over a of (Q_h x) · (K_h a) / √C
    y = O [Σ_a p_1(x, a) V_1 a, ..., Σ_a p_H(x, a) V_H a]

With so few anchors Q_h and K_h fold into one matrix a head, and V_h and O into another, once a step; no voxel is
ever projected into H · C numbers.

Departures from the published code: no dropout, which would draw from torch's global generator; weights begin as
Glorot's and not at a spread of 0.001, whose output is one constant for the first rounds; `residual` is ours, its
output matrix begins at 0 and the features therefore as they were.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@final
class Calibration(nn.Module):
    """One level's cross-attention; its anchors are part of its state, so that a model file holds them.

    Args:
        channels: of the features, C.
        heads: each sees all C channels.
        classes: background and the structures, in this order.
        anchors: a class.
        residual: whether the result is added to the features; else it replaces them.
    """

    anchors: Tensor

    def __init__(self, channels: int, *, heads: int, classes: int, anchors: int, residual: bool) -> None:
        super().__init__()
        self.heads = heads
        self.residual = residual
        self.query = nn.Linear(channels, heads * channels)
        self.key = nn.Linear(channels, heads * channels)
        self.value = nn.Linear(channels, heads * channels)
        self.output = nn.Linear(heads * channels, channels)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if residual:
            nn.init.zeros_(self.output.weight)
        self.register_buffer("anchors", torch.zeros(anchors, classes, channels))

    def attend(self, features: Float[Tensor, "b c *s"]) -> Float[Tensor, "b *s h a"]:
        """How much each head looks at each of the K · classes anchors; sums to 1 over them.

        An anchor of zeros stands for a class that no case has shown, and is never looked at.
        """
        anchors = self.anchors.flatten(0, 1)
        keys = self.key(anchors).unflatten(-1, (self.heads, -1))
        weight = self.query.weight.unflatten(0, (self.heads, -1))
        matrix = torch.einsum("ahd,hdc->hac", keys, weight).flatten(0, 1)
        shift = torch.einsum("ahd,hd->ha", keys, self.query.bias.unflatten(0, (self.heads, -1))).flatten()
        scale = 1.0 / math.sqrt(anchors.shape[1])
        scores = F.linear(features.movedim(1, -1), matrix * scale, shift * scale)
        scores = scores.unflatten(-1, (self.heads, -1))
        unknown = anchors.abs().amax(-1) == 0
        attention: Tensor = scores.float().masked_fill(unknown, -torch.inf).softmax(-1)
        return attention

    def forward(self, features: Float[Tensor, "b c *s"]) -> Float[Tensor, "b c *s"]:
        """The calibrated features."""
        values = self.value(self.anchors.flatten(0, 1)).unflatten(-1, (self.heads, -1))
        weight = self.output.weight.unflatten(1, (self.heads, -1))
        matrix = torch.einsum("ahd,chd->cha", values, weight).flatten(1)
        attention = self.attend(features).to(matrix.dtype).flatten(-2)
        calibrated = F.linear(attention, matrix, self.output.bias).movedim(-1, 1)
        return features + calibrated if self.residual else calibrated

    def entropy(self, features: Float[Tensor, "b c *s"]) -> Float[Tensor, ""]:
        """The mean entropy of the attention over that of equal attention to all anchors: 0 one anchor, 1 all."""
        attention = self.attend(features)
        mean = torch.special.entr(attention).sum(-1).mean()
        evenness: Tensor = mean / math.log(max(attention.shape[-1], 2))
        return evenness
