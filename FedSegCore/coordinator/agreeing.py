"""What a coordinator's study agrees on: from what the sites tell, and from what lies on its own machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from FedSegCore.agreement import Agreement, refuse_unknown
from FedSegCore.coordinator.fitting import agree_among, fit_alone, fit_late
from FedSegCore.errors import StudyError
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.rounds import Emit
from FedSegCore.files import write_atomic
from FedSegCore.setting import Setting, read_sites, setting_of
from FedSegCore.sitedata import SiteFolder, declare
from FedSegCore.study import Study

_GLANCE_S: Final = 0.2


@final
@dataclass
class Own:
    """The folders of the server and of outside sites that lie on the coordinator's machine.

    Args:
        agreement: what was agreed on; none yet.
    """

    study: Study
    folders: tuple[SiteFolder, ...]
    agreement: Agreement | None = field(default=None, init=False)

    def told(self) -> dict[str, Joining]:
        """What these sites would tell."""
        auto, within = self.study.plan.auto, self.study.labels
        return {
            one.site.name: declare(one, within=within, passport=auto and one.site.role != "outside")
            for one in self.folders
        }

    def welcome(self, joining: Joining) -> None:
        """See that what a site tells can be agreed on; a late one must fit what was.

        Raises:
            StudyError: it cannot.
            DataError: its passport is none.
        """
        if self.agreement is None:
            fit_alone(self.study, joining)
        else:
            fit_late(self.agreement, joining)


def read_own(study: Study, emit: Emit) -> Own:
    """The folders that are here.

    Raises:
        StudyError: the server's is not.
    """
    folders = read_sites(site for site in study.sites if site.role != "member" and site.data.is_dir())
    here = {folder.site.name for folder in folders}
    for site in study.sites:
        if site.role == "server" and site.name not in here:
            raise StudyError(
                f"The server's data, {site.data}, is not on this machine.",
                "Correct `data` of the site with role = server.",
            )
        if site.role == "outside" and site.name not in here:
            message = f"Outside site {site.name} is not scored: {site.data} is not on this machine."
            emit("warning", message=message, fix="Score its cases where they are, with the published models.")
    return Own(study, folders)


def await_agreement(
    own: Own,
    path: Path,
    joined: Callable[[], Mapping[str, Joining]],
    turn_away: Callable[[str, str, str], None],
    *,
    min_sites: int,
    emit: Emit,
) -> Setting:
    """Wait until enough sites have joined. What they agree on holds from then on, restarts included.

    A site that cannot be agreed with is turned away and the others go on; where they are too few, they wait for more.

    Args:
        path: where the agreement is kept.
        joined: what the sites told that have joined.
        turn_away: is told the name of a site whose word is not taken, why, and what helps.

    Raises:
        StudyError: all sites have joined, and none has what the study lists.
        FedSegError: nobody is to blame alone, and no agreement can be made.
    """
    study, here, known = own.study, own.told(), ""
    while not path.is_file():
        there = joined()
        told = {**here, **there}
        missing = sorted(set(study.members) - set(there))
        if message := _not_yet(study, there, told, missing, min_sites):
            if message != known:
                value = min(len(there) / min_sites, 1.0)
                emit("progress", stage="wait", value=value, message=message, eta_s=None)
            known = message
            time.sleep(_GLANCE_S)
            continue
        agreement, misfits = agree_among(study, told, there)
        for name, why in misfits.items():
            turn_away(name, f"What it told does not go together with the others' ({why.message})", why.fix)
        if len(there) - len(misfits) >= min_sites:
            write_atomic(path, json.dumps(agreement.to_dict(), indent=1).encode())
    own.agreement = Agreement.from_dict(json.loads(path.read_text(encoding="utf-8")))
    return setting_of(study, own.agreement, {**here, **joined()}, own.folders)


def _not_yet(
    study: Study,
    there: Mapping[str, Joining],
    told: Mapping[str, Joining],
    missing: list[str],
    min_sites: int,
) -> str:
    """What is waited for, in words; "" where nothing is."""
    message = f"{len(there)} of {min_sites} sites have joined; not yet: {', '.join(missing)}"
    if len(there) < min_sites:
        return message
    labels = [name for joining in told.values() for name in joining.values]
    modalities = [name for joining in told.values() for name in joining.modalities]
    try:
        refuse_unknown(study, labels=labels, modalities=modalities)
    except StudyError as error:
        if not missing:
            raise
        return f"{message}. {error.message}"
    return ""
