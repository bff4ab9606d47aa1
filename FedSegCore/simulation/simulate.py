"""A whole study on one machine: every method with every seed, then the scores, cards and report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from FedSegCore.data.casefiles import CACHE, CaseFiles
from FedSegCore.federation.ledger import read_lines
from FedSegCore.federation.rounds import Emit, conclude, federate
from FedSegCore.federation.store import ServerStore
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.learning.precision import settled
from FedSegCore.methods.registry import Named, named
from FedSegCore.progress import Reading
from FedSegCore.report.scores import Score, read_scores, write_scores
from FedSegCore.setting import Setting, SiteData, read_setting
from FedSegCore.simulation.announcing import Announced, LedgerNews
from FedSegCore.simulation.calibrating import calibrate
from FedSegCore.simulation.cards import write_cards
from FedSegCore.simulation.folder import is_finished, prepare_folder, run_folder
from FedSegCore.simulation.memory import tell_of_memory
from FedSegCore.simulation.participants import cores, make_transport, server_site, threads_of
from FedSegCore.simulation.publishing import WrittenModel, write_models
from FedSegCore.simulation.reporting import report
from FedSegCore.simulation.run import Run, files_for, read_cache, read_start
from FedSegCore.simulation.testing import score_outside, score_run
from FedSegCore.study import NetworkTable, Study


def simulate(
    study: Study,
    out: Path,
    *,
    device: torch.device,
    resume: bool,
    emit: Emit,
    init: Path | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Run a study and write its models, scores, logs and report into `out`; returns a summary.

    Args:
        init: a model to start from; its structures, inputs, plan and network hold.
        workers: how many processes the sites train in.

    Raises:
        UsageError: `out` is not empty and `resume` is not given, or holds another study.
        FedSegError: whatever stops the study; what was computed is on disk and `resume` continues it.
    """
    header, start = read_start(init) if init else (None, {})
    if header is not None:
        network = NetworkTable(channels=header.network.channels, norm=header.network.norm)
        study = replace(study, network=network)
    prepare_folder(out, study, resume=resume, init=init)
    folders = [run_folder(out, study, name, seed) for name in study.methods for seed in study.seeds]
    if is_finished(out, folders):
        CaseFiles(out / CACHE).remove()
        told = f"The study in {out} is finished; without its report.html it would get a new one"
        emit("progress", stage="done", value=1.0, message=told, eta_s=None)
        return summary(out, folders)
    torch.set_num_threads(study.train.threads or cores())
    entries = [named(method, study.method_options) for method in study.methods]
    _tell_of_norms(study, entries, emit)
    _tell_of_timeout(study, workers, emit)
    emit("progress", stage="data", value=0.0, message="Reading and preparing the cases", eta_s=None)
    here = workers == 1 or any(entry.pooled for entry in entries)
    setting, trained, reading = _agree(study, header, here=here, emit=emit)
    tell_of_memory(setting, entries, device=device, workers=workers, emit=emit)
    files = files_for(setting, out / CACHE)
    cache = read_cache(setting, trained, setting.sites, files=files, progress=reading.dataset)
    runs = [
        Run(
            setting,
            cache,
            entry,
            seed,
            run_folder(out, study, entry.name, seed),
            device,
            start,
            init,
            workers,
        )
        for entry in entries
        for seed in study.seeds
    ]
    missing = [run for run in runs if not (run.folder / "models" / "index.json").is_file()]
    timed = with_eta(emit, rounds=study.rounds * len(missing))
    for run in missing:
        execute(run, timed)
    join_and_report(setting, runs, out)
    cache.drop()
    return summary(out, folders)


def _agree(
    study: Study, like: ModelHeader | None, *, here: bool, emit: Emit
) -> tuple[Setting, list[SiteData], Reading]:
    """The study's folders, the sites that this process trains, and what goes on telling of the reading of cases.

    Args:
        here: whether any site trains in this process.
    """
    members = sum(site.role != "outside" for site in study.sites)
    reading = Reading(emit, datasets=members * (study.plan.auto + here) + len(study.sites))
    setting = read_setting(study, like=like, progress=reading.dataset)
    trained = [d for d in setting.sites if d.site.role == "server" or (here and d.site.role != "outside")]
    return setting, trained, reading


def _tell_of_timeout(study: Study, workers: int, emit: Emit) -> None:
    """Say so where a limit that the study gives cannot be kept."""
    if workers == 1 and study.round_timeout != Study.round_timeout:
        emit(
            "warning",
            message=f"round_timeout = {study.round_timeout:g} has no effect: a site that trains in this process "
            "cannot be timed out.",
            fix="Give --workers 2 or more, or take round_timeout out of the study.",
        )


def _tell_of_norms(study: Study, entries: Sequence[Named], emit: Emit) -> None:
    """Say so where methods that are compared do not train the same network."""
    norms = {entry.name: study.network.norm or entry.norm for entry in entries}
    if len(set(norms.values())) > 1:
        told = ", ".join(f"{name} {norm}" for name, norm in norms.items())
        emit(
            "warning",
            message=f"The methods have different norm layers by default ({told}): part of any difference is theirs.",
            fix='Give [network] norm = "batch" or "instance" to compare the methods alone.',
        )


def join_and_report(setting: Setting, runs: Sequence[Run], out: Path, *, ledger: Path | None = None) -> None:
    """Write `scores.csv`, which joins those of all runs of a study, and the report.

    Args:
        ledger: the one of all runs; none: each run's folder has its own.
    """
    scores = [score for run in runs for score in read_scores(run.folder / "scores.csv")]
    write_scores(out / "scores.csv", scores)
    # Of all legs of the study, for each round's line tells its own time.
    seconds = sum(line["seconds"] for run in runs for line in read_lines(run.folder / "rounds.jsonl"))
    report(setting, runs, out, scores=scores, seconds=seconds, ledger=ledger)


def summary(out: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Where a finished study's results are, and a first look at them."""
    return {
        "models": sorted(
            str(path) for folder in folders for path in (folder / "models").glob("*.safetensors")
        ),
        "scores": str(out / "scores.csv"),
        "report": str(out / "report.html"),
        "dice": mean_dice(read_scores(out / "scores.csv")),
    }


def with_eta(emit: Emit, *, rounds: int) -> Emit:
    """The same events, each `round` followed by the progress of all `rounds` and the time that is left."""
    started, done = time.monotonic(), 0

    def tell(event: str, **fields: Any) -> None:
        nonlocal done
        emit(event, **fields)
        if event == "round":
            done += 1
            eta_s = (time.monotonic() - started) / done * (rounds - done)
            emit(
                "progress",
                stage="train",
                value=done / rounds,
                message=f"{done} of {rounds} rounds",
                eta_s=eta_s,
            )

    return tell


def execute(run: Run, emit: Emit) -> None:
    """Rounds, final exchange, models, scores, cards; continues where an interrupted run stopped."""
    study, method = run.study, run.entry.method
    news = LedgerNews(run.folder / "ledger.jsonl", emit)
    server, transport = server_site(run), make_transport(run)
    members = len(transport.clients())
    store = ServerStore(run.folder, facts_of(run))
    min_sites = study.needed(members)
    with contextlib.closing(Announced(transport, news, emit)) as told:
        state = federate(method, server, told, study.rounds, store=store, min_sites=min_sites, emit=emit)
        published = conclude(method, state, server, transport, study.rounds, min_sites=min_sites, emit=emit)
        models = write_models(run, published)
        calibrate(run, models, told, emit)
        news.tell()
    measure_and_card(run, models, emit)


def measure_and_card(
    run: Run, models: Sequence[WrittenModel], emit: Emit
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Score a run's models on the test cases that are here, write `scores.csv` and the public models' cards.

    Returns:
        The public models' files, by name, each with its card; each was told.
    """
    scores = [*score_run(run, models), *score_outside(run, models, emit)]
    write_scores(run.folder / "scores.csv", scores)
    public = [model for model in models if model.public]
    cards = write_cards(run.folder, public, scores, read_lines(run.folder / "rounds.jsonl"))
    for model in public:
        emit("model", path=str(model.path), name=model.name, card=cards[model.path.name])
    return {model.path.name: (model.path, cards[model.path.name]) for model in public}


def facts_of(run: Run) -> dict[str, Any]:
    """What a checkpoint says of its run, and what its bits depend on."""
    return {
        "study": run.study.name,
        "digest": run.study.digest(),
        "method": run.entry.name,
        "seed": run.seed,
        "environment": {
            "device": run.device.type,
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "threads": threads_of(run),
            "precision": settled(run.study.train.precision, run.device),
        },
    }


def mean_dice(scores: Sequence[Score]) -> dict[str, float]:
    """The mean Dice of each method and model over all defined scores: a first look, not a result."""
    groups: dict[str, list[float]] = {}
    for score in scores:
        if score.dice == score.dice:
            groups.setdefault(f"{score.method}/{score.model}", []).append(score.dice)
    return {name: round(sum(values) / len(values), 4) for name, values in sorted(groups.items())}
