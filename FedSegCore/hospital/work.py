"""A hospital at work in a study, and what it takes home at the end."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from FedSegCore.data.casefiles import CACHE
from FedSegCore.federation.calibration import KIND
from FedSegCore.federation.client import Client
from FedSegCore.federation.ledger import read_lines
from FedSegCore.hospital.bounds import Bounds, bounds_of
from FedSegCore.hospital.connected import Connected
from FedSegCore.hospital.guest import Guest
from FedSegCore.hospital.leaving import leaving
from FedSegCore.hospital.resident import Resident
from FedSegCore.methods.registry import named
from FedSegCore.progress import Reading
from FedSegCore.report.scores import write_scores
from FedSegCore.setting import Setting
from FedSegCore.simulation.cards import card, write_cards
from FedSegCore.simulation.memory import tell_of_memory
from FedSegCore.simulation.participants import cores, member_client
from FedSegCore.simulation.publishing import WrittenModel, write_models
from FedSegCore.simulation.run import Cache, Run, files_for, read_cache
from FedSegCore.simulation.simulate import join_and_report
from FedSegCore.simulation.testing import score_run


def prepare(guest: Guest, setting: Setting) -> Cache:
    """Read the site's cases once, for all runs."""
    torch.set_num_threads(guest.study.train.threads or cores())
    reading = Reading(guest.emit, datasets=2)
    entries = [named(method, guest.study.method_options) for method in guest.study.methods]
    tell_of_memory(setting, entries, device=guest.device, workers=1, emit=guest.emit)
    files = files_for(setting, guest.home.folder / CACHE)
    return read_cache(setting, setting.sites, setting.sites, files=files, progress=reading.dataset)


def take_part(guest: Guest, setting: Setting, cache: Cache) -> None:
    """Answer the coordinator until the study has ended.

    Raises:
        HubError: the coordinator does not want this site any more.
        StorageError: this machine's disk takes no more.
    """

    def client(run: str) -> Client:
        made = guest.run(run, setting, cache)
        return member_client(made, setting.sites[0], ledger=guest.ledger.path, calibrates=agreed)

    # What the hospital did not agree to is not answered, whoever asks.
    agreed = KIND in leaving(guest.study, guest.name)
    resident = Resident(guest.name, guest.home, client, rounds=guest.study.rounds, emit=guest.emit)
    connected = Connected(
        guest.hub, resident, folder=guest.home.folder / "engine", ca=guest.home.keep_ca(guest.invitation.ca),
        key=guest.home.key, largest=bounds(guest, setting, cache).largest, tell=partial(_tell, guest),
        gone=lambda: guest.home.left,
    )  # fmt: skip
    connected.work()


def bounds(guest: Guest, setting: Setting, cache: Cache) -> Bounds:
    """What the study can bring to this site."""
    return bounds_of(guest.run(name, setting, cache) for name in guest.runs)


def fetch(guest: Guest, most: Bounds) -> dict[str, list[WrittenModel]]:
    """Take the published models home, checked and whole; by run.

    Args:
        most: what the study can bring.

    Raises:
        HubError: the coordinator has closed its port, offers what is not the study's, or sent another file than it
            told.
    """
    taken: dict[str, list[WrittenModel]] = {name: [] for name in guest.runs}
    with guest.hub() as hub:
        models = hub.models()
        most.check(models)
        for number, model in enumerate(models, start=1):
            _progress(guest, "models", number, len(models), f"{model.run}: {model.file}")
            target = guest.home.folder / "runs" / model.run / "models" / model.file
            hub.download(model.run, model.file, model.sha256, target, size=model.bytes)
            guest.emit("model", path=str(target), name=target.stem, card=dict(model.card))
            owner = target.stem.partition("-")[2]
            kind: Any = "personal" if owner else "global"
            taken.setdefault(model.run, []).append(WrittenModel(target, target.stem, kind, owner))
        hub.received()
    return taken


def score(
    guest: Guest, setting: Setting, cache: Cache, taken: dict[str, list[WrittenModel]]
) -> dict[str, Any]:
    """The final models on this site's own test cases, and its own report; none of it leaves."""
    made = [guest.run(name, setting, cache) for name in taken]
    # A method whose sites keep a part of the network to themselves may publish no model; its sites have their own.
    runs = [run for run in made if not run.entry.pooled]
    for number, run in enumerate(runs, start=1):
        _progress(guest, "score", number, len(runs), f"Measuring the models of {run.folder.name}")
        _score_run(guest, run, taken[run.folder.name])
    out = guest.home.folder
    join_and_report(setting, runs, out, ledger=guest.ledger.path)
    return {"scores": str(out / "scores.csv"), "report": str(out / "report.html")}


def _score_run(guest: Guest, run: Run, models: list[WrittenModel]) -> None:
    own = write_models(run, {})
    useful = [model for model in models if model.owner in ("", guest.name)]
    scores, rounds = list(score_run(run, [*useful, *own])), read_lines(run.folder / "rounds.jsonl")
    write_scores(run.folder / "scores.csv", scores)
    known = {model.name for model in models}
    for model in own:
        if model.name not in known:  # one that is published has been told of
            guest.emit("model", path=str(model.path), name=model.name, card=card(model, scores, rounds))
    write_cards(run.folder, models, scores, rounds)


def _progress(guest: Guest, stage: str, number: int, total: int, message: str) -> None:
    """One of several steps begins."""
    guest.emit("progress", stage=stage, value=(number - 1) / total, message=message, eta_s=None)


def _tell(guest: Guest, state: dict[str, Any]) -> None:
    guest.home.tell({**state, "site": guest.name})
    if state.get("eta_s") is not None and state.get("total"):
        done = state["round"] / state["total"]
        message = f"Round {state['round']} of {state['total']}"
        guest.emit("progress", stage="train", value=done, message=message, eta_s=state["eta_s"])
