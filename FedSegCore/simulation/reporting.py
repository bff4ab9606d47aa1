"""From a finished study to its report: gathers what `report` needs and writes the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from FedSegCore.federation.ledger import read_lines
from FedSegCore.idle import unused_augmentation
from FedSegCore.inference.modelfile import load_model
from FedSegCore.report.inputs import ReportInputs
from FedSegCore.report.overlays import Overlay
from FedSegCore.report.page import write_report
from FedSegCore.report.scores import Score
from FedSegCore.report.tables import method_title
from FedSegCore.setting import Setting
from FedSegCore.simulation.run import Run
from FedSegCore.simulation.scoring import measure
from FedSegCore.study import StudySite


def report(
    setting: Setting,
    runs: Sequence[Run],
    out: Path,
    *,
    scores: Sequence[Score],
    seconds: float,
    ledger: Path | None = None,
) -> Path:
    """Write `report.html` for all runs of a study.

    Args:
        ledger: the one of all runs; none: each run's folder has its own.
    """
    ledgers = [ledger] if ledger else [run.folder / "ledger.jsonl" for run in runs]
    inputs = ReportInputs(
        study=facts(setting, runs, seconds=seconds),
        scores=scores,
        rounds=[line for run in runs for line in _rounds(run)],
        ledger=[line for path in ledgers for line in read_lines(path)],
        # A run of sites' own models alone has none for a site that never trains.
        overlays=next(filter(None, (overlays(run, scores) for run in reversed(runs))), []),
        cards={
            f"{run.entry.name}, seed {run.seed}: {name}": card
            for run in runs
            for name, card in json.loads((run.folder / "models" / "index.json").read_text("utf-8")).items()
        },
        baseline=setting.study.baseline or "",
    )
    return write_report(out / "report.html", inputs)


def _rounds(run: Run) -> list[dict[str, Any]]:
    """The run's rounds, as the report wants them; where all cases lie at one place nothing left a hospital."""
    apart = {"bytes_up": 0, "bytes_down": 0} if run.entry.pooled else {}
    return [
        {"method": run.entry.name, "seed": run.seed, "validated": _validated(run, line["round"])}
        | line
        | apart
        for line in read_lines(run.folder / "rounds.jsonl")
    ]


def _validated(run: Run, number: int) -> int:
    """After how many rounds the model was that the sites validated in a round: the one they got, or made."""
    return number if run.entry.method.personalizes else number - 1


def facts(setting: Setting, runs: Sequence[Run], *, seconds: float) -> dict[str, Any]:
    """What was trained, on what, and how."""
    study = setting.study
    unused = unused_augmentation([run.entry for run in runs], study.train)
    return {
        "name": study.name,
        "methods": list(study.methods),
        "seeds": list(study.seeds),
        "rounds": study.rounds,
        "effort": _effort(runs),
        "labels": list(setting.labels),
        "modalities": [" or ".join(names) for names in setting.inputs],
        "sites": [_site_facts(setting, site) for site in study.sites if site.name in setting.joined],
        "plan": setting.plan.to_dict(),
        "network": _networks(setting, runs),
        "train": {key: value for key, value in asdict(study.train).items() if key not in unused},
        "method_options": study.method_options,
        "device": runs[-1].device.type,
        "seconds": seconds,
        "stand_in": study.stand_in or "",
    }


def _site_facts(setting: Setting, site: StudySite) -> dict[str, Any]:
    """What a site brought; how many cases it validates and tests with is known only where its folder is here."""
    info = setting.info(site.name)
    here = next((data for data in setting.sites if data.site.name == site.name), None)
    return {
        "name": site.name,
        "role": site.role,
        "modalities": list(info.modalities),
        "labels": list(info.labels),
        "training": info.num_cases,
        **({"validation": len(here.validation), "test": len(here.test)} if here else {}),
        "licence": setting.joined[site.name].licence,
    }


def _networks(setting: Setting, runs: Sequence[Run]) -> dict[str, Any]:
    """The network that all methods train; where their norm layers differ, each method's norm."""
    network = runs[-1].network.to_dict()
    norms = {run.entry.name: run.network.norm for run in runs}
    if len(set(norms.values())) > 1:
        network["norm"] = ", ".join(f"{name}: {norm}" for name, norm in norms.items())
    return network


_POOLED = "over all sites' cases together"


def _effort(runs: Sequence[Run]) -> str:
    """Whether the rows compare equal training: the epochs, and so the optimizer steps, that each method takes."""
    train = runs[0].study.train
    epochs = {run.entry.name: run.entry.method.local_epochs(run.study.rounds, train.epochs) for run in runs}
    usual = max(set(epochs.values()), key=list(epochs.values()).count)
    others = {name: number for name, number in epochs.items() if number != usual}
    pooled = {run.entry.name for run in runs if run.entry.pooled}
    alone = pooled == epochs.keys()
    told = f"{usual:,} {_POOLED if alone else 'at each site'}, in batches of {train.batch(runs[0].setting.plan.dims)}"
    if pooled and not alone:
        told += f" ({', '.join(pooled)}: {_POOLED})"
    return "; ".join([told, *(f"{method_title(name)} {number:,}" for name, number in others.items())])


def overlays(run: Run, scores: Sequence[Score]) -> list[Overlay]:
    """The best, median and worst test case of the run's own final models."""
    mine = [
        s
        for s in scores
        if s.method == run.entry.name
        and s.seed == run.seed
        and s.dice == s.dice
        and s.owner in ("", s.site)  # at a site that never trains the models of others are scored, too
    ]
    kinds = ("personal", "global", "central", "local")
    wanted = next((kind for kind in kinds if any(s.model == kind for s in mine)), "")
    cases: dict[tuple[str, str], list[float]] = {}
    for score in (s for s in mine if s.model == wanted):
        cases.setdefault((score.site, score.case), []).append(score.dice)
    ranked = sorted(cases, key=lambda case: float(np.mean(cases[case])))
    if not ranked:
        return []
    places = {"Worst case": 0, "Median case": len(ranked) // 2, "Best case": len(ranked) - 1}
    return [_overlay(run, title, *ranked[place], kind=wanted) for title, place in places.items()]


def _overlay(run: Run, title: str, site: str, case: str, *, kind: str) -> Overlay:
    path = model_path(run, kind, site)
    data = next(data for data in run.setting.sites if data.site.name == site)
    test = next(test for test in run.cache.test[site] if test.name == case)
    [measured] = measure(load_model(path, run.device), run.setting, data, [test])
    return Overlay(
        title=title,
        site=site,
        case=case,
        dice=measured.dice,
        image=test.scan,
        reference=test.reference,
        prediction=measured.prediction,
        labels=run.setting.labels,
        spacing_mm=test.spacing_mm,
        orientation="".join(nib.orientations.aff2axcodes(test.geometry.affine)),
        model=path.stem,
    )


def model_path(run: Run, kind: str, site: str) -> Path:
    """The file of a run's model: `kind` of `site`, or the one model of all sites."""
    if kind == "personal":
        return run.folder / "sites" / site / "personal.safetensors"
    name = f"local-{site}" if kind == "local" else kind
    return run.folder / "models" / f"{name}.safetensors"
