"""How much memory training takes, told before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import torch
from torch import Tensor, nn

from FedSegCore.learning.losses import dice_ce

PROGRAM: Final = 2**29
"""Bytes that the program takes before it trains: torch, MONAI and what else is imported."""
_PEAK: Final = 1.7
"""A step's peak by what its forward pass keeps; 1.56 to 1.71 were measured on a CPU, with 48 to 96 voxels a side."""
_HALF: Final = 0.53
"""What is kept in bfloat16 by what is kept in float32; norm layers' statistics stay float32. Measured on a CPU."""
_COPIES: Final = 6
"""Of the weights: themselves, gradients, two moments, what is received and what is sent."""


@final
@dataclass(frozen=True)
class Cost:
    """What a training step takes at its peak, about, in bytes.

    Args:
        fixed: of the weights and what belongs to them.
        voxel: of each voxel that goes through the network.
    """

    fixed: int
    voxel: float

    def of(self, patch: Sequence[int], batch: int) -> int:
        """Of a step on so many patches."""
        return self.fixed + int(self.voxel * batch * math.prod(patch))

    def largest_patch(
        self, patch: Sequence[int], batch: int, *, divisor: int, within: int
    ) -> tuple[int, ...] | None:
        """The patch with its longest sides cut, a network's block at a time, until a step fits; None if none does."""
        sides = [max(side // divisor, 1) * divisor for side in patch]
        while self.of(sides, batch) > within:
            longest = sides.index(max(sides))
            if sides[longest] <= 2 * divisor:
                return None
            sides[longest] -= divisor
        return tuple(sides)


def cost_of(
    net: nn.Module,
    *,
    inputs: int,
    outputs: int,
    patch: Sequence[int],
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Cost:
    """The cost of training a network.

    A forward pass runs on torch's `meta` device, which computes nothing, and what it would keep is counted.

    Args:
        net: a network on `meta`.
        patch: any patch that the network takes.
        precision: of the forward pass.
    """
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that no other storage takes its place
        return tensor

    net.train()
    image = torch.empty(2, inputs, *patch, device="meta")
    target = torch.empty(2, outputs, *patch, dtype=torch.uint8, device="meta")
    annotated = torch.ones(2, outputs, dtype=torch.bool, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        dice_ce(net(image).float(), target, annotated)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    features = max(sum(storage.nbytes() for storage in kept.values()) - weights, 0)
    if precision == "bfloat16":
        features = int(_HALF * features)
    return Cost(_COPIES * weights, _PEAK * features / (2 * math.prod(patch)))


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        kib = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return kib["MemAvailable:"] * 1024
    except (OSError, KeyError, ValueError):
        return None
