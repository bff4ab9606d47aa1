"""The averaging family: one round loop, and ingredients that a study may mix.

Broadcast the shared weights, train locally, average what came back. The ingredients say what is shared, how
sites are weighted, and what a site keeps for itself:

    private      parts that never leave the site: norm layers (FedBN), head (FedPer), both (SegViz), all (local)
    weighting    each site by its number of cases, all alike, or by how many distinct images it has (FlowGIN)
    proximal     FedProx's pull of the local weights towards the global ones
    personal     IOP-FL's moving average of local models
    ditto        Ditto's second model, trained beside the shared one and pulled towards it
    finetune     local epochs on the final global model
    recalibrate  batch-norm statistics measured anew on clean local images
    select_best  keeps the personal model of the best round by local validation, as IOP-FL's official code does;
                 off, so that the last round is what counts for every row of a comparison

McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, AISTATS 2017.
Li et al., Federated Optimization in Heterogeneous Networks (FedProx), MLSys 2020.
Li et al., FedBN: Federated Learning on Non-IID Features via Local Batch Normalization, ICLR 2021.
Arivazhagan et al., Federated Learning with Personalization Layers (FedPer), arXiv:1912.00818.
Li et al., Ditto: Fair and Robust Federated Learning Through Personalization, ICML 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import torch
from torch import Tensor, nn

from FedSegCore.errors import StudyError, UpdateError
from FedSegCore.federation.checks import check_measured, check_move, check_names, check_weights
from FedSegCore.federation.method import ClientInfo, FederatedMethod, Offer, Published, Round, Site
from FedSegCore.learning.flow.style import StyledFlow
from FedSegCore.learning.norms import recalibrate_norms
from FedSegCore.learning.penalty import distance_penalty
from FedSegCore.learning.train import Penalty, train
from FedSegCore.methods import ingredients
from FedSegCore.nets.multiencoder import usable_keys
from FedSegCore.nets.parts import part_of, private_keys
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Share, Weights

Private = Literal["norm", "encoder", "decoder", "head", "attention", "auxiliary"]
Tuned = Literal["norm", "encoder", "decoder", "head"]
EFFECTIVE: Final = "effective_images"
"""The one number that a site with a flow sends besides its weights."""
EVERYTHING: Final[tuple[Private, ...]] = ("norm", "encoder", "decoder", "head", "attention", "auxiliary")


@dataclass(frozen=True, eq=False)
class AveragingServer:
    """What the server keeps: the shared weights."""

    weights: Weights


@dataclass(frozen=True, eq=False)
class AveragingBroadcast:
    """What every site is sent: the shared weights."""

    weights: Weights


@dataclass(frozen=True, eq=False)
class AveragingClient:
    """What stays on the site's disk.

    Args:
        private: the private parts.
        optimizer: the moments of the local optimizer; empty where each round starts afresh.
        personal: the model that this site keeps for itself beside the shared one (IOP-FL, Ditto).
        personal_optimizer: the moments of Ditto's second training.
        best: with `select_best`, the personal model of the best round by local validation, and its mean Dice.
        flow: the site's own flow, discriminator, style and their moments, with `augment = "flow"`.
    """

    private: Weights
    optimizer: Weights = field(default_factory=dict)
    personal: Weights = field(default_factory=dict)
    personal_optimizer: Weights = field(default_factory=dict)
    best: Weights = field(default_factory=dict)
    best_dice: float = -1.0
    flow: Weights = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AveragingUpdate:
    """Everything that leaves the site: the shared weights after local training, the loss and validation Dice.

    `dice` is of the global model as it was received, before local training: round r shows the model of
    round r - 1, round 1 the first weights. Where sites make their own models it is of the site's own, after
    the round's training. It is empty where nothing was validated. `scalars` holds the effective number of images
    where sites are weighted by it, and nothing else.
    """

    weights: Weights
    loss: float
    dice: Mapping[str, float]
    scalars: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Averaging(FederatedMethod[AveragingServer, AveragingBroadcast, AveragingClient, AveragingUpdate]):
    """Federated averaging and what is built on it; the fields are the ingredients of the module's list.

    Args:
        publish_private: whether sites give their private parts away once, so that a published model can be
            put together from them (SegViz).
        keep_optimizer: whether the optimizer's moments survive from round to round.
        finetune_parts: the parts, and "norm" layers, that fine-tuning moves; none given: all.

    Raises:
        StudyError: an ingredient out of its range, or two that exclude each other.
    """

    private: tuple[Private, ...] = ()
    weighting: Literal["cases", "uniform", "modality"] = "cases"
    proximal: float = 0.0
    personal: float | None = None
    ditto: float = 0.0
    finetune: int = 0
    finetune_parts: tuple[Tuned, ...] = ()
    recalibrate: bool = False
    keep_optimizer: bool = True
    select_best: bool = False
    publish_private: bool = False

    server_state = AveragingServer
    broadcast_type = AveragingBroadcast
    client_state = AveragingClient
    update_type = AveragingUpdate

    def __post_init__(self) -> None:
        if self.personal is not None and not 0 <= self.personal <= 1:
            raise StudyError(f"`personal` is {self.personal}, expected 0 to 1.", "The paper has 0.1.")
        for name in ("proximal", "ditto", "finetune"):
            if getattr(self, name) < 0:
                raise StudyError(
                    f"`{name}` is {getattr(self, name)}, expected 0 or more.", "0 leaves it out."
                )
        if self.personal is not None and self.ditto > 0:
            raise StudyError(
                "`personal` and `ditto` both make a site's own model.",
                "Keep one, or give it in one method's table, such as [method_options.fedavg].",
            )

    @property
    def personalizes(self) -> bool:
        """Whether a site's own model differs from the global one."""
        own = self.personal is not None or self.ditto > 0 or self.finetune > 0 or self.recalibrate
        return own or bool(self.private)

    def local_epochs(self, rounds: int, epochs: int) -> int:
        """How often a site goes through its cases in a study of `rounds` rounds of `epochs`; Ditto trains twice."""
        return rounds * epochs * (2 if self.ditto > 0 else 1) + self.finetune

    def initialize(self, server: Site, clients: Iterable[ClientInfo]) -> AveragingServer:
        """The shared part of the study's first weights."""
        return AveragingServer(self._shared(algebra.of(server.model), server.model))

    def broadcast(self, state: AveragingServer, client: ClientInfo, round: Round) -> AveragingBroadcast:
        """Every site is sent the same."""
        return AveragingBroadcast(state.weights)

    def check(
        self, state: AveragingServer, update: AveragingUpdate, client: ClientInfo, round: Round
    ) -> None:
        """Names, shapes and types as in the server's weights, finite values, Dice of the site's structures."""
        check_weights(state.weights, update.weights, site=client.name, round_number=round.number)
        check_move(state.weights, update.weights, site=client.name, round_number=round.number)
        check_measured(update, client, round)
        self._check_scalars(update, client, round)

    def _check_scalars(self, update: AveragingUpdate, client: ClientInfo, round: Round) -> None:
        """Nothing but what the weighting asks for, and no more images than there are cases."""
        wanted = {EFFECTIVE} if self.weighting == "modality" else set()
        effective = update.scalars.get(EFFECTIVE, 1.0)
        if set(update.scalars) != wanted or not 1.0 <= effective <= max(client.num_cases, 1):
            raise UpdateError(
                f"its scalars are {dict(update.scalars)}, expected {sorted(wanted) or 'none'}, from 1 to its number "
                "of cases.",
                "Use the same study file and FedSeg version at this site.",
                site=client.name,
                round_number=round.number,
            )

    def aggregate(
        self,
        state: AveragingServer,
        updates: Iterable[tuple[ClientInfo, AveragingUpdate]],
        server: Site,
        round: Round,
    ) -> AveragingServer:
        """Σ wᵢ·Wᵢ / Σ wᵢ over the sites that took part (McMahan et al., algorithm 1).

        The head's rows are averaged over the sites that annotate the row's structure; a row that no site
        trained keeps its value (methods.md's masked multi-organ form of SegViz).
        """
        items = ((update.weights, self._share(client, update, state, server)) for client, update in updates)
        return AveragingServer(algebra.weighted_mean(state.weights, items))

    def check_offer(self, offer: Offer, client: ClientInfo, server: Site, round: Round) -> None:
        """A whole model where a personal one is offered, the private parts where the method asks for them."""
        whole = server.model.state_dict()
        if offer.personal:
            own = algebra.select(whole, usable_keys(server.model, client.modalities))
            check_weights(own, offer.personal, site=client.name, round_number=round.number)
        if self.publish_private or offer.private:
            wanted = self._private(whole, server.model) if self.publish_private else {}
            check_weights(wanted, offer.private, site=client.name, round_number=round.number)

    def publish(
        self, state: AveragingServer, offers: Iterable[tuple[ClientInfo, Offer]], server: Site
    ) -> Mapping[str, Published]:
        """The global model, where all of it is shared or the sites gave their private parts; personal ones."""
        published: dict[str, Published] = {}
        members: dict[str, Tensor] = {}
        infos: list[ClientInfo] = []
        for client, offer in offers:
            if offer.personal:
                published[f"personal-{client.name}"] = Published(offer.personal, owner=client)
            if offer.private:
                prefix = f"members/{len(infos)}/"
                members.update({prefix + name: tensor for name, tensor in offer.private.items()})
                infos.append(client)
        if members:
            published["global"] = Published({**state.weights, **members}, tuple(infos))
        elif len(state.weights) == len(server.model.state_dict()):
            keys = usable_keys(server.model, server.info.modalities)
            published["global"] = Published(algebra.select(state.weights, keys))
        return published

    def local_update(
        self, message: AveragingBroadcast, state: AveragingClient | None, site: Site, round: Round
    ) -> tuple[AveragingClient, AveragingUpdate]:
        """Start from the global shared weights and the site's private ones, train, keep, send the shared."""
        assert site.batches is not None
        self._accept(message, site, round_number=round.number)
        state = state or AveragingClient(self._private(algebra.of(site.model), site.model))
        algebra.load(site.model, {**state.private, **message.weights})
        learnt = ingredients.learn_flow(site, state.flow)
        trained = train(
            site.model,
            site.batches,
            training=site.training,
            generator=site.generator,
            span=round.span,
            optimizer=state.optimizer,
            penalty=self._proximal(site.model, message.weights),
            objective=ingredients.objective(site),
            flow=learnt.model if learnt else None,
            kept=site.epochs,
        )
        local = algebra.of(site.model)
        kept = replace(
            state,
            private=self._private(local, site.model),
            optimizer=trained.optimizer if self.keep_optimizer else {},
            flow=learnt.weights if learnt else {},
        )
        kept = self._personal(kept, local, message, site, round, flow=learnt.model if learnt else None)
        own = kept.personal or local
        dice = ingredients.validated(site, round, weights=own if self.personalizes else message.weights)
        if self.select_best:
            kept = _keep_best(kept, dice)
        shared = self._shared(local, site.model)
        check_names(message.weights, shared, site=site.info.name, round_number=round.number)
        scalars = {}
        if self.weighting == "modality":
            assert learnt is not None, "a study with this weighting has flows"
            scalars = {EFFECTIVE: ingredients.effective(site, learnt)}
        return kept, AveragingUpdate(shared, trained.loss, dice, scalars)

    def personalize(self, message: AveragingBroadcast, state: AveragingClient | None, site: Site) -> Weights:
        """The site's own model: moving average, Ditto's, or the global one with private parts, then tuned."""
        if not self.personalizes:
            return {}
        self._accept(message, site, round_number=0)
        state = state or AveragingClient(self._private(algebra.of(site.model), site.model))
        algebra.load(site.model, {**message.weights, **state.private, **(state.best or state.personal)})
        if self.finetune and site.batches is not None:
            only = private_keys(site.model, self.finetune_parts) if self.finetune_parts else None
            train(site.model, site.batches, training=ingredients.own_looks(site.training), generator=site.generator,
                  epochs=self.finetune, only=only, objective=ingredients.objective(site),
                  kept=site.epochs)  # fmt: skip
        if self.recalibrate and site.batches is not None:
            recalibrate_norms(site.model, site.batches, generator=site.generator)
        return algebra.select(algebra.of(site.model), usable_keys(site.model, site.info.modalities))

    def offer(self, personal: Weights, state: AveragingClient | None, site: Site) -> Offer:
        """The personal model where the site allows it; the private parts, tuned, where the method needs them."""
        private = state.private if self.publish_private and state is not None else {}
        if private and self.finetune:
            private = self._private(personal, site.model)
        return Offer(personal if site.publish_personal else {}, private)

    def _accept(self, message: AveragingBroadcast, site: Site, *, round_number: int) -> None:
        """Refuse a message with other names than the shared ones: a private tensor is nobody's to overwrite."""
        shared = self._shared(site.model.state_dict(), site.model)
        check_weights(shared, message.weights, site=site.info.name, round_number=round_number)

    def _shared(self, weights: Weights, model: nn.Module) -> dict[str, Tensor]:
        private = private_keys(model, self.private)
        return {name: tensor for name, tensor in weights.items() if name not in private}

    def _private(self, weights: Weights, model: nn.Module) -> dict[str, Tensor]:
        return algebra.select(weights, private_keys(model, self.private))

    def _share(
        self, client: ClientInfo, update: AveragingUpdate, state: AveragingServer, server: Site
    ) -> Share:
        by = {
            "cases": float(client.num_cases),
            "uniform": 1.0,
            "modality": update.scalars.get(EFFECTIVE, 1.0),
        }
        base = by[self.weighting]
        labels = server.info.labels
        rows = torch.tensor([base * (label in client.labels) for label in labels], dtype=torch.float64)
        parts = part_of(server.model)
        return {
            name: rows.view(-1, *[1] * (tensor.ndim - 1)) if parts[name] == "head" else base
            for name, tensor in state.weights.items()
        }

    def _proximal(self, model: nn.Module, reference: Weights) -> Penalty | None:
        """μ/2 · ‖w − w_global‖² over the shared parameters (Li et al. 2020, eq. 2)."""
        return distance_penalty(model, reference, self.proximal) if self.proximal > 0 else None

    def _personal(
        self, state: AveragingClient, local: Weights, message: AveragingBroadcast, site: Site, round: Round,
        *, flow: StyledFlow | None,
    ) -> AveragingClient:  # fmt: skip
        if self.personal is not None:
            before = state.personal or local
            return replace(state, personal=algebra.mix(before, local, self.personal))
        if self.ditto > 0:
            start = state.personal or {**state.private, **message.weights}
            trained = ingredients.train_ditto(
                site, round, start=start, reference=message.weights, strength=self.ditto,
                optimizer=state.personal_optimizer, flow=flow,
            )  # fmt: skip
            return replace(state, personal=algebra.of(site.model), personal_optimizer=trained.optimizer)
        return state


def _keep_best(state: AveragingClient, dice: Mapping[str, float]) -> AveragingClient:
    """The newest personal model is kept where nothing was validated; else the best by mean local Dice."""
    if not state.personal:
        return state
    if not dice:
        return state if state.best_dice >= 0 else replace(state, best=state.personal)
    mean = sum(dice.values()) / len(dice)
    return replace(state, best=state.personal, best_dice=mean) if mean >= state.best_dice else state
