"""Fit a network to unlabelled images of one hospital by a few steps on losses that need no label.

Jiang et al., IOP-FL, IEEE TMI 2023, test-time routing; with other parameters the same loop is TENT (Wang et al.,
ICLR 2021: entropy alone, scale and shift of the norm layers alone). Departures from the official code: no label is
read, to stop or otherwise; the clean forward pass serves entropy, consistency and shape; dropout is off when the
result is used; all slices are used, not only those that hold the structure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from FedSegCore.errors import DataError, StudyError
from FedSegCore.learning import unsupervised
from FedSegCore.learning.predict import fit_patch
from FedSegCore.learning.windows import starts
from FedSegCore.nets.routing import Gate, Granularity, Router, set_views

_MOST: Final = 64
"""Windows of a scan that adaptation draws from."""
TOGETHER: Final = 8
"""Windows that go through the network at once where no gradient is wanted."""
_LEAST: Final = 1e-4
"""What a window without any foreground weighs."""


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
        router_rate: Adam's, of the routers, which have a few steps to leave their start. At the paper's 1e-3, which
            is for hundreds of steps, they stay there.
        entropy, consistency, shape: weights of the three losses.
        noise: strength of the noise on the turned image, in spreads of each channel.
        dropout: of the routers' hidden features.
        norms: whether scale and shift of the norm layers move too.
        batch_size: patches or slices a step of a scan that is larger than one patch.
    """

    gate: Gate = "softmax"
    granularity: Granularity = "batch"
    steps: int = 5
    patience: int = 3
    learning_rate: float = 1e-3
    router_rate: float = 0.05
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
    """How the fit went: the loss before and after each step, and after how many the kept parameters came."""

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

    Steps see the whole image where it is one patch, else windows of it, those with more foreground more often. Every
    step is judged on the same windows, noise and turn, without dropout; the parameters that did best there stay.

    Args:
        groups: parameters with their learning rate; nothing else changes.
        image: prepared, unlabelled; a whole volume, in a 2-D study a stack of slices along z.
        patch: the network's training patch, two sides in a 2-D study.
        generator: a CPU generator; equal ones give equal results.

    Raises:
        DataError: an image with NaN or infinite values.
    """
    parameters = [parameter for group, _ in groups for parameter in group]
    held = {id(parameter) for parameter in parameters}
    for parameter in net.parameters():
        parameter.requires_grad_(id(parameter) in held)
    adam = torch.optim.Adam([{"params": list(group), "lr": rate} for group, rate in groups if len(group)])
    windows = spread(image, patch, most=_MOST).to(parameters[0].device)
    net.eval()
    weights = _foreground_of(net, windows)
    judged = windows[weights.argsort(descending=True, stable=True)[: settings.batch_size].sort().values]
    judge = partial(_judge, net, judged, settings, _radius(patch), generator.get_state())
    losses = [judge()]
    best, kept = [parameter.detach().clone() for parameter in parameters], 0
    while len(losses) <= settings.steps and len(losses) - 1 - kept < settings.patience:
        some = torch.multinomial(weights, min(settings.batch_size, len(windows)), generator=generator)
        _drop(net, generator)
        loss = _loss(net, windows[some.to(windows.device)], settings, _radius(patch), generator)
        _drop(net, None)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        losses.append(judge())
        if losses[-1] < losses[kept]:
            kept = len(losses) - 1
            best = [parameter.detach().clone() for parameter in parameters]
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
    windows = spread(image, patch, most=settings.batch_size).to(device)
    return float(_loss(net, windows, settings, _radius(patch), generator))


def spread(image: Float[Tensor, "c x y z"], patch: Sequence[int], *, most: int) -> Float[Tensor, "n c *s"]:
    """Windows of a scan, evenly spread over it: all of them where they are no more than `most`.

    Raises:
        DataError: an image with NaN or infinite values.
    """
    if not bool(torch.isfinite(image).all()):
        raise DataError("The image contains NaN or infinite values.", "Replace them, or leave the case out.")
    padded, _ = fit_patch(image, patch)
    sides = zip(padded.shape[1:], patch, strict=False)
    axes: list[Sequence[int]] = [starts(whole, side, overlap=0.0) for whole, side in sides]
    axes += [range(padded.shape[3])] if len(patch) == 2 else []
    corners = list(itertools.product(*axes))
    number = min(len(corners), most)
    chosen = [corners[place * len(corners) // number] for place in range(number)]
    return torch.stack([_window(padded, corner, patch) for corner in chosen])


def _window(image: Tensor, corner: Sequence[int], patch: Sequence[int]) -> Tensor:
    """One window; in a 2-D study the last number of the corner is the slice."""
    window = image[(slice(None), *(slice(a, a + side) for a, side in zip(corner, patch, strict=False)))]
    return window if len(patch) == 3 else window[..., corner[2]]


@torch.no_grad()
def _foreground_of(net: nn.Module, windows: Tensor) -> Tensor:
    """How much foreground the network finds in each window, on the CPU; no window comes to nothing."""
    if len(windows) == 1:
        return torch.ones(1)
    found = [unsupervised.foreground(net(part)).flatten(1).mean(1) for part in windows.split(TOGETHER)]
    return torch.cat(found).double().cpu() + _LEAST


@torch.no_grad()
def _judge(net: nn.Module, windows: Tensor, settings: Adaptation, radius: int, state: Tensor) -> float:
    """The loss on the same windows, turn and noise every time."""
    generator = torch.Generator()
    generator.set_state(state)
    return float(_loss(net, windows, settings, radius, generator))


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


def _radius(patch: Sequence[int]) -> int:
    """The paper's 10 of 384 pixels, at this patch's size."""
    return max(1, round(min(patch) * 10 / 384))


def _drop(net: nn.Module, chance: torch.Generator | None) -> None:
    """Switch the routers' dropout on, drawn from a generator, or off."""
    for module in net.modules():
        if isinstance(module, Router):
            module.chance = chance
