"""A whole study across hospitals, from the coordinator's end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import torch

from FedSegCore.coordinator.agreeing import Own, await_agreement, read_own
from FedSegCore.coordinator.board import FILE, Board, Tallied
from FedSegCore.coordinator.desk import Desk, Place
from FedSegCore.coordinator.engine import Engine
from FedSegCore.coordinator.gateway import Gateway
from FedSegCore.coordinator.hub import StudyHub
from FedSegCore.coordinator.lead import lead
from FedSegCore.coordinator.roster import Roster
from FedSegCore.coordinator.statuspage import status_routes
from FedSegCore.coordinator.transport import AcrossHospitals
from FedSegCore.data.casefiles import CACHE
from FedSegCore.errors import RunError, StudyError
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.method import ClientInfo
from FedSegCore.federation.rounds import Emit
from FedSegCore.methods.registry import Named, named
from FedSegCore.setting import Setting
from FedSegCore.simulation.announcing import Announced, LedgerNews
from FedSegCore.simulation.folder import prepare_folder, run_folder, run_name
from FedSegCore.simulation.memory import tell_of_memory
from FedSegCore.simulation.participants import cores
from FedSegCore.simulation.run import Run, files_for, read_cache
from FedSegCore.simulation.simulate import join_and_report, with_eta
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
    names = [run_name(entry.name, seed) for entry in entries for seed in study.seeds]
    needed = study.needed(len(study.members))
    board = Board(
        out / FILE, study=study.name, runs=names, total=study.rounds, emit=emit, min_sites=needed,
        members=study.members, entries=Desk(out).roster(study).entries,
    )  # fmt: skip
    own = read_own(study, emit)
    with _opened(study, out, place, own, board) as house:
        emit = board.emit
        setting = await_agreement(
            own, out / "agreement.json", house.joined, house.hub.turn_away, min_sites=needed, emit=emit
        )
        board.put(state="running")
        house.hub.agree({"agreement": setting.agreement.to_dict(), "runs": names})
        if trained := setting.with_role("server"):
            tell_of_memory(setting, entries, device=device, workers=1, emit=emit)
        cache = read_cache(setting, trained, setting.sites, files=files_for(setting, out / CACHE))
        runs = [
            Run(setting, cache, entry, seed, run_folder(out, study, entry.name, seed), device)
            for entry in entries
            for seed in study.seeds
        ]
        timed = with_eta(emit, rounds=sum(study.rounds - _done(run) for run in runs))
        for run, name in zip(runs, names, strict=True):
            left = _finished(run)
            house.hub.publish(name, house.lead(run, name, timed) if left is None else left)
        join_and_report(setting, runs, out)
        cache.drop()
        board.put(state="finished")
        message = "The last round is done; the sites fetch the models"
        emit("progress", stage="done", value=1.0, message=message, eta_s=0.0)
        _until_fetched(house, keep=keep)
    models = sorted(str(path) for path in out.rglob("models/*.safetensors"))
    return {"models": models, "scores": str(out / "scores.csv"), "report": str(out / "report.html")}


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
class _House:
    """What is open while a study is served."""

    study: Study
    engine: Engine
    roster: Roster
    hub: StudyHub
    board: Board

    @property
    def min_sites(self) -> int:
        """How many sites must have joined before the study starts, and must answer in each round."""
        return self.study.needed(len(self.study.members))

    def joined(self) -> dict[str, Joining]:
        """What those sites told that take part; who reads status.json meanwhile sees that this end waits for more."""
        self.board.beat()
        return self.roster.joined()

    def lead(self, run: Run, name: str, emit: Emit) -> dict[str, tuple[Path, dict[str, Any]]]:
        """Lead one run to its end; returns its public models' files with their cards."""
        ledger = Ledger(run.folder / "ledger.jsonl")
        transport = AcrossHospitals(
            self.engine, name, members=lambda: self._members(run.setting), min_sites=self.min_sites,
            timeout=self.study.round_timeout, ledger=ledger, folder=run.folder / "replies", emit=emit,
        )  # fmt: skip
        self.hub.outstanding = lambda: transport.outstanding
        self.board.follow(name, run.folder / "rounds.jsonl")
        announced = Announced(Tallied(transport, self.board), LedgerNews(ledger.path, emit), emit)
        return lead(run, announced, joined=self.roster.joined, min_sites=self.min_sites, emit=emit)

    def _members(self, setting: Setting) -> list[ClientInfo]:
        """Those who take part at this moment: who joined late is among them, who left is not."""
        joined = self.joined()
        now = replace(setting, joined={**setting.joined, **joined})
        return [info for info in now.infos("member") if info.name in joined]


@contextmanager
def _opened(study: Study, out: Path, place: Place, own: Own, board: Board) -> Iterator[_House]:
    """The engine behind, the port in front of it."""
    desk = Desk(out)
    desk.claim()
    emit = board.emit
    emit("progress", stage="engine", value=0.0, message="Starting the engine", eta_s=None)
    engine = Engine(desk.folder / "engine", desk.loopback())
    try:
        public, roster = desk.public(place), desk.roster(study)
        hub = StudyHub(study.name, identity=desk.identity.public, roster=roster, engine=engine, board=board,
                       welcome=own.welcome)  # fmt: skip
        gateway = Gateway(
            hub, host=place.host, port=place.port, certificate=public.certificate, key=public.key,
            routes=status_routes(board.snapshot, desk.login),
        )  # fmt: skip
        try:
            address = place.address or f"{place.host}:{gateway.port}"
            desk.open(study, address=address, port=gateway.port, ca=public.ca)
            message = f"Listening; sites reach the study at {address}"
            emit("progress", stage="open", value=0.0, message=message, eta_s=None)
            yield _House(study, engine, roster, hub, board)
        finally:
            gateway.stop()
    finally:
        engine.stop()


def _finished(run: Run) -> dict[str, tuple[Path, dict[str, Any]]] | None:
    """The models of a run that was finished before, of which there may be none; None where it was not."""
    index = run.folder / "models" / "index.json"
    if not index.is_file():
        return None
    cards = json.loads(index.read_text(encoding="utf-8"))
    return {name: (index.parent / name, card) for name, card in cards.items()}


def _done(run: Run) -> int:
    """How many of a run's rounds earlier calls have led; a last one that too few sites answered is led again."""
    lines = read_lines(run.folder / "rounds.jsonl")
    return sum(len(line["sites"]) >= run.study.needed(len(run.study.members)) for line in lines)


def _until_fetched(house: _House, *, keep: bool) -> None:
    """Stay until every live site has its models; with `keep` until the process is stopped."""
    deadline = time.monotonic() + _LAST_S
    while keep or time.monotonic() < deadline:
        live = house.board.heard_of(_LAST_S) & set(house.joined())
        if not keep and live <= house.hub.served:
            return
        if keep:
            with suppress(RunError):
                house.engine.heal()
        time.sleep(_GLANCE_S)
