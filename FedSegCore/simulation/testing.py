"""A finished run's models on every test set that they answer for."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence

import torch

from FedSegCore.errors import InputError
from FedSegCore.federation.rounds import Emit
from FedSegCore.files import write_atomic
from FedSegCore.inference.bank import Bank, Expert, make_bank
from FedSegCore.inference.modelfile import Model, ModelHeader, load_model
from FedSegCore.inference.outside import NEED_GLOBAL, NEED_SEVERAL, serve
from FedSegCore.inference.routed import RoutedBank, mixture
from FedSegCore.inference.segment import restore
from FedSegCore.inference.verdict import judge, read_calibration
from FedSegCore.report.scores import Score
from FedSegCore.setting import SiteData
from FedSegCore.simulation.publishing import WrittenModel
from FedSegCore.simulation.run import Run
from FedSegCore.simulation.scoring import Measured, fed, measure, measure_case, measured
from FedSegCore.tensors.header import read_header


def score_run(run: Run, models: Sequence[WrittenModel]) -> Iterator[Score]:
    """Every final model on every test set that it answers for."""
    for one in models:
        if one.kind == "personal" and one.public:
            continue  # the same model as the one in the site's own folder, which is scored
        asked = _answers_for(run, one)
        if not asked:
            continue
        model = load_model(one.path, run.device)
        for data in asked:
            for found in measure(model, run.setting, data, run.cache.test[data.site.name]):
                yield from _rows(run, one.kind, one.owner, data, found)


def score_outside(run: Run, models: Sequence[WrittenModel], emit: Emit) -> Iterator[Score]:
    """Every outside site's test cases, one scan at a time, in the ways that the study compares.

    `global` is among the models themselves. What routing says of each scan is written into `routing.csv`.
    """
    ways = [way for way in ways_of(run) if way != "global"]
    if not run.setting.with_role("outside") or not ways or run.entry.pooled:
        return
    try:
        bank = bank_of(models)
    except InputError as error:  # training is done; what cannot be scored so is told, the rest goes on
        emit(
            "warning",
            message=f"{run.entry.name} is not scored as {', '.join(ways)}: {error.message}",
            fix=error.fix,
        )
        return
    for way in ways:
        if lack := _lack(bank, way):
            message = f"{run.entry.name} is not scored as {way}: its published models are {lack}."
            fix = "Give sites publish_personal = true, or take the way out of outside_models."
            emit("warning", message=message, fix=fix)
            continue
        found = _routed(run, bank) if way == "routed" else _served(run, bank, way)
        for data, one in found:
            yield from _rows(run, way, "", data, one)


def _lack(bank: Bank, way: str) -> str:
    """What a way needs and the bank has not; "" for nothing."""
    if way in NEED_SEVERAL and len(bank.experts) < 2:
        return f"{len(bank.experts)}, nothing to choose among"
    return "the sites' own alone" if way in NEED_GLOBAL and bank.base is None else ""


def _served(run: Run, bank: Bank, way: str) -> Iterator[tuple[SiteData, Measured]]:
    """Scans segmented by one of the rivals of routing."""
    answer = serve(way, bank, run.study.routing, device=run.device)
    for data in run.setting.with_role("outside"):
        for case in run.cache.test[data.site.name]:
            image = fed(bank.header, run.setting, case)
            net = answer(image, torch.Generator().manual_seed(run.seed)).net
            yield data, measure_case(Model(bank.header, net), run.setting, data, case, image)


def _routed(run: Run, bank: Bank) -> Iterator[tuple[SiteData, Measured]]:
    """Scans segmented by routing, with what it says of each in `routing.csv`."""
    calibration = read_calibration(bank)
    ready = RoutedBank(bank, device=run.device, settings=run.study.routing, calibration=calibration,
                       seed=run.seed)  # fmt: skip
    lines = [("method", "seed", "site", "case", "dice", "disagreement", "threshold", "abstain", "sentence")]
    for data in run.setting.with_role("outside"):
        for case in run.cache.test[data.site.name]:
            answer, probabilities, found = ready.ask(fed(bank.header, run.setting, case))
            prediction = restore(bank.header, probabilities, case.geometry)
            one = measured(prediction, bank.header, run.setting, data, case)
            verdict = judge(found, calibration)
            threshold = f"{calibration.threshold:g}" if calibration else ""
            lines.append((
                run.entry.name, str(run.seed), data.site.name, case.name, f"{one.dice:.6g}", _written(found.score),
                threshold, {True: "yes", False: "no", None: ""}[verdict.abstain], mixture(bank, answer).sentence,
            ))  # fmt: skip
            yield data, one
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_atomic(run.folder / "routing.csv", text.getvalue().encode())


def ways_of(run: Run) -> tuple[str, ...]:
    """What outside sites are scored with besides each owner's model: the study's choice, or the method's."""
    chosen = run.study.outside_models
    return run.entry.outside if chosen is None else chosen


def bank_of(models: Sequence[WrittenModel]) -> Bank:
    """The public models of a run."""
    paths = [model.path for model in models if model.public]
    return make_bank([Expert(path, ModelHeader.from_dict(read_header(path), str(path))) for path in paths])


def _written(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6g}"


def _rows(run: Run, model: str, owner: str, data: SiteData, one: Measured) -> Iterator[Score]:
    for score in one.scores:
        yield Score(
            study=run.study.name,
            method=run.entry.name,
            seed=run.seed,
            round=run.study.rounds,
            model=model,
            owner=owner,
            site=data.site.name,
            modalities=one.modalities,
            case=one.case.name,
            label=score.label,
            dice=score.dice,
            hd95_mm=score.hd95_mm,
            nsd_1mm=score.nsd_1mm,
        )


def _answers_for(run: Run, model: WrittenModel) -> list[SiteData]:
    """A model of all sites answers for each of them and the outside; a site's own for it and the outside."""
    unwanted = model.kind == "global" and "global" not in ways_of(run)
    outside = [] if unwanted else run.setting.with_role("outside")
    members = [data for data in run.setting.with_role("member") if model.owner in ("", data.site.name)]
    server = run.setting.with_role("server") if run.entry.at_server and not model.owner else ()
    return sorted([*members, *outside, *server], key=lambda data: data.site.name)
