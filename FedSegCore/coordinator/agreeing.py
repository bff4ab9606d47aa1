"""What a coordinator's study agrees on: from what the sites tell, and from what lies on its own machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from FedSegCore.agreement import Agreement, agree
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
            agree(self.study, {joining.name: joining})
            return
        inputs = [name for choices in self.agreement.inputs for name in choices]
        if len(self.agreement.inputs) > 1 and not set(joining.modalities) & set(inputs):
            raise StudyError(
                f"{joining.name} has {', '.join(joining.modalities)}; the study has {', '.join(inputs)}.",
                "Name the channels in dataset.json as the study does.",
            )
        labels = self.agreement.labels
        if not set(joining.values) & set(labels):
            raise StudyError(
                f"{joining.name} annotates {', '.join(joining.values)}; the study has {', '.join(labels)}.",
                "Name the structures in dataset.json as the study does.",
            )


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
    own: Own, path: Path, joined: Callable[[], Mapping[str, Joining]], *, min_sites: int, emit: Emit
) -> Setting:
    """Wait until enough sites have joined. What they agree on holds from then on, restarts included.

    Args:
        path: where the agreement is kept.
        joined: what the sites told that have joined.
    """
    study, known = own.study, -1
    while len(there := joined()) < min_sites and not path.is_file():
        if len(there) != known:
            known = len(there)
            missing = ", ".join(sorted(set(study.members) - set(there)))
            message = f"{known} of {min_sites} sites have joined; not yet: {missing}"
            emit("progress", stage="wait", value=known / min_sites, message=message, eta_s=None)
        time.sleep(_GLANCE_S)
    told = {**own.told(), **there}
    if not path.is_file():
        write_atomic(path, json.dumps(agree(study, told).to_dict(), indent=1).encode())
    own.agreement = Agreement.from_dict(json.loads(path.read_text(encoding="utf-8")))
    return setting_of(study, own.agreement, told, own.folders)
