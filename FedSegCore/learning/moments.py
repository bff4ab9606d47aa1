"""An optimizer's state as named tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FedSegCore.tensors.weights import Weights


def moments(optimizer: torch.optim.Optimizer, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as CPU tensors called `MOMENT/PARAMETER`."""
    return {
        f"{moment}/{name}": value.detach().to("cpu", copy=True)
        for name, parameter in named.items()
        for moment, value in optimizer.state.get(parameter, {}).items()
    }


def restore_moments(optimizer: torch.optim.Optimizer, named: dict[str, nn.Parameter], saved: Weights) -> None:
    """Put back what `moments` took, for the parameters that are trained now."""
    for key, value in saved.items():
        moment, _, name = key.partition("/")
        if name in named:
            parameter = named[name]
            # A moment takes its parameter's memory layout too: the fused step walks both as flat memory.
            place = torch.empty_like(
                parameter if value.shape == parameter.shape else value, device=parameter.device
            )
            optimizer.state[parameter][moment] = place.copy_(value)
