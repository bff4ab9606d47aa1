"""When to keep a routed segmentation back: a threshold from the sites' validation cases, stored with the models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from FedSegCore.errors import InputError, ModelFileError
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
from FedSegCore.learning.losses import decode
from FedSegCore.learning.predict import overlap
from FedSegCore.simulation.publishing import WrittenModel
from FedSegCore.simulation.run import Run
from FedSegCore.simulation.testing import bank_of, ways_of

_CASES: Final = 4
"""Validation cases a site; each is looked at as it is and altered."""
_FEWEST: Final = 3
"""Of fewer cases a site tells nothing: a histogram of one is that case's result."""
_AGREED: Final = ("study", "network", "labels", "inputs", "plan")
"""What the published models must have in common with the site's own."""


def calibrate(run: Run, models: Sequence[WrittenModel], transport: Transport, emit: Emit) -> None:
    """Ask the sites and write `models/routing.json`, where outside sites are to be routed over several models."""
    if run.entry.pooled or "routed" not in ways_of(run):
        return
    try:
        bank = bank_of(models)
    except InputError:  # scoring outside sites tells why
        return
    if len(bank.experts) < 2:
        return
    emit("progress", stage="calibrate", value=0.0, message="Sites try the published models", eta_s=None)
    rounds = run.study.rounds
    answers = ask(transport, _shared(bank), Round(rounds, rounds), bins=BINS, most=2 * _CASES, emit=emit)
    counts = sum((Counts(tuple(a.good), tuple(a.poor)) for a in answers), Counts())
    chosen = counts.threshold()
    if chosen is None:
        good, poor = sum(counts.good), sum(counts.poor)
        emit(
            "warning",
            message=f"The sites' validation cases ({good} good and {poor} poor looks) do not tell how much "
            "disagreement of the models is too much.",
            fix="Give the sites validation cases; until then `segment --route` passes no verdict on this bank.",
        )
        return
    found = Calibration(*chosen, sum(counts.good), sum(counts.poor), run.study.routing, digests(bank))
    write_atomic(run.folder / "models" / FILE, found.to_json().encode())


def survey_of(settings: Adaptation, header: Mapping[str, Any], device: torch.device) -> Survey:
    """How a site answers, once; `header` is that of its own model, which the published ones must fit."""
    as_sent = json.loads(json.dumps(header))
    return partial(_survey, settings=settings, header=as_sent, device=device)


def _survey(
    message: SharedBank, site: Site, *, settings: Adaptation, header: Mapping[str, Any], device: torch.device
) -> BankCounts:
    """Segment own validation cases as a hospital outside would: without the own model, without labels."""
    nothing = BankCounts(*[[0] * BINS] * 2)
    for other in message.headers:
        if any(other.get(key) != header[key] for key in _AGREED):
            raise ModelFileError(
                "The models to calibrate are not of this study.", "Use one study file at both ends."
            )
    bank = _bank(message).without(site.info.name)
    if len(bank.experts) < 2:
        return nothing
    known = bank.knows.any(0)
    cases = [case for case in site.validation if bool((case.annotated & known).any())][:_CASES]
    if len(cases) < _FEWEST:
        return nothing
    ready = RoutedBank(bank, device=device, settings=settings)
    scores: list[tuple[float, float]] = []
    for case in cases:
        for image in _looks(case.image, site.generator):
            _, probabilities, found = ready.ask(image)
            masks = decode(probabilities, overlapping=bank.header.overlapping)
            dice = float(overlap(masks, case.target.bool())[case.annotated & known].nanmean())
            scores.append((1.0 if found.empty else found.score, dice))
    counts = Counts.of(scores)
    return BankCounts(counts.good, counts.poor)


def _looks(image: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """A scan as it is and as another scanner might have made it: inside cases alone hardly ever fail."""
    yield image
    draw = draw_gin(generator, (1, *image.shape), probability=1.0, kernels=(1,), balance=True)
    yield apply_gin(image[None], draw)[0]


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
