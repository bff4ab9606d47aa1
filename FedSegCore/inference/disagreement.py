"""Where, and how much, the models of a bank disagree about one scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from FedSegCore.inference.bank import Bank
from FedSegCore.learning.losses import decode
from FedSegCore.learning.predict import predict


@final
@dataclass(frozen=True, eq=False)
class Disagreement:
    """The models' disagreement about one scan.

    Args:
        map: of each voxel of the prepared grid in bits, 0 (all say the same) to 1: the information that knowing
            the model would give about its answer, of the structure where that is most.
        score: of the whole scan, 0 to 1: one minus the Dice of the answer and of each model's own segmentation, a
            mean over models and structures.
    """

    map: Float[Tensor, "u v w"]
    score: float


def disagree(
    bank: Bank,
    image: Float[Tensor, "c u v w"],
    answer: Float[Tensor, "l u v w"],
    *,
    device: torch.device | str,
) -> Disagreement:
    """Ask every model of the bank about a prepared scan; one of them is in memory at a time.

    Args:
        answer: the probabilities of the segmentation whose trust is in question.
    """
    header, knows = bank.header, bank.knows
    truth = _decoded(answer, knows.any(0), overlapping=header.overlapping)
    sums = torch.zeros_like(answer)
    entropies = torch.zeros_like(answer)
    apart: list[float] = []
    for place, known in enumerate(knows):
        net = bank.model(place, device).net
        probabilities = predict(net, image, patch=header.plan.patch)
        mask = known.view(-1, 1, 1, 1)
        sums += probabilities * mask
        entropies += _entropy(probabilities) * mask
        own = _decoded(probabilities, known, overlapping=header.overlapping)
        apart += [1.0 - _dice(truth[label], own[label]) for label in range(len(known)) if known[label]]
    number = knows.sum(0).clamp(min=1).view(-1, 1, 1, 1)
    information = _entropy(sums / number) - entropies / number
    return Disagreement(information.clamp(0.0, 1.0).amax(0), sum(apart) / max(len(apart), 1))


def _decoded(probabilities: Tensor, known: Tensor, *, overlapping: bool) -> Bool[Tensor, "l u v w"]:
    """The structures that are known, the others empty."""
    return decode(probabilities * known.view(-1, 1, 1, 1), overlapping=overlapping)


def _entropy(probability: Tensor) -> Tensor:
    """Of a yes or no, in bits."""
    nats: Tensor = torch.special.entr(probability) + torch.special.entr(1.0 - probability)
    return nats / math.log(2)


def _dice(first: Tensor, second: Tensor) -> float:
    """Both empty is agreement."""
    size = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / size if size else 1.0
