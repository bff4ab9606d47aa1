"""How much a study can bring to a site: what is larger does not come from an honest coordinator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from FedSegCore.hospital.answers import HubModel, NotAHub
from FedSegCore.simulation.participants import network_bytes
from FedSegCore.simulation.run import Run

_FACTOR: Final = 3
"""For what stands beside the weights: masks, anchors, a card. And pieces on their way count in full."""
_ROOM: Final = 32 * 2**20


@final
@dataclass(frozen=True)
class Bounds:
    """What one site takes.

    Args:
        largest: bytes of a message or a file.
        models: how many files.
        runs: the study's.
    """

    largest: int
    models: int
    runs: frozenset[str]

    def check(self, offered: list[HubModel]) -> None:
        """See that the models that a coordinator offers can be the study's.

        Raises:
            NotAHub: they cannot.
        """
        if len(offered) > self.models:
            raise NotAHub(f"{len(offered)} models are offered; this study has at most {self.models}.", _FIX)
        for model in offered:
            if model.run not in self.runs:
                raise NotAHub(f"A model of {model.run} is offered, which is no run of this study.", _FIX)
            if model.bytes > self.largest:
                raise NotAHub(
                    f"{model.file} of {model.run} has {model.bytes:,} bytes; a model of this study has at most "
                    f"{self.largest:,}.",
                    _FIX,
                )


_FIX: Final = "Do not go on; tell the coordinator."


def bounds_of(runs: Iterable[Run]) -> Bounds:
    """What a study's runs can bring: a merged model, and the question after the last round, hold a network a site."""
    runs = list(runs)
    members = len(runs[0].study.members)
    network = max(network_bytes(run) for run in runs)
    return Bounds(
        largest=_FACTOR * (members + 2) * network + _ROOM,
        models=len(runs) * (members + 1),
        runs=frozenset(run.folder.name for run in runs),
    )
