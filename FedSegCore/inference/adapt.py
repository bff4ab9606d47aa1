"""Fit a network to unlabelled images of one hospital by a few steps on losses that need no label.

Jiang et al., IOP-FL, IEEE TMI 2023, test-time routing; with other parameters the same loop is TENT (Wang et al.,
ICLR 2021: entropy alone, scale and shift of the norm layers alone). Departures from the official code: no label is
read, to stop or otherwise; the clean forward pass serves entropy, consistency and shape; dropout is off when the
result is used; all slices are used, not only those that hold the structure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from FedSegCore.errors import DataError, StudyError
from FedSegCore.learning import unsupervised
from FedSegCore.learning.predict import fit_patch
from FedSegCore.nets.routing import Gate, Granularity, Routed, set_views


@final
@dataclass(frozen=True)
class Adaptation:
    """How a network is fitted to a scan: the study's `[routing]` table.

    Args:
        gate: `softmax`, or the paper's `sigmoid`, whose gates do not sum to one.
        granularity: one mixture a `sample` (the paper), a `batch`, or `static`, whatever the input.
        steps: optimizer steps a scan at most.
        patience: steps without a lower loss after which it stops.
        learning_rate: Adam's, of the norm layers; the paper's, for hundreds of steps.
        router_rate: Adam's, of the routers, which have a few steps to leave their start.
        entropy, consistency, shape: weights of the three losses.
        noise: strength of the noise on the turned image, in spreads of each channel.
        dropout: of the routers' hidden features.
        norms: whether scale and shift of the norm layers move too.
        batch_size: patches or slices a step of a scan that is larger than one patch.
    """

    gate: Gate = "softmax"
    granularity: Granularity = "batch"
    steps: int = 10
    patience: int = 5
    learning_rate: float = 1e-3
    router_rate: float = 1e-2
    entropy: float = 10.0
    consistency: float = 0.1
    shape: float = 0.05
    noise: float = 0.5
    dropout: float = 0.2
    norms: bool = True
    batch_size: int = 4

    def __post_init__(self) -> None:
        for name in ("steps", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise StudyError(
                    f"{name} is {getattr(self, name)}, expected 1 or more.", "Correct the value."
                )
        for name in ("learning_rate", "router_rate", "entropy", "consistency", "shape", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise StudyError(
                    f"{name} is {getattr(self, name)}, expected 0 or more.", "Correct the value."
                )
        if not 0 <= self.dropout < 1:
            raise StudyError(f"dropout is {self.dropout}, expected 0 to below 1.", "The paper has 0.2.")


@dataclass(frozen=True)
class Adapted:
    """How the fit went: the loss of each step, and which step's parameters were kept."""

    losses: tuple[float, ...]
    kept: int


def adapt(
    net: nn.Module,
    groups: Sequence[tuple[Sequence[nn.Parameter], float]],
    image: Float[Tensor, "c x y z"],
    *,
    patch: Sequence[int],
    settings: Adaptation,
    generator: torch.Generator,
) -> Adapted:
    """Move the given parameters of `net`, in place, to lower the unsupervised loss on one image.

    Args:
        groups: parameters with their learning rate; nothing else changes.
        image: prepared, unlabelled; a whole volume, in a 2-D study a stack of slices along z.
        patch: the network's training patch, two sides in a 2-D study.
        generator: a CPU generator; equal ones give equal results.

    Raises:
        DataError: an image with NaN or infinite values.
    """
    if not bool(torch.isfinite(image).all()):
        raise DataError("The image contains NaN or infinite values.", "Replace them, or leave the case out.")
    parameters = [parameter for group, _ in groups for parameter in group]
    held = {id(parameter) for parameter in parameters}
    for parameter in net.parameters():
        parameter.requires_grad_(id(parameter) in held)
    adam = torch.optim.Adam([{"params": list(group), "lr": rate} for group, rate in groups if len(group)])
    device = parameters[0].device
    radius = _radius(patch)
    best, kept, losses = [p.detach().clone() for p in parameters], -1, []
    net.eval()
    _dropout(net, on=True)
    # Dropout draws from torch's global generators; they are set from ours and put back.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for number, images in enumerate(_draws(image, patch, settings, generator)):
            loss = _loss(net, images.to(device), settings, radius, generator)
            losses.append(float(loss.detach()))
            if losses[-1] < min(losses[:-1], default=math.inf):
                kept = number
                best = [parameter.detach().clone() for parameter in parameters]
            if number == settings.steps or number - kept >= settings.patience:
                break
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
    _dropout(net, on=False)
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
    return Adapted(tuple(losses), kept)


@torch.no_grad()
def unsupervised_loss(
    net: nn.Module,
    image: Float[Tensor, "c x y z"],
    *,
    patch: Sequence[int],
    settings: Adaptation,
    generator: torch.Generator,
) -> float:
    """The loss that `adapt` lowers, once, of a network as it is."""
    device = next(net.parameters()).device
    images = next(_draws(image, patch, settings, generator)).to(device)
    return float(_loss(net, images, settings, _radius(patch), generator))


def _loss(
    net: nn.Module, images: Tensor, settings: Adaptation, radius: int, generator: torch.Generator
) -> Tensor:
    """10 · L_ent + 0.1 · L_cons + L_shape; a weight of 0 leaves its term out.

    The images and their turned copies go through the network as two views of one batch, so that the clean pass
    serves all three terms. A single image is never alone: torch's CPU convolutions of one small image leave their
    fast path, and two are quicker.
    """
    turn = unsupervised.draw_turn(generator, square=images.shape[2] == images.shape[3])
    views = [images]
    if settings.consistency > 0:
        views.append(unsupervised.disturb(images, turn, noise=settings.noise, generator=generator))
    elif len(images) == 1:
        views.append(images)
    set_views(net, len(views))
    logits, *others = net(torch.cat(views)).chunk(len(views))
    set_views(net, 1)
    loss = settings.entropy * unsupervised.entropy(logits)
    if settings.consistency > 0:
        loss = loss + settings.consistency * unsupervised.consistency(logits, others[0], turn)
    if settings.shape > 0:
        surface = unsupervised.shape_constraint(unsupervised.foreground(logits), radius=radius)
        loss = loss + settings.shape * surface
    return loss


def _draws(
    image: Tensor, patch: Sequence[int], settings: Adaptation, generator: torch.Generator
) -> Iterator[Tensor]:
    """What each step sees, (B, C, *S): the whole scan where it is one patch, else random patches or slices."""
    dims = len(patch)
    padded, _ = fit_patch(image, patch)
    while True:
        if dims == 3 and tuple(padded.shape[1:]) == tuple(patch):
            yield padded[None]
            continue
        parts = [_part(padded, patch, generator) for _ in range(settings.batch_size)]
        yield torch.stack(parts)


def _part(image: Tensor, patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """One random patch, of a random slice in a 2-D study."""
    starts = [int(torch.randint(whole - side + 1, (), generator=generator))
              for whole, side in zip(image.shape[1:], patch, strict=False)]  # fmt: skip
    window = image[(slice(None), *(slice(a, a + side) for a, side in zip(starts, patch, strict=True)))]
    if len(patch) == 3:
        return window
    return window[..., int(torch.randint(image.shape[-1], (), generator=generator))]


def _radius(patch: Sequence[int]) -> int:
    """The paper's 10 of 384 pixels, at this patch's size."""
    return max(1, round(min(patch) * 10 / 384))


def _dropout(net: nn.Module, *, on: bool) -> None:
    """Dropout of the routers alone; every other layer stays in evaluation mode."""
    for module in net.modules():
        if isinstance(module, Routed):
            module.router.train(on)
