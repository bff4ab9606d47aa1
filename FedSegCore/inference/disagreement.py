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
from FedSegCore.learning.predict import overlap, predict
from FedSegCore.learning.windows import Tell, between, nobody


@final
@dataclass(frozen=True, eq=False)
class Disagreement:
    """The models' disagreement about one scan, over the structures that two or more of them know.

    Args:
        map: of each voxel of the prepared grid in bits, 0 (all say the same) to 1: the information that knowing
            the model would give about its answer, of the structure where that is most.
        score: of the whole scan, 0 to 1: one minus the Dice of the answer and of each model's own segmentation, a
            mean over models and structures, without those that neither finds; nan where nothing can be compared.
        empty: whether the answer finds no structure at all.
    """

    map: Float[Tensor, "u v w"]
    score: float
    empty: bool


def disagree(
    bank: Bank,
    image: Float[Tensor, "c u v w"],
    answer: Float[Tensor, "l u v w"],
    *,
    device: torch.device | str,
    tell: Tell = nobody,
) -> Disagreement:
    """Ask every model of the bank about a prepared scan; one of them is in memory at a time, read from its file.

    Args:
        answer: the probabilities of the segmentation whose trust is in question.
        tell: is told how far it is.
    """
    header, knows = bank.header, bank.knows
    compared = knows.sum(0) > 1
    truth = _decoded(answer, knows.any(0), overlapping=header.overlapping)
    sums, entropies = torch.zeros_like(answer), torch.zeros_like(answer)
    apart: list[float] = []
    for place, known in enumerate(knows):
        net, patch = bank.model(place, device).net, header.plan.patch
        part = between(tell, place / len(knows), (place + 1) / len(knows))
        probabilities = predict(net, image, patch=patch, tell=part)
        own = _decoded(probabilities, known, overlapping=header.overlapping)
        dices = overlap(truth, own)
        for label in (known & compared).nonzero().flatten().tolist():
            sums[label] += probabilities[label]
            entropies[label] += _entropy(probabilities[label])
            if not dices[label].isnan():
                apart.append(1.0 - float(dices[label]))
    where = torch.zeros(answer.shape[1:])
    for label in compared.nonzero().flatten().tolist():
        number = int(knows[:, label].sum())
        torch.maximum(where, _entropy(sums[label] / number) - entropies[label] / number, out=where)
    score = sum(apart) / len(apart) if apart else math.nan
    return Disagreement(where.clamp_(max=1.0), score, not bool(truth.any()))


def _decoded(probabilities: Tensor, known: Tensor, *, overlapping: bool) -> Bool[Tensor, "l u v w"]:
    """The structures that are known, the others empty."""
    return decode(probabilities * known.view(-1, 1, 1, 1), overlapping=overlapping)


def _entropy(probability: Tensor) -> Tensor:
    """Of a yes or no, in bits."""
    nats: Tensor = torch.special.entr(probability) + torch.special.entr(1.0 - probability)
    return nats / math.log(2)
