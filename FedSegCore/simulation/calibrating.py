"""When to keep a routed segmentation back: a threshold from the sites' validation cases, stored with the models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from FedSegCore.errors import UsageError
from FedSegCore.federation.calibration import BankCounts, SharedBank, Survey, ask
from FedSegCore.federation.method import Round, Site
from FedSegCore.federation.rounds import Emit
from FedSegCore.federation.transport import Transport
from FedSegCore.files import write_atomic
from FedSegCore.inference.adapt import Adaptation
from FedSegCore.inference.bank import Bank, Expert
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.inference.routed import RoutedBank
from FedSegCore.inference.verdict import BINS, FILE, Calibration, Counts, digests
from FedSegCore.learning.gin import apply_gin, draw_gin
from FedSegCore.simulation.publishing import WrittenModel
from FedSegCore.simulation.run import Run
from FedSegCore.simulation.testing import bank_of, ways_of

_CASES: Final = 4
"""Validation cases a site; each is asked about as it is and altered."""


def calibrate(run: Run, models: Sequence[WrittenModel], transport: Transport, emit: Emit) -> None:
    """Ask the sites and write `models/routing.json`, where outside sites are to be routed over several models."""
    if run.entry.pooled or "routed" not in ways_of(run):
        return
    try:
        bank = bank_of(models)
    except UsageError:  # scoring outside sites tells why
        return
    if len(bank.experts) < 2:
        return
    emit("progress", stage="calibrate", value=0.0, message="Sites try the published models", eta_s=None)
    rounds = run.study.rounds
    answers = ask(transport, _shared(bank), Round(rounds, rounds), bins=BINS, emit=emit)
    counts = sum((Counts(tuple(a.good), tuple(a.poor)) for a in answers), Counts())
    good, poor = sum(counts.good), sum(counts.poor)
    if not good + poor:
        emit(
            "warning",
            message="No validation case could tell how much disagreement of the models is too much.",
            fix="Give the sites validation cases; until then `segment --route` passes no verdict.",
        )
        return
    found = Calibration(counts.threshold(), good, poor, run.study.routing, digests(bank))
    write_atomic(run.folder / "models" / FILE, found.to_json().encode())


def survey_of(settings: Adaptation, device: torch.device) -> Survey:
    """How a site of a study with these settings answers."""
    return partial(_survey, settings=settings, device=device)


def _survey(message: SharedBank, site: Site, *, settings: Adaptation, device: torch.device) -> BankCounts:
    """Segment own validation cases as a hospital outside would: without the own model, without labels."""
    bank = _bank(message).without(site.info.name)
    if len(bank.experts) < 2:
        return BankCounts(*[[0] * BINS] * 2)
    ready = RoutedBank(bank, device=device, settings=settings)
    scores: list[tuple[float, float]] = []
    for case in site.validation[:_CASES]:
        for image in _looks(case.image, site.generator):
            _, probabilities, found = ready.ask(image)
            scores.append((found.score, _dice(probabilities, case.target, case.annotated)))
    counts = Counts.of(score for score in scores if score[1] == score[1])
    return BankCounts(counts.good, counts.poor)


def _looks(image: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """A scan as it is and as another scanner might have made it: inside cases alone hardly ever fail."""
    yield image
    draw = draw_gin(generator, (1, *image.shape), probability=1.0, kernels=(1,), balance=True)
    yield apply_gin(image[None], draw)[0]


def _dice(probabilities: Tensor, target: Tensor, annotated: Tensor) -> float:
    """The mean over the structures that the site annotates and that are there or were found; nan without any."""
    found, truth = probabilities > 0.5, target.bool()
    both = (found & truth).flatten(1).sum(1)
    size = found.flatten(1).sum(1) + truth.flatten(1).sum(1)
    counts = annotated & (size > 0)
    return float((2.0 * both[counts] / size[counts]).mean())


def _shared(bank: Bank) -> SharedBank:
    tensors = {
        f"{place}/{name}": tensor
        for place, expert in enumerate(bank.experts)
        for name, tensor in expert.weights().items()
    }
    return SharedBank([expert.header.to_dict() for expert in bank.experts], tensors)


def _bank(message: SharedBank) -> Bank:
    headers = [ModelHeader.from_dict(raw, "a published model") for raw in message.headers]
    return Bank(tuple(Expert(Path(h.name), h, message.member(place)) for place, h in enumerate(headers)))
