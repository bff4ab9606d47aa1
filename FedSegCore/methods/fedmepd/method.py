"""FedMEPD's two halves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor

from FedSegCore.errors import StudyError, UpdateError
from FedSegCore.federation.checks import check_measured, check_move, check_weights
from FedSegCore.federation.method import ClientInfo, FederatedMethod, Offer, Published, Round, Site
from FedSegCore.learning.anchors import movement
from FedSegCore.learning.supervision import deep_supervision
from FedSegCore.learning.train import train
from FedSegCore.methods import ingredients
from FedSegCore.methods.fedmepd.hospital import attention_entropy, receive
from FedSegCore.methods.fedmepd.keys import (
    DECODER,
    anchor_tensors,
    decoder_weights,
    owned,
    private_weights,
    refuse_server,
    server_weights,
    trained_keys,
    wanted,
)
from FedSegCore.methods.fedmepd.partial import (
    Rows,
    Sharing,
    compare,
    personal_share,
    share_in_mean,
    shared_filters,
)
from FedSegCore.methods.fedmepd.server import first_anchors, moved_anchors, teach
from FedSegCore.methods.fedmepd.states import (
    FedMEPDBroadcast,
    FedMEPDClient,
    FedMEPDServer,
    FedMEPDUpdate,
    Schedule,
)
from FedSegCore.nets import filters
from FedSegCore.nets.filters import filter_layers
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.network import Network
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Share, Weights

_MOMENTUM: Final = 0.999


@final
@dataclass(frozen=True)
class FedMEPD(FederatedMethod[FedMEPDServer, FedMEPDBroadcast, FedMEPDClient, FedMEPDUpdate]):
    """Federated modality-specific encoders and a partially personalised decoder.

    Args:
        anchors: a class; 0: features are not calibrated.
        keep: λ, the server's share in its own decoder.
        residual: whether calibration adds to the features, as the paper's does not.
        decoder: `partial` personalises filters that disagree; `shared` averages all of them, all sites alike;
            `private` leaves the decoder at the site after the first round.
        warm_up: rounds before filters are compared; none given: a tenth of the study's (the paper's 30).
        patience: disagreements in a row; none given: a tenth of the rounds, two at least (the paper's 10).
        momentum: ω of the anchors; none given: one whose time constant is a fifth of the rounds, 0.999 at most.

    Raises:
        StudyError: a number out of its range.
    """

    anchors: int = 4
    keep: float = 0.3
    residual: bool = False
    decoder: Sharing = "partial"
    warm_up: int | None = None
    patience: int | None = None
    momentum: float | None = None

    server_state = FedMEPDServer
    broadcast_type = FedMEPDBroadcast
    client_state = FedMEPDClient
    update_type = FedMEPDUpdate

    def __post_init__(self) -> None:
        for name in ("anchors", "warm_up", "patience"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise StudyError(f"`{name}` is {value}, expected 0 or more.", "Correct the value.")
        for name in ("keep", "momentum"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise StudyError(f"`{name}` is {value}, expected 0 to 1.", "Correct the value.")

    @property
    def personalizes(self) -> bool:
        """A site's own model never is the global one: it has its own encoders, filters and attention."""
        return True

    def local_epochs(self, rounds: int, epochs: int) -> int:
        """How often a site goes through its cases in a study of `rounds` rounds of `epochs`."""
        return rounds * epochs

    def network(self, network: Network) -> Network:
        """The network that this method trains, with the channels of the study's."""
        return replace(network, kind="multiencoder", anchors=self.anchors, residual=self.residual)

    def schedule(self, total: int) -> Schedule:
        """The schedule of a study of `total` rounds; a number that is given is taken as it is."""
        tenth = max(round(total / 10), 1)
        momentum = min(max(1.0 - 5.0 / total, 0.0), _MOMENTUM)
        return Schedule(
            tenth if self.warm_up is None else self.warm_up,
            max(tenth, 2) if self.patience is None else self.patience,
            momentum if self.momentum is None else self.momentum,
        )

    def initialize(self, server: Site, clients: Iterable[ClientInfo]) -> FedMEPDServer:
        """Round 0: the server trains its first weights and makes the anchors.

        The rate rises to its peak meanwhile; how many rounds follow is not known here.

        Raises:
            StudyError: no server with cases of all modalities and structures; a site without a modality.
        """
        net = self._network(server)
        refuse_server(server, net)
        for client in clients:
            net.own(owned(client, net))
        layers = filter_layers(net, DECODER)
        moments = teach(server, net, {}, span=(0.0, server.training.warm_up), round_number=0)
        anchors, members = first_anchors(server, net)
        weights, auxiliary = server_weights(net)
        return FedMEPDServer(
            weights=weights,
            auxiliary=auxiliary,
            optimizer=moments,
            anchors=anchors,
            members=members,
            disagreements={},
            contributions={},
            modalities={key: name for name in net.modalities for key in sorted(net.encoder_keys([name]))},
            filters={layer.name: layer.filters for layer in layers},
            facts={},
        )

    def broadcast(self, state: FedMEPDServer, client: ClientInfo, round: Round) -> FedMEPDBroadcast:
        """The encoders that it owns, the decoder, which of its filters to take, and the anchors."""
        return FedMEPDBroadcast(wanted(state, client), self._shared(state, client.name, round), state.anchors)

    def check(self, state: FedMEPDServer, update: FedMEPDUpdate, client: ClientInfo, round: Round) -> None:
        """Names, shapes and types as they were sent, finite values, Dice of the site's structures."""
        sent = wanted(state, client)
        if self.decoder == "private":
            sent = {name: tensor for name, tensor in sent.items() if name in state.modalities}
        check_weights(sent, update.weights, site=client.name, round_number=round.number)
        check_move(sent, update.weights, site=client.name, round_number=round.number)
        check_measured(update, client, round)
        if not 0 <= update.entropy <= 1:
            raise UpdateError(
                f"its attention entropy is {update.entropy}.",
                "Use the same study file and FedSeg version at this site.",
                site=client.name,
                round_number=round.number,
            )

    def aggregate(
        self,
        state: FedMEPDServer,
        updates: Iterable[tuple[ClientInfo, FedMEPDUpdate]],
        server: Site,
        round: Round,
    ) -> FedMEPDServer:
        """Average, train at the server, move the anchors, compare the filters' moves.

        The sites' decoders are held until the server has trained; their encoders come and go one at a time.
        """
        net, schedule = self._network(server), self.schedule(round.total)
        layers = filter_layers(net, DECODER)
        compares = self.decoder == "partial" and round.number > schedule.warm_up
        entropies: dict[ClientInfo, float] = {}
        decoders: dict[ClientInfo, Weights] = {}

        def items() -> Iterator[tuple[Weights, Share]]:
            for client, update in updates:
                entropies[client] = update.entropy
                if compares:
                    decoders[client] = decoder_weights(update.weights, net)
                shared = self._shared(state, client.name, round)
                rows = _annotated(client, server, net)
                yield update.weights, share_in_mean(state, client, shared, layers, rows)

        weights = self._merge(state, algebra.weighted_mean(state.weights, items()))
        algebra.load(net, {**weights, **state.auxiliary})
        moments = teach(server, net, state.optimizer, span=round.span, round_number=round.number)
        weights, auxiliary = server_weights(net)
        # Round 1 takes the prototypes as they are, later rounds average.
        momentum = schedule.momentum if round.number > 1 else 0.0
        anchors = moved_anchors(state, server, net, momentum=momentum)
        after = replace(state, weights=weights, auxiliary=auxiliary, optimizer=moments, anchors=anchors)
        if compares:
            annotated = {client: _annotated(client, server, net) for client in decoders}
            after = compare(state, after, decoders, layers, patience=schedule.patience, rows=annotated)
        facts = {
            "personal_filters": personal_share(self._shared_by_all(after, entropies, round)),
            "anchors_movement": movement(state.anchors, anchors),
            "attention_entropy": sum(entropies.values()) / max(len(entropies), 1),
        }
        return replace(after, facts=facts)

    def facts(self, state: FedMEPDServer) -> Mapping[str, float]:
        """The share of personal filters, how far the anchors moved, how evenly sites attend to them."""
        return state.facts

    def remark(self, state: FedMEPDServer) -> str:
        """A partially personal decoder of which nothing is personal is none."""
        if self.decoder != "partial" or not state.nothing_personal:
            return ""
        return (
            "No filter of any site's decoder ever turned personal: this run of FedMEPD averaged the whole decoder, "
            'as decoder = "shared" does.'
        )

    def check_offer(self, offer: Offer, client: ClientInfo, server: Site, round: Round) -> None:
        """A personal model of the site's modalities where one is offered; nothing private."""
        net = self._network(server)
        if offer.personal:
            whole = algebra.select(net.state_dict(), net.model_keys(owned(client, net)))
            check_weights(whole, offer.personal, site=client.name, round_number=round.number)
        check_weights({}, offer.private, site=client.name, round_number=round.number)

    def publish(
        self, state: FedMEPDServer, offers: Iterable[tuple[ClientInfo, Offer]], server: Site
    ) -> Mapping[str, Published]:
        """The server's model of all modalities, whose anchors are zeros: it is not calibrated. Personal ones."""
        net = self._network(server)
        published = {
            f"personal-{client.name}": Published(offer.personal, owner=client)
            for client, offer in offers
            if offer.personal
        }
        blank = anchor_tensors({name: torch.zeros_like(t) for name, t in state.anchors.items()})
        attention = algebra.copy(algebra.select(net.state_dict(), net.model_keys(net.modalities)))
        published["global"] = Published({**attention, **blank, **state.weights})
        return published

    def local_update(
        self, message: FedMEPDBroadcast, state: FedMEPDClient | None, site: Site, round: Round
    ) -> tuple[FedMEPDClient, FedMEPDUpdate]:
        """Take what is shared, train, keep decoder, attention and moments, send what is shared."""
        assert site.batches is not None
        net = self._network(site)
        receive(message, state, site, net, round_number=round.number)
        trained = train(
            net,
            site.batches,
            training=site.training,
            generator=site.generator,
            span=round.span,
            optimizer=state.optimizer if state else None,
            only=trained_keys(net, attention=self.anchors > 0),
            objective=deep_supervision(site.training),
            kept=site.epochs,
        )
        local = algebra.of(net)
        decoder = decoder_weights(local, net)
        sent = algebra.select(local, net.encoder_keys(net.owned))
        if self.decoder != "private":
            sent |= filters.pick(message.shared, filter_layers(net, DECODER), decoder, message.weights)
        kept = FedMEPDClient(private_weights(local, net), decoder, trained.optimizer)
        dice = ingredients.validated(site, round)
        return kept, FedMEPDUpdate(sent, trained.loss, dice, attention_entropy(site, net))

    def personalize(self, message: FedMEPDBroadcast, state: FedMEPDClient | None, site: Site) -> Weights:
        """The site's encoders, its decoder with its personal filters, its attention with the anchors."""
        net = self._network(site)
        receive(message, state, site, net, round_number=0)
        return algebra.copy(algebra.select(net.state_dict(), net.model_keys(net.owned)))

    def offer(self, personal: Weights, state: FedMEPDClient | None, site: Site) -> Offer:
        """The personal model where the site allows it; never anything private besides."""
        return Offer(personal if site.publish_personal else {})

    def _network(self, site: Site) -> MultiEncoderNet:
        net = site.model
        if not isinstance(net, MultiEncoderNet) or (net.anchors, net.residual) != (
            self.anchors,
            self.residual,
        ):
            raise StudyError(
                "FedMEPD needs a network of one encoder for each modality, with the method's own anchors.",
                'Write kind = "multiencoder" in [network], or leave the kind out.',
            )
        return net

    def _merge(self, state: FedMEPDServer, mean: Weights) -> dict[str, Tensor]:
        """Encoders as the mean has them; λ · own + (1 − λ) · mean in the decoder, the own where both are equal."""
        return {
            name: tensor if name in state.modalities else torch.lerp(tensor, state.weights[name], self.keep)
            for name, tensor in mean.items()
        }

    def _shared_by_all(
        self, state: FedMEPDServer, present: Iterable[ClientInfo], round: Round
    ) -> list[dict[str, Tensor]]:
        """What each site shares that ever took part: one that misses a round keeps its filters."""
        names = {key.rpartition("/")[0] for key in state.disagreements} | {one.name for one in present}
        return [self._shared(state, name, round) for name in sorted(names)]

    def _shared(self, state: FedMEPDServer, site: str, round: Round) -> dict[str, Tensor]:
        patience = self.schedule(round.total).patience
        return shared_filters(state, site, sharing=self.decoder, patience=patience)


def _annotated(client: ClientInfo, server: Site, net: MultiEncoderNet) -> Rows:
    known = torch.tensor([label in client.labels for label in server.study_labels])
    return dict.fromkeys(net.logit_layers, known)
