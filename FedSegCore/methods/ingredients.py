"""What a site does in a round besides the shared training, one function an ingredient."""

from __future__ import annotations

from dataclasses import replace

from FedSegCore.federation.method import Round, Site
from FedSegCore.learning.augment import FOREIGN, WITH_FLOW
from FedSegCore.learning.flow.effective import effective_images
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.learning.flow.state import restore
from FedSegCore.learning.flow.style import StyledFlow
from FedSegCore.learning.flow.train import TrainedFlow, train_flow
from FedSegCore.learning.penalty import distance_penalty
from FedSegCore.learning.predict import validate
from FedSegCore.learning.supervision import deep_supervision
from FedSegCore.learning.train import Objective, Trained, Training, train
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights


def validated(site: Site, round: Round, *, weights: Weights | None = None) -> dict[str, float]:
    """Validation Dice of the site's model as it is, or of some weights; empty in rounds that do not validate."""
    every = site.training.validate_every
    if not site.validation or (round.number % every and round.number != round.total):
        return {}
    if weights is not None:
        algebra.load(site.model, weights)
    return validate(site.model, site.validation, labels=site.study_labels, patch=site.patch,
                    precision=site.training.precision)  # fmt: skip


def objective(site: Site) -> Objective | None:
    """A network of several encoders is trained with all its outputs, whatever the method."""
    return deep_supervision(site.training) if isinstance(site.model, MultiEncoderNet) else None


def own_looks(training: Training) -> Training:
    """Without the augmentation that makes images look like other scanners': a site's own model sees its own alone.

    Tuned without it, FedGIN's global model gained at the outlying site of `hippo_shift`; with it nothing.
    """
    return replace(training, augment="none") if training.augment in FOREIGN else training


def train_ditto(
    site: Site, round: Round, *, start: Weights, reference: Weights, strength: float, optimizer: Weights,
    flow: StyledFlow | None,
) -> Trained:  # fmt: skip
    """v minimises the local loss + λ/2 · ‖v − w_global‖² (Li et al. 2021, algorithm 1); v is left in the model."""
    assert site.batches is not None
    algebra.load(site.model, start)
    penalty = distance_penalty(site.model, reference, strength)
    return train(site.model, site.batches, training=site.training, generator=site.generator, span=round.span,
                 optimizer=optimizer, penalty=penalty, objective=objective(site), flow=flow,
                 kept=site.epochs)  # fmt: skip


def learn_flow(site: Site, saved: Weights) -> TrainedFlow | None:
    """A round of the site's own flow, where images are augmented by one (FlowGIN)."""
    if site.training.augment not in WITH_FLOW:
        return None
    assert site.batches is not None
    settings = FlowSettings(mode=site.training.flow_mode)
    device = next(site.model.parameters()).device
    stage = site.epochs.stage() if site.epochs is not None and site.training.epochs > 1 else None
    if stage and (done := stage.load(site.generator)):
        flow = done.part("flow")
        return TrainedFlow(restore(settings, flow, dims=site.batches.dims, device=device).model, flow, {})
    learnt = train_flow(site.batches, settings=settings, generator=site.generator, saved=saved, device=device)
    if stage:
        stage.save({"flow": learnt.weights}, site.generator, 1)
    return learnt


def effective(site: Site, learnt: TrainedFlow) -> float:
    """How many distinct images the site has in its flow's latent space."""
    assert site.batches is not None
    cases, dims = site.batches.cases, site.batches.dims
    return effective_images(learnt.model, cases, dims=dims, generator=site.generator)
