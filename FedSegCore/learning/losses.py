"""Losses for structures that not every site annotates.

Every structure is one sigmoid output; there is no background channel, so structures may overlap and a site
that does not annotate one says nothing about it. What a site did not annotate counts for exactly nothing: no
loss and no gradient, whatever the target holds there.

Nothing here reads a value back to the host: the losses run on CUDA without waiting, and on torch's `meta`
device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from jaxtyping import Bool, Float, UInt8
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_CERTAINLY_OUTSIDE: Final = -1e4


def dice_ce(
    logits: Float[Tensor, "b l *s"], target: UInt8[Tensor, "b l *s"], annotated: Bool[Tensor, "b l"]
) -> Float[Tensor, ""]:
    """Soft Dice plus binary cross-entropy, 1:1, each averaged over the annotated structures of the batch.

    Dice pools the voxels of the batch, so that a patch without a small structure does not ask for perfection.

    Args:
        logits: the network's output, of any floating type; the loss is computed in float32.
        target: 1 inside the structure, 0 outside; of no effect where not annotated.
        annotated: whether sample b's site annotates structure l.

    Returns:
        A scalar; 0 with a gradient of zeros if nothing in the batch is annotated.
    """
    logits, truth = _masked(logits, target, annotated)
    pooled = DiceLoss(sigmoid=True, batch=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0)
    dice = _mean_where(pooled(logits, truth).flatten(), annotated.any(dim=0))
    return dice + _mean_where(_mean_over_space(_cross_entropy(logits, truth)), annotated)


def dice_focal(
    logits: Float[Tensor, "b l *s"], target: UInt8[Tensor, "b l *s"], annotated: Bool[Tensor, "b l"]
) -> Float[Tensor, ""]:
    """FedGIN's loss: half focal, half soft Dice, averaged over the annotated structures of the batch.

    focal = mean(0.25 * (1 - pt)^2 * bce) with bce weighting foreground voxels by 3. A departure from FedGIN's
    code: its pt = exp(-bce) uses the weighted bce, which is no probability; here pt = exp(-unweighted bce).

    Args:
        logits, target, annotated: as for `dice_ce`.

    Returns:
        A scalar; 0 with a gradient of zeros if nothing in the batch is annotated.
    """
    logits, truth = _masked(logits, target, annotated)
    plain = _cross_entropy(logits, truth)
    weighted = plain * (1.0 + 2.0 * truth)
    focal = _mean_over_space(0.25 * (1.0 - torch.exp(-plain)) ** 2 * weighted)
    per_sample = DiceLoss(sigmoid=True, reduction="none", smooth_nr=1e-5, smooth_dr=1e-5)
    return _mean_where(0.5 * focal + 0.5 * per_sample(logits, truth).flatten(1), annotated)


LOSSES: Final[Mapping[str, Loss]] = MappingProxyType({"dice_ce": dice_ce, "dice_focal": dice_focal})


def decode(probabilities: Float[Tensor, "l *s"], *, overlapping: bool) -> Bool[Tensor, "l *s"]:
    """Structures from probabilities.

    Args:
        probabilities: one channel a structure, each between 0 and 1.
        overlapping: if the structures may overlap, each is where its own probability exceeds 0.5. Otherwise a
            voxel belongs to the most probable structure (the first among equals), if that one's exceeds 0.5.
    """
    inside = probabilities > 0.5
    if overlapping:
        return inside
    winner = torch.argmax(probabilities, dim=0, keepdim=True)
    structures = torch.arange(probabilities.shape[0], device=probabilities.device)
    return inside & (winner == structures.view(-1, *[1] * (probabilities.ndim - 1)))


def _masked(logits: Tensor, target: Tensor, annotated: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and target in float32; where not annotated, a certain and correct "outside".

    There every loss and gradient is exactly 0 in float32, and not even a NaN passes.
    """
    mask = annotated.view(*annotated.shape, *[1] * (logits.ndim - 2))
    return torch.where(mask, logits.float(), _CERTAINLY_OUTSIDE), (target * mask).float()


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of every voxel, (B, L, *S)."""
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _mean_over_space(values: Tensor) -> Tensor:
    """(B, L, *S) -> (B, L)."""
    return values.flatten(2).mean(dim=2)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values where the mask holds; 0 where it holds nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
