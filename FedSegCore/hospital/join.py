"""A hospital's end of a study: asked for consent, checked, enrolled, then at work until the study has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch

from FedSegCore.agreement import Agreement
from FedSegCore.errors import DataError, StudyError
from FedSegCore.federation import wire
from FedSegCore.federation.client import Client
from FedSegCore.federation.invitation import Invitation
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.rounds import Emit
from FedSegCore.files import write_atomic
from FedSegCore.hospital.connected import Connected
from FedSegCore.hospital.home import Home
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.hospital.resident import Resident
from FedSegCore.methods.registry import named
from FedSegCore.setting import Setting, read_sites, setting_of
from FedSegCore.simulation.participants import cores, member_client
from FedSegCore.simulation.run import Cache, Run, read_cache
from FedSegCore.sitedata import SiteFolder, declare
from FedSegCore.study import Study, parse_study
from FedSegCore.version import VERSION

_PATIENCE_S = 24 * 3600.0
"""How long an unreachable coordinator is waited for; a restart of it, or a night without network, ends nothing."""
_GOODBYE_S = 60.0
"""After the last round the coordinator may close its port soon."""


@final
@dataclass(frozen=True)
class Guest:
    """One site of one study, at home.

    Args:
        study: with this site's own folder as its data.
    """

    invitation: Invitation
    study: Study
    home: Home
    device: torch.device
    emit: Emit

    @property
    def name(self) -> str:
        """The site's name in the study."""
        return self.invitation.site

    @property
    def ledger(self) -> Ledger:
        """Everything that leaves."""
        return Ledger(self.home.folder / "ledger.jsonl")

    def hub(self, *, patience_s: float = _PATIENCE_S) -> HubClient:
        """A client of the hub, with the credential if there is one."""
        tell = partial(self.emit, "progress", stage="connect", value=0.0, eta_s=None)
        return HubClient(
            self.invitation.address, self.invitation.ca, self.home.credential or None, patience_s=patience_s,
            tell=lambda message: tell(message=message),
        )  # fmt: skip


def study_of(invitation: Invitation, data: Path, *, publish_personal: bool) -> Study:
    """The study as this site sees it: its own folder, and whether its personal model may be published.

    Raises:
        StudyError: the coordinator's study cannot be read by this version.
    """
    study = parse_study(invitation.tables(), Path())
    own = [site for site in study.sites if site.name == invitation.site and site.role == "member"]
    if not own:
        raise StudyError(
            f"The study has no member {invitation.site}.", "Ask the coordinator for a new invitation."
        )
    sites = tuple(
        replace(site, data=data.resolve(), publish_personal=publish_personal) if site is own[0] else site
        for site in study.sites
    )
    return replace(study, sites=sites)


def join(guest: Guest) -> Setting:
    """Enrol, tell what the study needs to know, and wait until all have agreed.

    Raises:
        FedSegError: the hub refuses, or the dataset cannot be used.
    """
    guest.home.claim({
        "site": guest.name, "study": guest.study.name, "address": guest.invitation.address,
        "identity": guest.invitation.identity,
    })  # fmt: skip
    (folder,) = read_sites([site for site in guest.study.sites if site.name == guest.name])
    with guest.hub() as hub:
        if not guest.home.credential:
            engine_key = guest.home.engine_key()
            credential = hub.enrol(
                guest.name, token=guest.invitation.token, engine_key=engine_key, fedseg=VERSION
            )
            guest.home.keep_credential(credential)
        joining = _declared(guest, folder, hub)
        agreed = guest.home.agreement() or _awaited(guest, hub)
    agreement = Agreement.from_dict(agreed.get("agreement"))
    return setting_of(guest.study, agreement, {guest.name: joining}, [folder])


def _declared(guest: Guest, folder: SiteFolder, hub: HubClient) -> Joining:
    """Say once what the site has; the first word is kept and holds."""
    kept = guest.home.folder / "joining"
    if kept.is_file():
        data = kept.read_bytes()
        joining = wire.decode(Joining, data, str(kept))
        if joining.num_cases != len(folder.choice.training):
            raise DataError(
                f"The dataset has {len(folder.choice.training)} training cases; {joining.num_cases} when this site joined.",
                "Restore it as it was, or ask the coordinator for a new invitation.",
            )
    else:
        guest.emit(
            "progress", stage="data", value=0.0, message="Reading the cases for the passport", eta_s=None
        )
        joining = declare(folder, within=guest.study.labels, passport=guest.study.plan.auto)
        data = wire.encode(joining)
    line = guest.ledger.record(data, site=guest.name, round_number=0, kind="join")
    guest.emit("ledger", **line)
    hub.join(data)
    write_atomic(kept, data)
    guest.emit("site_state", site=guest.name, state="joined")
    return joining


def _awaited(guest: Guest, hub: HubClient) -> dict[str, Any]:
    guest.emit("progress", stage="wait", value=0.0, message="Waiting for the other sites", eta_s=None)
    while (agreed := hub.study(wait_s=20)) is None:
        pass
    guest.home.keep_agreement(agreed)
    return agreed


def take_part(guest: Guest, setting: Setting) -> None:
    """Answer the coordinator until the study has ended."""
    torch.set_num_threads(guest.study.train.threads or cores())
    guest.emit("progress", stage="data", value=0.0, message="Reading and preparing the cases", eta_s=None)
    cache = read_cache(setting, setting.sites, setting.sites)
    resident = Resident(
        guest.name, guest.home.folder, lambda run: client_of(guest, setting, cache, run),
        rounds=guest.study.rounds, emit=guest.emit,
    )  # fmt: skip
    connected = Connected(
        guest.hub, resident, folder=guest.home.folder / "engine", ca=guest.home.keep_ca(guest.invitation.ca),
        key=guest.home.key, tell=guest.home.tell,
    )  # fmt: skip
    guest.emit(
        "progress", stage="train", value=0.0, message="Connected; waiting for the next round", eta_s=None
    )
    connected.work()


def runs_of(study: Study) -> dict[str, tuple[str, int]]:
    """The study's runs by their names: method and seed."""
    return {f"{method}-seed{seed}": (method, seed) for method in study.methods for seed in study.seeds}


def run_of(guest: Guest, setting: Setting, cache: Cache, run: str) -> Run:
    """One run at this site.

    Raises:
        KeyError: it is not of the study.
    """
    method, seed = runs_of(guest.study)[run]
    entry = named(method, guest.study.method_options)
    return Run(setting, cache, entry, seed, guest.home.folder / "runs" / run, guest.device)


def client_of(guest: Guest, setting: Setting, cache: Cache, run: str) -> Client:
    """This site's end of one run. All runs share one ledger."""
    return member_client(run_of(guest, setting, cache, run), setting.sites[0], ledger=guest.ledger.path)


def fetch_models(guest: Guest) -> list[Path]:
    """Take the published models home, checked and whole."""
    taken = []
    with guest.hub(patience_s=_GOODBYE_S) as hub:
        for model in hub.models():
            target = guest.home.folder / "models" / model.run / model.file
            target.parent.mkdir(parents=True, exist_ok=True)
            hub.download(model.run, model.file, model.sha256, target, size=model.bytes)
            guest.emit("model", path=str(target), name=target.stem, card=model.card)
            taken.append(target)
        hub.received()
    return taken
