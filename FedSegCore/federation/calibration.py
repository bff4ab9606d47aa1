"""One question after the models are published: how far do they disagree on your validation cases?

What a site answers, once, after the last round, are two coarse histograms of a few cases; fewer than three are told
as none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from FedSegCore.errors import ModelFileError, SiteError, plain
from FedSegCore.federation import wire
from FedSegCore.federation.method import Round, Site
from FedSegCore.federation.rounds import Emit
from FedSegCore.federation.transport import Transport
from FedSegCore.tensors.weights import Weights

KIND: Final = "calibrate"


@final
@dataclass(frozen=True, eq=False)
class SharedBank:
    """The published models, as every site is sent them.

    Args:
        headers: what each model's file says of itself.
        weights: model i's tensors under `i/NAME`.
    """

    headers: Sequence[Mapping[str, Any]]
    weights: Weights

    def member(self, place: int) -> Weights:
        """One model's weights."""
        prefix = f"{place}/"
        own = (item for item in self.weights.items() if item[0].startswith(prefix))
        return {name.removeprefix(prefix): tensor for name, tensor in own}


@final
@dataclass(frozen=True)
class BankCounts:
    """A site's validation cases by the models' disagreement, in bins of equal width from 0 to 1.

    Args:
        good, poor: of those that the models segmented well and badly.
    """

    good: Sequence[int]
    poor: Sequence[int]


Survey = Callable[[SharedBank, Site], BankCounts]
"""How a site answers."""


def ask(
    transport: Transport, bank: SharedBank, round: Round, *, bins: int, most: int, emit: Emit
) -> list[BankCounts]:
    """Every site's answer; one that does not come, or is none, is told and left out.

    Args:
        bins: of each histogram.
        most: what both may add up to.
    """
    data = wire.encode(bank, kind=KIND, round=round.number, total=round.total)
    answers: list[BankCounts] = []
    for client, reply in transport.exchange(lambda _: data, round):
        try:
            if isinstance(reply, SiteError):
                raise reply
            counts = wire.decode(BankCounts, reply, f"counts of {client.name}")
            every = [*counts.good, *counts.poor]
            if {len(counts.good), len(counts.poor)} != {bins} or min(every) < 0 or sum(every) > most:
                raise ModelFileError(f"its counts are not {bins} numbers of at most {most} looks at cases.")
        except (SiteError, ModelFileError) as error:
            reason = plain(error.reason if isinstance(error, SiteError) else error.message)
            emit("warning", message=f"Routing is calibrated without {client.name}: {reason}", fix=error.fix)
            continue
        answers.append(counts)
    return answers
