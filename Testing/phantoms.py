"""Small federations in memory, for the tests of everything that sends, averages or keeps weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from FedSegCore.data.batches import Batches, CachedCase
from FedSegCore.errors import SiteError
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.method import ClientInfo, Published, Round, Site
from FedSegCore.federation.rounds import conclude, federate
from FedSegCore.federation.store import ClientStore, ServerStore
from FedSegCore.federation.transport import Outbox
from FedSegCore.learning.train import Training, train
from FedSegCore.methods import averaging, ingredients
from FedSegCore.methods.averaging import Averaging, AveragingClient, AveragingUpdate
from FedSegCore.nets.unet import Network, Norm, SegmentationNet, build
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights

LABELS = ("Liver", "Kidney")
SIDE = 8
TRAINING = Training(
    batch_size=2, learning_rate=0.01, warm_up=0.0, precision="float32", augment="none", spatial=False
)

Reply = bytes | SiteError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_net(*, norm: Norm = "instance", labels: int = 2, dims: int = 2, seed: int = 0) -> SegmentationNet:
    """Two levels of 4 and 8 channels; takes patches of 8 voxels a side."""
    network = Network(channels=(4, 8), norm=norm)
    return build(network, dims=dims, in_channels=1, out_channels=labels, generator=seeded(seed))


def cached_case(name: str, *, seed: int, annotated: Sequence[bool] = (True, True)) -> CachedCase:
    """Two bright blocks on noise, one a structure, in a volume of 8 x 8 x 2 voxels."""
    generator = seeded(seed)
    target = torch.zeros(len(annotated), SIDE, SIDE, 2, dtype=torch.uint8)
    for place in range(len(annotated)):
        corner = int(torch.randint(0, 3, (), generator=generator))
        target[place, corner : corner + 4, 4 * place : 4 * place + 3] = 1
    image = 2.0 * target.sum(0, keepdim=True) + 0.3 * torch.randn(1, SIDE, SIDE, 2, generator=generator)
    known = torch.tensor(annotated)
    return CachedCase(name, image, target * known.view(-1, 1, 1, 1).to(torch.uint8), known)


def cached_cases(number: int, *, seed: int = 0, annotated: Sequence[bool] = (True, True)) -> list[CachedCase]:
    return [
        cached_case(f"case_{place}", seed=100 * seed + place, annotated=annotated) for place in range(number)
    ]


def batches_of(cases: Sequence[CachedCase], *, batch_size: int = 2) -> Batches:
    return Batches(cases, patch=(SIDE, SIDE), batch_size=batch_size, dims=2)


def make_site(
    name: str,
    *,
    cases: int = 2,
    labels: Sequence[str] = LABELS,
    norm: Norm = "instance",
    training: Training = TRAINING,
    validation: int = 0,
    publish: bool = False,
    seed: int = 0,
) -> Site:
    """One hospital with generated cases; with the name "server" one without any."""
    annotated = [label in labels for label in LABELS]
    number = sum(map(ord, name)) + seed
    held = cached_cases(cases, seed=number, annotated=annotated) if name != "server" else []
    seen = cached_cases(validation, seed=number + 50, annotated=annotated)
    return Site(
        ClientInfo(name, ("CT",), tuple(labels), len(held)),
        LABELS,
        (SIDE, SIDE),
        small_net(norm=norm),
        training,
        seeded(number),
        batches_of(held, batch_size=training.batch_size) if held else None,
        tuple(seen),
        publish,
    )


@dataclass
class Wiretap:
    """A transport that hears every byte, and may change a reply on its way.

    Args:
        alter: what the server gets instead of a reply.
        down, up: (site, round, bytes) of every message.
    """

    inner: InProcess
    alter: Callable[[str, Round, Reply], Reply] = lambda site, round, reply: reply
    down: list[tuple[str, int, bytes]] = field(default_factory=list)
    up: list[tuple[str, int, bytes]] = field(default_factory=list)

    def clients(self) -> list[ClientInfo]:
        return self.inner.clients()

    def exchange(self, outbox: Outbox, round: Round) -> Iterator[tuple[ClientInfo, Reply]]:
        def heard(client: ClientInfo) -> bytes:
            data = outbox(client)
            self.down.append((client.name, round.number, data))
            return data

        for client, reply in self.inner.exchange(heard, round):
            if isinstance(reply, bytes):
                self.up.append((client.name, round.number, reply))
            yield client, self.alter(client.name, round, reply)


@dataclass
class Federation:
    """A whole small federation in `folder`; made anew from the same arguments it goes on from what is there."""

    folder: Path
    method: Averaging
    sites: Sequence[Site]
    rounds: int = 2
    seed: int = 0
    min_sites: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    alter: Callable[[str, Round, Reply], Reply] = lambda site, round, reply: reply
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = ServerStore(self.folder, self.facts)
        self.clients = {site.info.name: self.client(site) for site in self.sites}
        self.wire = Wiretap(InProcess(self.clients), self.alter)
        norm: Norm = "batch" if "running_mean" in str(list(self.sites[0].model.state_dict())) else "instance"
        self.server = make_site("server", norm=norm)

    def client(self, site: Site) -> Client:
        store = ClientStore(self.folder / "sites" / site.info.name)
        ledger = Ledger(self.folder / "ledger.jsonl")
        return Client(self.method, site, seed=self.seed, store=store, ledger=ledger, header={})

    def run(self) -> Any:
        """All rounds that are missing; the server's state after the last."""
        return federate(
            self.method,
            self.server,
            self.wire,
            self.rounds,
            store=self.store,
            min_sites=self.min_sites or len(self.sites),
            emit=self.emit,
        )

    def finish(self, state: Any) -> Mapping[str, Published]:
        """The exchange after the last round."""
        return conclude(
            self.method,
            state,
            self.server,
            self.wire,
            self.rounds,
            min_sites=self.min_sites or len(self.sites),
            emit=self.emit,
        )

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def told(self, event: str) -> list[dict[str, Any]]:
        """The fields of every event of one kind."""
        return [fields for name, fields in self.events if name == event]


def two_sites(**options: Any) -> list[Site]:
    """Sites a and b with 2 and 3 cases."""
    return [make_site("a", cases=2, **options), make_site("b", cases=3, **options)]


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two sets of weights are the same, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@dataclass
class Starts:
    """The weights that each local training of a run began with, in order."""

    models: list[dict[str, Tensor]] = field(default_factory=list)

    def listen(self, patch: Any) -> Starts:
        """Hear every training of the averaging family from now on."""
        real = train

        def heard(model: torch.nn.Module, *positional: Any, **options: Any) -> Any:
            self.models.append(algebra.of(model))
            return real(model, *positional, **options)

        patch.setattr(averaging, "train", heard)
        patch.setattr(ingredients, "train", heard)
        return self


def updates(run: Federation) -> dict[tuple[str, int], Mapping[str, Tensor]]:
    """The weights that each site sent in each round."""
    return {
        (site, number): wire.decode(AveragingUpdate, data).weights
        for site, number, data in run.wire.up
        if tensorfile.unpack(data)[0]["type"] == AveragingUpdate.__name__
    }


def personal_of(run: Federation, site: str) -> Weights:
    return tensorfile.load(run.folder / "sites" / site / "personal.safetensors")[1]


def kept(run: Federation, site: str, number: int) -> AveragingClient:
    """What a site kept after a round."""
    state = run.clients[site].store.load(AveragingClient, number)
    assert state is not None
    return state
