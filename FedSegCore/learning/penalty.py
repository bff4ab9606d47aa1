"""Pulls towards other weights, added to a step's loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FedSegCore.learning.train import Penalty
from FedSegCore.tensors.weights import Weights


def distance_penalty(model: nn.Module, reference: Weights, strength: float) -> Penalty:
    """strength/2 · ‖w − reference‖² over the parameters named in `reference`; buffers do not count."""
    device = next(model.parameters()).device
    pairs = [
        (parameter, reference[name].to(device))
        for name, parameter in model.named_parameters()
        if name in reference
    ]

    def penalty(_: nn.Module) -> Tensor:
        squares = [(parameter - target).square().sum() for parameter, target in pairs]
        return 0.5 * strength * sum(squares, start=torch.zeros((), device=device))

    return penalty
