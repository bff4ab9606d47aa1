"""What server and sites refuse from each other before it touches any state."""

from __future__ import annotations

import math

import torch

from FedSegCore.errors import UpdateError
from FedSegCore.federation.method import ClientInfo, Measured, Round
from FedSegCore.tensors.weights import Weights

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
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise refuse(f'"{name}" holds NaN or Inf.')


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
