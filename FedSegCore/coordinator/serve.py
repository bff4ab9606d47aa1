"""A whole study across hospitals, from the coordinator's end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import torch

from FedSegCore.agreement import Agreement, agree
from FedSegCore.coordinator.board import FILE, Board
from FedSegCore.coordinator.desk import Desk, Place
from FedSegCore.coordinator.engine import Engine
from FedSegCore.coordinator.gateway import Gateway
from FedSegCore.coordinator.hub import StudyHub
from FedSegCore.coordinator.lead import lead
from FedSegCore.coordinator.transport import AcrossHospitals
from FedSegCore.errors import StudyError
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.rounds import Emit
from FedSegCore.files import write_atomic
from FedSegCore.methods.registry import Named, named
from FedSegCore.setting import Setting, read_sites, setting_of
from FedSegCore.simulation.announcing import Announced, LedgerNews
from FedSegCore.simulation.folder import prepare_folder, run_folder
from FedSegCore.simulation.participants import cores
from FedSegCore.simulation.run import Run, read_cache
from FedSegCore.simulation.simulate import with_eta
from FedSegCore.sitedata import SiteFolder, declare
from FedSegCore.study import Study

_GLANCE_S: Final = 0.2
_LAST_S: Final = 60.0
"""How long sites may take to fetch the models after the last round."""


def serve(
    study: Study, out: Path, place: Place, *, device: torch.device, keep: bool, emit: Emit
) -> dict[str, Any]:
    """Open the port, wait for the sites, lead every run of the study; goes on where an earlier call stopped.

    Args:
        keep: whether the port stays open after the last round, until the process is stopped.

    Raises:
        StudyError: the study cannot be run across hospitals.
        RunError: the port or the engine cannot be had.
    """
    entries = across(study, emit)
    prepare_folder(out, study, resume=True)
    torch.set_num_threads(study.train.threads or cores())
    local = read_sites(site for site in study.sites if site.role != "member" and site.data.is_dir())
    _tell_of_absent(study, local, emit)
    desk = Desk(out)
    names = [f"{entry.name}-seed{seed}" for entry in entries for seed in study.seeds]
    board = Board(out / FILE, study=study.name, runs=names, total=study.rounds, emit=emit)
    emit = board.emit
    emit("progress", stage="engine", value=0.0, message="Starting the engine", eta_s=None)
    with ExitStack() as stack:
        loopback = desk.loopback()
        engine = Engine(desk.folder / "engine", loopback)
        stack.callback(engine.stop)
        public = desk.public(place)
        roster = desk.roster(study)
        own = _Own(study, local, {})
        hub = StudyHub(
            study.name,
            identity=desk.identity.public,
            roster=roster,
            engine=engine,
            board=board,
            welcome=own.welcome,
        )
        gateway = Gateway(
            hub, host=place.host, port=place.port, certificate=public.certificate, key=public.key
        )
        stack.callback(gateway.stop)
        address = place.address or f"{place.host}:{gateway.port}"
        desk.open(study, address=address, port=gateway.port, ca=public.ca)
        emit(
            "progress",
            stage="open",
            value=0.0,
            message=f"Listening; sites reach the study at {address}",
            eta_s=None,
        )
        setting = _agreed(study, out, own, hub, lambda: roster.joined(), board, emit)
        board.put(state="running")
        hub.agree({"agreement": setting.agreement.to_dict(), "runs": names})
        cache = read_cache(setting, setting.with_role("server"), setting.sites)
        timed = with_eta(emit, rounds=study.rounds * len(names))
        for entry in entries:
            for seed in study.seeds:
                run = Run(setting, cache, entry, seed, run_folder(out, study, entry.name, seed), device)
                hub.publish(
                    f"{entry.name}-seed{seed}", _lead(run, engine, roster.joined, own, board, hub, timed)
                )
        board.put(state="finished")
        emit(
            "progress",
            stage="done",
            value=1.0,
            message="The last round is done; the sites fetch the models",
            eta_s=0.0,
        )
        _until_fetched(hub, engine, board, roster.joined, keep=keep)
    return {"models": sorted(str(path) for path in out.rglob("models/*.safetensors")), "out": str(out)}


def across(study: Study, emit: Emit) -> list[Named]:
    """The study's methods that can be run where no place has all images.

    Raises:
        StudyError: none.
    """
    entries = [named(method, study.method_options) for method in study.methods]
    left = [entry for entry in entries if not entry.pooled]
    if not left:
        raise StudyError(
            f"{', '.join(study.methods)} needs all images in one place and cannot be run across hospitals.",
            "Choose another method, or use fedseg simulate.",
        )
    for entry in entries:
        if entry.pooled:
            message = f"{entry.name} is left out: it needs all images in one place."
            emit("warning", message=message, fix="Nothing to do; fedseg simulate runs it.")
    return left


@final
@dataclass(frozen=True)
class _Own:
    """What the coordinator brings itself: the folders of the server and of outside sites that lie on its machine.

    Args:
        agreed: holds the agreement once it is made.
    """

    study: Study
    folders: tuple[SiteFolder, ...]
    agreed: dict[str, Agreement]

    def told(self) -> dict[str, Joining]:
        """What these sites would tell."""
        auto = self.study.plan.auto
        return {
            one.site.name: declare(
                one, within=self.study.labels, passport=auto and one.site.role != "outside"
            )
            for one in self.folders
        }

    def welcome(self, joining: Joining) -> None:
        """See that what a site tells can be agreed on; a late one must fit what was.

        Raises:
            StudyError: it cannot.
            DataError: its passport is none.
        """
        if "agreed" not in self.agreed:
            agree(self.study, {joining.name: joining})
            return
        agreement = self.agreed["agreed"]
        inputs = {name for choices in agreement.inputs for name in choices}
        if not set(joining.modalities) & inputs and len(agreement.inputs) > 1:
            raise StudyError("The site has none of the study's modalities.", "See the study's list of them.")
        if not set(joining.values) & set(agreement.labels):
            raise StudyError(
                "The site annotates none of the study's structures.", "See the study's list of them."
            )


def _agreed(
    study: Study,
    out: Path,
    own: _Own,
    hub: StudyHub,
    joined: Callable[[], Mapping[str, Joining]],
    board: Board,
    emit: Emit,
) -> Setting:
    """Wait until enough sites have joined; what they agree on then holds for the whole study, restarts included."""
    path = out / "agreement.json"
    members = [site.name for site in study.sites if site.role == "member"]
    wanted = min(study.min_sites or len(members), len(members))
    known = -1
    while True:
        there = joined()
        if path.is_file():
            break
        if len(there) != known:
            known = len(there)
            message = f"{known} of {wanted} sites have joined; invite: {', '.join(sorted(set(members) - set(there)))}"
            emit("progress", stage="wait", value=known / wanted, message=message, eta_s=None)
        if known >= wanted:
            agreement = agree(study, {**own.told(), **there})
            write_atomic(path, json.dumps(agreement.to_dict(), indent=1).encode())
            break
        time.sleep(_GLANCE_S)
    agreement = Agreement.from_dict(json.loads(path.read_text(encoding="utf-8")))
    own.agreed["agreed"] = agreement
    return setting_of(study, agreement, {**own.told(), **there}, own.folders)


def _lead(
    run: Run,
    engine: Engine,
    joined: Callable[[], Mapping[str, Joining]],
    own: _Own,
    board: Board,
    hub: StudyHub,
    emit: Emit,
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Lead one run, or take up what it left when it is finished."""
    index = run.folder / "models" / "index.json"
    if index.is_file():
        cards = json.loads(index.read_text(encoding="utf-8"))
        return {name: (index.parent / name, card) for name, card in cards.items()}
    study = run.study
    name = f"{run.entry.name}-seed{run.seed}"
    members = sum(site.role == "member" for site in study.sites)
    min_sites = min(study.min_sites or members, members)

    def infos() -> list[Any]:
        setting = replace(run.setting, joined={**run.setting.joined, **joined()})
        present = joined()
        return [info for info in setting.infos("member") if info.name in present]

    ledger = Ledger(run.folder / "ledger.jsonl")
    across_ = AcrossHospitals(
        engine, name, members=infos, min_sites=min_sites, timeout=study.round_timeout, ledger=ledger,
        folder=run.folder / "replies", emit=emit,
    )  # fmt: skip
    hub.outstanding = lambda: across_.outstanding
    board.follow(name, run.folder / "rounds.jsonl")
    news = LedgerNews(ledger.path, emit)
    return lead(run, Announced(across_, news, emit), joined=joined, min_sites=min_sites, emit=emit)


def _tell_of_absent(study: Study, local: tuple[SiteFolder, ...], emit: Emit) -> None:
    here = {folder.site.name for folder in local}
    for site in study.sites:
        if site.role == "server" and site.name not in here:
            raise StudyError(
                f"The server's data, {site.data}, is not on this machine.",
                "Correct `data` of the site with role server.",
            )
        if site.role == "outside" and site.name not in here:
            message = f"Outside site {site.name} is not scored: {site.data} is not on this machine."
            emit("warning", message=message, fix="Score its cases where they are, with the published models.")


def _until_fetched(
    hub: StudyHub, engine: Engine, board: Board, joined: Callable[[], Mapping[str, Joining]], *, keep: bool
) -> None:
    """Stay until every live site has its models; with `keep` until the process is stopped."""
    deadline = time.monotonic() + _LAST_S
    while keep or time.monotonic() < deadline:
        if not keep and board.heard_of(_LAST_S) & set(joined()) <= hub.served:
            return
        if keep:
            engine.heal()
        time.sleep(_GLANCE_S)
