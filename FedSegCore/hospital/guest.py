"""One site of one study, at home: what every step of taking part works with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, final

import torch

from FedSegCore.errors import StudyError
from FedSegCore.federation.invitation import Invitation
from FedSegCore.federation.ledger import Ledger
from FedSegCore.federation.rounds import Emit
from FedSegCore.hospital.answers import HubUnreachable
from FedSegCore.hospital.home import Home
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.methods.registry import named
from FedSegCore.setting import Setting
from FedSegCore.simulation.folder import run_name
from FedSegCore.simulation.run import Cache, Run
from FedSegCore.study import Study, StudySite, parse_study

PATIENCE_S: Final = 24 * 3600.0
"""How long an unreachable coordinator is waited for; its restart, or a night without network, ends nothing."""
GOODBYE_S: Final = 60.0
"""How long after the last round: the coordinator closes its port soon."""


@final
@dataclass(frozen=True)
class Guest:
    """One site of one study.

    Args:
        study: as this site sees it, with its own folder as its data.
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
    def site(self) -> StudySite:
        """The site in the study."""
        return next(site for site in self.study.sites if site.name == self.name)

    @property
    def ledger(self) -> Ledger:
        """Everything that leaves, whatever the run."""
        return Ledger(self.home.folder / "ledger.jsonl")

    @property
    def runs(self) -> dict[str, tuple[str, int]]:
        """The study's runs by their names: method and seed."""
        return {
            run_name(method, seed): (method, seed)
            for method in self.study.methods
            for seed in self.study.seeds
        }

    def hub(self) -> HubClient:
        """A client of the hub, with the credential if there is one."""
        patience_s = GOODBYE_S if self.home.finished else PATIENCE_S
        tell = partial(self.emit, "progress", stage="connect", value=0.0, eta_s=None)
        return HubClient(
            self.invitation.address, self.invitation.ca, self.home.credential or None, patience_s=patience_s,
            tell=lambda message: tell(message=message),
        )  # fmt: skip

    def run(self, name: str, setting: Setting, cache: Cache) -> Run:
        """One run at this site.

        Raises:
            KeyError: it is not of the study.
        """
        method, seed = self.runs[name]
        entry = named(method, self.study.method_options)
        return Run(setting, cache, entry, seed, self.home.folder / "runs" / name, self.device)


@contextmanager
def told_when_too_late(home: Home) -> Iterator[None]:
    """Say what to do where a study has ended and its coordinator is gone, as after a power cut in the last minute.

    Raises:
        HubUnreachable: that is so; or the hub is unreachable for another reason.
    """
    try:
        yield
    except HubUnreachable as error:
        if not home.finished:
            raise
        raise HubUnreachable(
            "The study has ended, and its coordinator no longer answers.",
            "Ask the coordinator to call fedseg serve once more, with --keep, and join again to fetch the models.",
        ) from error


def study_of(invitation: Invitation, data: Path, *, publish_personal: bool) -> Study:
    """The study as this site sees it: its own folder, and whether its personal model may be published.

    Raises:
        StudyError: the coordinator's study cannot be read by this version, or has no such member.
    """
    study = parse_study(invitation.tables(), Path())
    if invitation.site not in study.members:
        raise StudyError(
            f"The study has no member {invitation.site}.", "Ask the coordinator for a new invitation."
        )
    own = {"data": data.resolve(), "publish_personal": publish_personal}
    sites = tuple(replace(site, **own) if site.name == invitation.site else site for site in study.sites)  # type: ignore[arg-type]
    return replace(study, sites=sites)
