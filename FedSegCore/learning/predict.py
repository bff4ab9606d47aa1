"""Probabilities of whole prepared volumes, patch by patch, and the validation Dice that rests on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from FedSegCore.data.prepared import PreparedCase
from FedSegCore.learning.precision import Precision, autocast
from FedSegCore.learning.windows import Tell, nobody, slide


def predict(
    model: nn.Module,
    image: Float[Tensor, "c x y z"],
    *,
    patch: Sequence[int],
    precision: Precision = "float32",
    tell: Tell = nobody,
) -> Float[Tensor, "l x y z"]:
    """The probability of each structure at each voxel, on the CPU.

    Volumes larger than the patch are covered by windows (see `FedSegCore.learning.windows`); smaller ones are padded
    with each channel's minimum, as in training. A patch of two sides means a 2-D study: each slice along z on its
    own. The model is put into evaluation mode.

    Args:
        tell: is told how far it is after every few windows; may end the work by raising.
    """
    device = next(model.parameters()).device
    model.eval()
    padded, inside = fit_patch(image, patch)
    with torch.inference_mode(), autocast(device, precision):
        logits = slide(model, padded.to(device), patch, tell=tell)
    return logits.sigmoid_().cpu()[(slice(None), *inside)].contiguous()


def validate(
    model: nn.Module,
    cases: Sequence[PreparedCase],
    *,
    labels: Sequence[str],
    patch: Sequence[int],
    precision: Precision = "float32",
) -> dict[str, float]:
    """The mean Dice of each annotated structure over the cases, on the prepared grid.

    Cases without the structure, in reference and prediction alike, say nothing and are left out; a structure
    that no case says anything about is missing from the result.
    """
    sums = torch.zeros(2, len(labels), dtype=torch.float64)
    for case in cases:
        truth = case.target.bool()
        found = predict(model, case.image, patch=patch, precision=precision) > 0.5
        dices = overlap(found, truth)
        counts = case.annotated & ~dices.isnan()
        sums[0] += torch.where(counts, dices, 0)
        sums[1] += counts
    return {
        label: float(total / number) for label, total, number in zip(labels, *sums, strict=True) if number > 0
    }


def overlap(found: Bool[Tensor, "l *s"], truth: Bool[Tensor, "l *s"]) -> Float[Tensor, " l"]:
    """The Dice of each structure; nan where neither has any of it."""
    both = (truth & found).flatten(1).sum(1)
    size = truth.flatten(1).sum(1) + found.flatten(1).sum(1)
    return torch.where(size > 0, 2 * both / size.clamp(min=1), torch.nan)


def fit_patch(image: Tensor, patch: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """An image (C, X, Y, Z) padded centred to at least the patch, and where in it the image lies."""
    sides = image.shape[1:]
    least = (*patch, *sides[len(patch) :])
    starts = [max(want - side, 0) // 2 for want, side in zip(least, sides, strict=True)]
    inside = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    if all(side >= want for want, side in zip(least, sides, strict=True)):
        return image, inside
    lowest = image.flatten(1).amin(1).view(-1, 1, 1, 1)
    padded = lowest.repeat(1, *(max(want, side) for want, side in zip(least, sides, strict=True)))
    padded[(slice(None), *inside)] = image
    return padded, inside
