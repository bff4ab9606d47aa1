"""What server and sites refuse from each other before it touches any state."""

from __future__ import annotations

import math
from typing import Final

import torch

from FedSegCore.errors import UpdateError
from FedSegCore.federation.method import ClientInfo, Measured, Round
from FedSegCore.tensors.weights import Weights, finite

FARTHEST: Final = 1000.0
LEAST: Final = 0.01
_FIX = "Use the same study file and FedSeg version at both ends, and look at the data and learning rate."


def check_weights(expected: Weights, sent: Weights, *, site: str, round_number: int) -> None:
    """Refuse weights whose names, shapes or types differ from `expected`, or that are not finite.

    Raises:
        UpdateError: names the first entry at fault.
    """

    def refuse(what: str) -> UpdateError:
        return UpdateError(what, _FIX, site=site, round_number=round_number)

    check_names(expected, sent, site=site, round_number=round_number)
    for name, tensor in sent.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            found, right = (f"{t.dtype} {tuple(t.shape)}" for t in (tensor, wanted))
            raise refuse(f'"{name}" is {found}, expected {right}.')
        if not finite(tensor):
            raise refuse(f'"{name}" holds NaN or Inf.')


def check_move(before: Weights, sent: Weights, *, site: str, round_number: int) -> None:
    """Refuse weights that went further from what was sent out than local training goes.

    The bound is `FARTHEST` times the size of the weights themselves, all tensors together, where each number counts
    as `LEAST` or more. From random weights to trained ones it is a few times; a mean over sites that takes in a
    thousand times as much is lost. What is scaled less than that passes: this is no defence against a clever forger.

    Raises:
        UpdateError: they did.
    """
    squares = moved = 0.0
    for name, tensor in sent.items():
        if tensor.is_floating_point():
            was = before[name]
            moved += float(torch.linalg.vector_norm(tensor - was)) ** 2
            squares += float(torch.linalg.vector_norm(was.abs().clamp_(min=LEAST))) ** 2
    if moved > FARTHEST**2 * squares:
        times = math.sqrt(moved / squares)
        raise UpdateError(
            f"its weights moved by {times:.3g} times their own size in one round, expected at most {FARTHEST:g}.",
            _FIX,
            site=site,
            round_number=round_number,
        )


def check_names(expected: Weights, sent: Weights, *, site: str, round_number: int) -> None:
    """Refuse weights that have another set of names than `expected`.

    Raises:
        UpdateError: names the first entry at fault.
    """
    for name in sorted(expected.keys() ^ sent.keys()):
        what = "not sent" if name in expected else "sent but not asked for"
        raise UpdateError(f'"{name}" was {what}.', _FIX, site=site, round_number=round_number)


def check_measured(update: Measured, client: ClientInfo, round: Round) -> None:
    """Refuse a loss that is no number, and Dice of other structures than the site's or beyond 0 to 1.

    Raises:
        UpdateError: names the first value at fault.
    """
    for label, dice in update.dice.items():
        if label not in client.labels or not 0 <= dice <= 1:
            raise UpdateError(
                f'its validation Dice of "{label}" is {dice}.',
                "Use the same study file and FedSeg version at this site.",
                site=client.name,
                round_number=round.number,
            )
    if not math.isfinite(update.loss):
        raise UpdateError(
            f"its training loss is {update.loss}.",
            "Lower the learning rate, or look for broken images at this site.",
            site=client.name,
            round_number=round.number,
        )
