"""Several networks as one: each structure is the mean over the networks whose site annotates it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class MergedNet(nn.Module):
    """SegViz's published model: one trunk with one head-and-norms set a site.

    Args:
        members: networks of one architecture.
        annotates: for each member, whether its site annotates each structure (N x L).
    """

    annotates: Tensor

    def __init__(self, members: Sequence[nn.Module], annotates: Sequence[Sequence[bool]]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.register_buffer("annotates", torch.tensor(annotates, dtype=torch.float32))

    def forward(self, image: Float[Tensor, "b c *s"]) -> Float[Tensor, "b l *s"]:
        """Logits of the mean probability over a structure's annotators; 0.5 never wins where it has none."""
        shape = (-1, *[1] * (image.ndim - 2))
        total: Tensor | None = None
        for member, known in zip(self.members, self.annotates, strict=True):
            probabilities = torch.sigmoid(member(image).float()) * known.view(shape)
            total = probabilities if total is None else total + probabilities
        assert total is not None
        mean = total / self.annotates.sum(0).clamp(min=1).view(shape)
        return torch.logit(mean, eps=1e-6)
