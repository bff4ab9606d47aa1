"""What a federated method is: both halves in one place, cut at the wire.

A method is one final frozen dataclass of hyper-parameters. Its functions work on explicit state and keep
nothing on `self`. Six functions make a round and what comes after it:

    server                                   client
    initialize(server, clients) -> state
    broadcast(state, client, round)  ──────> local_update(message, state, site, round)
    aggregate(state, updates, server, round) <──────  Update: everything that leaves the site
    ... after the last round ...
    broadcast(state, client, round)  ──────> personalize(message, state, site)      stays at the site
                                             offer(message, state, site)  ──────>  once, ledgered
    publish(state, offers, server) -> models that anyone may use
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import torch
from torch import nn

from FedSegCore.data.batches import Batches
from FedSegCore.data.prepared import PreparedCase
from FedSegCore.learning.epochs import Epochs
from FedSegCore.learning.train import Training
from FedSegCore.tensors.weights import Weights

ServerState = TypeVar("ServerState")
Broadcast = TypeVar("Broadcast")
ClientState = TypeVar("ClientState")


class Measured(Protocol):
    """What every update tells besides its weights."""

    @property
    def loss(self) -> float:
        """The mean training loss."""

    @property
    def dice(self) -> Mapping[str, float]:
        """The validation Dice of each structure; empty where nothing was validated."""


Update = TypeVar("Update", bound=Measured)


@dataclass(frozen=True)
class ClientInfo:
    """What a site tells of itself when it joins.

    Args:
        name: the site's name in the study.
        modalities: the modalities that it owns.
        labels: those of the study's labels that it annotates.
        num_cases: the number of its training cases.
    """

    name: str
    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    num_cases: int


@dataclass(frozen=True)
class Round:
    """Round `number` of `total`, counted from 1."""

    number: int
    total: int

    @property
    def span(self) -> tuple[float, float]:
        """Which part of the study's schedule the round is, as progress from and to."""
        return (self.number - 1) / self.total, self.number / self.total


@dataclass(frozen=True, eq=False)
class Site:
    """One participant's data, model and device, as the method's functions see it.

    Args:
        info: what it told when it joined; of the server: the study's labels and modalities.
        study_labels: the study's structures, in the order of the network's outputs.
        patch: sides of a patch in voxels; two of them in a 2-D study.
        model: the network; its weights are overwritten by whoever uses it.
        training: how it is trained.
        generator: the only source of randomness, made anew for each site and round.
        batches: the training cases; none where nothing is trained.
        validation: cases that are only looked at to report and to choose, never trained on.
        publish_personal: whether the site lets its personal model be published.
        epochs: where local training keeps what it came to at each epoch's end; none: nowhere.
    """

    info: ClientInfo
    study_labels: tuple[str, ...]
    patch: tuple[int, ...]
    model: nn.Module
    training: Training
    generator: torch.Generator
    batches: Batches | None = None
    validation: tuple[PreparedCase, ...] = ()
    publish_personal: bool = False
    epochs: Epochs | None = None


@dataclass(frozen=True, eq=False)
class Offer:
    """What a site gives away once, after the last round.

    Args:
        personal: its personal model, where the site allows it; else empty.
        private: the private parts that the method's published model is put together from; else empty.
    """

    personal: Weights = field(default_factory=dict)
    private: Weights = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Published:
    """One model that anyone may use.

    Args:
        weights: of one network; or, with members, the shared tensors under their own names and member i's
            private ones under `members/i/NAME`.
        members: the sites whose private parts the model is put together from.
        owner: the site whose personal model it is; none: all sites'.
    """

    weights: Weights
    members: tuple[ClientInfo, ...] = ()
    owner: ClientInfo | None = None


class FederatedMethod(ABC, Generic[ServerState, Broadcast, ClientState, Update]):
    """Both halves of one federated method; see the module's drawing.

    The four type arguments are frozen dataclasses of weights and numbers; `wire` turns them into bytes.
    """

    server_state: type[ServerState]
    broadcast_type: type[Broadcast]
    client_state: type[ClientState]
    update_type: type[Update]

    @abstractmethod
    def initialize(self, server: Site, clients: Iterable[ClientInfo]) -> ServerState:
        """The server's state before the first round."""

    @abstractmethod
    def broadcast(self, state: ServerState, client: ClientInfo, round: Round) -> Broadcast:
        """What `client` is sent in this round."""

    @abstractmethod
    def check(self, state: ServerState, update: Update, client: ClientInfo, round: Round) -> None:
        """Refuse an update that is not what was asked for.

        Raises:
            UpdateError: other names, shapes or types, NaN or Inf.
        """

    @abstractmethod
    def aggregate(
        self, state: ServerState, updates: Iterable[tuple[ClientInfo, Update]], server: Site, round: Round
    ) -> ServerState:
        """The server's next state; updates come one at a time, in the order of the sites' names."""

    def facts(self, state: ServerState) -> Mapping[str, float]:
        """What the log of the round that led to this state tells besides; nothing unless a method says so."""
        return {}

    def remark(self, state: ServerState) -> str:
        """What a reader of the final state must be told in a sentence; "" for nothing."""
        return ""

    @abstractmethod
    def check_offer(self, offer: Offer, client: ClientInfo, server: Site, round: Round) -> None:
        """Refuse an offer that is not what was asked for.

        Raises:
            UpdateError: other names, shapes or types, NaN or Inf.
        """

    @abstractmethod
    def publish(
        self, state: ServerState, offers: Iterable[tuple[ClientInfo, Offer]], server: Site
    ) -> Mapping[str, Published]:
        """The models that anyone may use, by name (`global`, `personal-SITE`)."""

    @abstractmethod
    def local_update(
        self, message: Broadcast, state: ClientState | None, site: Site, round: Round
    ) -> tuple[ClientState, Update]:
        """Train at the site; the state stays on its disk, the update is everything that leaves it."""

    @abstractmethod
    def personalize(self, message: Broadcast, state: ClientState | None, site: Site) -> Weights:
        """This hospital's own model."""

    @abstractmethod
    def offer(self, personal: Weights, state: ClientState | None, site: Site) -> Offer:
        """What the site gives away once after the last round, given its personal model."""
