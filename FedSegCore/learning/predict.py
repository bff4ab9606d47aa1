"""Probabilities of whole prepared volumes, patch by patch, and the validation Dice that rests on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from FedSegCore.data.batches import CachedCase
from FedSegCore.learning.precision import Precision, autocast

_SLICES = 16
"""Slices of a 2-D study that go through the network at once."""


def predict(
    model: nn.Module,
    image: Float[Tensor, "c x y z"],
    *,
    patch: Sequence[int],
    precision: Precision = "float32",
) -> Float[Tensor, "l x y z"]:
    """The probability of each structure at each voxel.

    Volumes larger than the patch are covered by windows that overlap by half and are blended with Gaussian
    weights; smaller ones are padded with each channel's minimum, as in training. A patch of two sides means
    a 2-D study: each slice along z on its own. The model is put into evaluation mode.
    """
    device = next(model.parameters()).device
    dims = len(patch)
    model.eval()
    padded, inside = fit_patch(image, patch)
    stack = padded.permute(3, 0, 1, 2) if dims == 2 else padded[None]
    with torch.inference_mode(), autocast(device, precision):
        parts = [_windows(model, part.to(device), patch) for part in stack.split(_SLICES)]
    probabilities = torch.cat(parts)
    whole = probabilities.permute(1, 2, 3, 0) if dims == 2 else probabilities[0]
    return whole[(slice(None), *inside)].clone()


def validate(
    model: nn.Module,
    cases: Sequence[CachedCase],
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


def _windows(model: nn.Module, images: Tensor, patch: Sequence[int]) -> Tensor:
    """Probabilities (B, L, *S) on the CPU of images that are at least as large as the patch."""
    if tuple(images.shape[2:]) == tuple(patch):
        return torch.sigmoid(model(images).float()).cpu()
    logits = sliding_window_inference(images, tuple(patch), 4, model, overlap=0.5, mode="gaussian")
    return torch.sigmoid(logits.float()).cpu()


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
