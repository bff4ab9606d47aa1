"""Anchors: what the features of each class look like in full-modal cases, K of them a class and level.

FedMEPD (for the paper see `FedSegCore.methods.fedmepd`): with F_l the fused features and M_c the voxels of class c,
background (the voxels of no structure) first,

    f(p, c, l) = Σ_v F_l(v) M_c(v) / Σ_v M_c(v)                                      a case's prototype
    A(k, c, l) ← ω A(k, c, l) + (1 − ω) · mean of f(p, c, l) over the cases p of cluster k      an anchor

The clusters are those of the coarsest level's prototypes before the first round, for all levels and for ever. A class
that a case does not show has no prototype there (the published code clusters zeros instead).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.data.batches import Batches
from FedSegCore.learning.precision import Precision, autocast
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.tensors.weights import Weights

_ITERATIONS: Final = 30


@dataclass(frozen=True, eq=False)
class Prototypes:
    """The mean features of each class in each case.

    Args:
        levels: (P, classes, C_l) of every level, finest first; zeros where not shown.
        shown: (P, classes), whether the case shows the class.
    """

    levels: tuple[Tensor, ...]
    shown: Tensor


def class_masks(target: UInt8[Tensor, "b l *s"]) -> Float[Tensor, "b c *s"]:
    """Background, where no structure is, and the structures; these may overlap."""
    structures = target.float()
    return torch.cat([1.0 - structures.amax(1, keepdim=True), structures], 1)


def pooled_sums(
    features: Float[Tensor, "b f *t"], masks: Float[Tensor, "b c *s"]
) -> tuple[Float[Tensor, "b c f"], Float[Tensor, "b c"]]:
    """Σ_v F(v) M_c(v) and Σ_v M_c(v) over the masks' voxels v, F enlarged to them by the nearest value.

    The masks are pooled to the features' resolution instead, which is the same sum, for a fraction of the products.
    """
    ratio = [whole // coarse for whole, coarse in zip(masks.shape[2:], features.shape[2:], strict=True)]
    pool = F.avg_pool3d if masks.ndim == 5 else F.avg_pool2d
    voxels = torch.Size(ratio).numel()
    pooled = pool(masks, ratio).flatten(2) * voxels if voxels > 1 else masks.flatten(2)
    return pooled @ features.float().flatten(2).mT, pooled.sum(2)


@torch.no_grad()
def case_prototypes(
    net: MultiEncoderNet, batches: Batches, *, precision: Precision = "float32"
) -> Prototypes:
    """Prototypes of every training case, from one fixed patch a volume or slice, without augmentation.

    The network is put into evaluation mode and is to compute all modalities without calibration.
    """
    net.eval()
    device = next(net.parameters()).device
    sums: list[Tensor] = []
    voxels: Tensor | None = None
    for cases, batch in batches.sweep():
        batch = batch.to(device)
        with autocast(device, precision):
            fused = net.fused(batch.image)
        masks = class_masks(batch.target)
        parts = [pooled_sums(features, masks) for features in fused]
        if voxels is None:
            sums = [part.new_zeros(batches.num_cases, *part.shape[1:]) for part, _ in parts]
            voxels = masks.new_zeros(batches.num_cases, masks.shape[1])
        # A product, since adding by index comes in any order on CUDA and would change the last bits.
        of_case = F.one_hot(torch.tensor(cases), batches.num_cases).float().to(device)
        for total, (part, _) in zip(sums, parts, strict=True):
            total += torch.einsum("bp,bcf->pcf", of_case, part)
        voxels += of_case.mT @ parts[0][1]
    assert voxels is not None
    size = voxels.clamp(min=1)[..., None]
    return Prototypes(tuple((total / size).cpu() for total in sums), (voxels > 0).cpu())


def kmeans(
    points: Float[Tensor, "n f"], clusters: int, *, generator: torch.Generator, iterations: int = _ITERATIONS
) -> Int[Tensor, " n"]:
    """Lloyd's algorithm from randomly chosen points; the cluster of every point.

    A cluster that runs empty takes the point that lies farthest from its own centre, so that none is without a
    point where there are as many points as clusters.
    """
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]]
    for _ in range(iterations):
        nearest = _fill_empty(torch.cdist(points, centres))
        chosen = F.one_hot(nearest, clusters).to(points.dtype)
        centres = (chosen.mT @ points) / chosen.sum(0).clamp(min=1)[:, None]
    return nearest


def _fill_empty(distances: Float[Tensor, "n k"]) -> Int[Tensor, " n"]:
    """The nearest centre of every point, but each centre has one."""
    nearest = distances.argmin(1)
    clusters = distances.shape[1]
    for empty in range(clusters):
        sizes = torch.bincount(nearest, minlength=clusters)
        if sizes[empty] == 0:
            own = distances.gather(1, nearest[:, None])[:, 0]
            nearest[torch.where(sizes[nearest] > 1, own, -1.0).argmax()] = empty
    return nearest


def choose_members(
    prototypes: Prototypes, anchors: int, *, generator: torch.Generator
) -> Bool[Tensor, "k c p"]:
    """Which cases each anchor of each class is the mean of: clusters of the coarsest level's prototypes.

    A class with fewer prototypes than anchors deals them out again from the first, so that its anchors repeat; a
    class without any has anchors without members.
    """
    coarsest, shown = prototypes.levels[-1], prototypes.shown
    cases, classes = shown.shape
    members = torch.zeros(anchors, classes, cases, dtype=torch.bool)
    for place in range(classes):
        present = shown[:, place].nonzero()[:, 0]
        if not len(present):
            continue
        if len(present) < anchors:
            for anchor in range(anchors):
                members[anchor, place, present[anchor % len(present)]] = True
            continue
        members[kmeans(coarsest[present, place], anchors, generator=generator), place, present] = True
    return members


def move_anchors(
    old: Weights, prototypes: Prototypes, members: Bool[Tensor, "k c p"], momentum: float
) -> dict[str, Tensor]:
    """ω · old + (1 − ω) · mean of the members' prototypes; an anchor without members keeps its value.

    Args:
        old: (K, classes, C_l) by the level's number; empty: zeros.
        momentum: ω.
    """
    counted = (members & prototypes.shown.T).float()
    number = counted.sum(2)[..., None]
    moved = {}
    for level, values in enumerate(prototypes.levels):
        mean = torch.einsum("kcp,pcf->kcf", counted, values) / number.clamp(min=1)
        before = old.get(str(level), torch.zeros_like(mean))
        moved[str(level)] = torch.where(number > 0, torch.lerp(mean, before, momentum), before)
    return moved


def movement(old: Weights, new: Weights) -> float:
    """‖new − old‖ / ‖old‖ over all levels; 0 where there was nothing."""
    before, after = _joined(old), _joined(new)
    size = float(before.norm())
    return float((after - before).norm()) / size if size > 0 else 0.0


def _joined(anchors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([torch.zeros(0), *(anchors[name].flatten() for name in sorted(anchors))])
