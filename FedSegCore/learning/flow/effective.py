"""How many distinct images a site has in the flow's latent space: the one number that its flow lends to averaging.

A variant of our own, NOT "FedGIN as published". A flow maps every site's voxels to the same normal distribution, so
the size of a site's latent cloud says nothing of it; how its images differ from one another does. Each image is
described by quantiles of z_u and z_m over its foreground; with the similarity k of two descriptors,

    k(d, d') = exp(-||d - d'||² / (2 σ²)),    e = exp(entropy of the eigenvalues of K / n)  in 1..n

is the effective number of images (Friedman and Dieng, "The Vendi Score", TMLR 2023): copies do not count. σ is one
public"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from FedSegCore.data.prepared import PreparedCase
from FedSegCore.learning.flow.context import REACH_VOXELS, context
from FedSegCore.learning.flow.style import StyledFlow


def effective_images(
    model: StyledFlow, cases: Sequence[PreparedCase], *, dims: int, generator: torch.Generator
) -> float:
    """e of a site's images: 1 where all are alike, their number where all are far from each other.

    Args:
        model: the site's flow.
        cases: its training cases; of more than `most_images` a random part.
        dims: 2 where slices are images to the flow, as in training; 3 where volumes are.
        generator: a CPU generator; touched only if a part is drawn.
    """
    most = model.settings.most_images
    if len(cases) > most:
        cases = [cases[place] for place in torch.randperm(len(cases), generator=generator)[:most].tolist()]
    described = torch.stack([describe(model, case, dims=dims) for case in cases])
    return vendi(described, width=model.settings.kernel_width)


@torch.no_grad()
def describe(model: StyledFlow, case: PreparedCase, *, dims: int) -> Float[Tensor, " d"]:
    """One image in R^32 a channel: 16 quantiles of z_u, then 16 of z_m, over the labelled structures.

    A channel that is zero throughout counts nothing; the others are divided by the root of their number, so
    that a squared distance is the mean over modalities. A case without foreground is described by all voxels.
    """
    device, count = model.center.device, model.settings.quantiles
    image, foreground = (part.to(device) for part in _around(case))
    pairs = _pairs(image.float(), foreground, dims=dims, most=model.settings.described_voxels)
    modality = torch.arange(len(image), device=device)
    latent, _ = model.flow(model.standardize(pairs, modality), modality)
    levels = (torch.arange(count, device=device) + 0.5) / count
    quantiles = torch.quantile(latent, levels, dim=1).permute(1, 2, 0).flatten(1)
    present = (case.image != 0).flatten(1).any(1).to(device)
    return (quantiles * present[:, None]).flatten() / math.sqrt(max(int(present.sum()), 1))


def vendi(described: Float[Tensor, "n d"], *, width: float) -> float:
    """exp(-Σ λ log λ) of the eigenvalues of K / n, in 1..n."""
    points = described.detach().to("cpu", torch.float64)
    # Not by products: copies must have distance 0.
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = torch.exp(-distance.square() / (2.0 * width**2)) / len(points)
    entropy = torch.special.entr(torch.linalg.eigvalsh(kernel).clamp(min=0.0)).sum()
    return min(max(math.exp(float(entropy)), 1.0), float(len(points)))


def _around(case: PreparedCase) -> tuple[Tensor, Bool[Tensor, "x y z"]]:
    """Image and foreground, cut to what the foreground's contexts are computed from."""
    # Of uint8, torch's `any` is uint8 again.
    foreground = case.target.bool().any(dim=0)
    if not foreground.any():
        return case.image, torch.ones_like(foreground)
    window = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        places = foreground.any(dim=others[1]).any(dim=others[0]).nonzero().flatten()
        first, last = int(places[0]), int(places[-1])
        window.append(slice(max(first - REACH_VOXELS, 0), last + REACH_VOXELS + 1))
    x, y, z = window
    return case.image[:, x, y, z], foreground[x, y, z]


def _pairs(image: Tensor, foreground: Tensor, *, dims: int, most: int) -> Float[Tensor, "c v 2"]:
    """Intensity and context of at most about `most` foreground voxels, evenly thinned."""
    if dims == 2:
        image, foreground = image.movedim(3, 1), foreground.movedim(2, 0)
        blurred = context(image.flatten(0, 1)).view(image.shape)
    else:
        blurred = context(image)
    places = foreground.flatten().nonzero().flatten()
    places = places[:: max(1, math.ceil(len(places) / most))]
    return torch.stack([image.flatten(1)[:, places], blurred.flatten(1)[:, places]], dim=-1)
