"""How a hospital joins: it agrees, its data are checked, it enrols, tells of itself, and waits for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from FedSegCore.agreement import Agreement
from FedSegCore.errors import DataError, UsageError
from FedSegCore.federation import wire
from FedSegCore.federation.joining import Joining
from FedSegCore.files import write_atomic
from FedSegCore.hospital.answers import HubRefused
from FedSegCore.hospital.consent import give_consent, read_consent, shown_text
from FedSegCore.hospital.guest import Guest
from FedSegCore.hospital.handshake import greet
from FedSegCore.hospital.hubclient import HubClient
from FedSegCore.hospital.leaving import what_leaves, what_never_leaves
from FedSegCore.preflight import inspect
from FedSegCore.progress import Reading
from FedSegCore.setting import Setting, read_sites, setting_of
from FedSegCore.sitedata import SiteFolder, declare
from FedSegCore.version import VERSION


def agree_to(guest: Guest, invitation: Path, ask: Callable[[str], bool]) -> None:
    """Show what will leave and have it agreed to, once for each invitation and text.

    Args:
        invitation: its file.
        ask: shows the text and says whether the user agrees.

    Raises:
        UsageError: the user does not.
    """
    guest.emit(
        "consent", leaves=what_leaves(guest.study, guest.name), never_leaves=what_never_leaves(),
        coordinator=guest.invitation.address, study=guest.study.name,
    )  # fmt: skip
    text, data = shown_text(guest.study, guest.name), invitation.read_bytes()
    given = read_consent(guest.home.folder)
    if given is not None and given.covers(data, text):
        return
    if not ask(text):
        raise UsageError(
            "Nothing was agreed to, so nothing has left.", "Join again when your hospital agrees."
        )
    give_consent(guest.home.folder, data, text, publish_personal=guest.site.publish_personal)


def claim(guest: Guest, invitation: Path) -> None:
    """Make the site's folder this study's and this site's.

    Args:
        invitation: its file.

    Raises:
        UsageError: it is another's, or the site has left the study.
    """
    facts = {"site": guest.name, "study": guest.study.name, "identity": guest.invitation.identity}
    guest.home.claim(facts, invitation.read_bytes())
    if guest.home.left:
        raise UsageError(
            f"{guest.name} has left this study.",
            "To take part again, ask the coordinator for a new invitation.",
        )


def check(guest: Guest) -> SiteFolder:
    """Look at every file of the dataset; the site joins without errors or not at all.

    Raises:
        DataError: there are errors; each was told.
    """
    progress = Reading(guest.emit).dataset()
    problems, _ = inspect(guest.site.data, guest.study, guest.site, progress=progress)
    for problem in problems:
        guest.emit("problem", **asdict(problem))
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise DataError(
            f"The dataset has {len(errors)} errors, the first in {errors[0].file}: {errors[0].message}",
            f"fedseg check {guest.site.data} lists them all; mend them and join again.",
        )
    (folder,) = read_sites([guest.site])
    return folder


def join(guest: Guest, folder: SiteFolder) -> Setting:
    """Enrol, tell what the study needs to know, and wait until all have agreed.

    Raises:
        HubError: the coordinator refuses, is another than the invitation's, or has another minor version.
        DataError: the dataset is not what it was when the site joined.
    """
    with guest.hub() as hub:
        greet(hub, guest.invitation, guest.emit)
        if not guest.home.credential:
            key, token = guest.home.engine_key(), guest.invitation.token
            credential = hub.enrol(guest.name, token=token, engine_key=key, fedseg=VERSION)
            guest.home.keep_credential(credential)
        try:
            joining = _declare(guest, folder, hub)
            agreed = guest.home.agreement() or _await_others(guest, hub)
        except HubRefused as refused:
            if refused.status in (400, 409):  # a word that was not taken binds nobody
                _word(guest).unlink(missing_ok=True)
            raise
    agreement = Agreement.from_dict(agreed.get("agreement"))
    return setting_of(guest.study, agreement, {guest.name: joining}, [folder])


def _declare(guest: Guest, folder: SiteFolder, hub: HubClient) -> Joining:
    """Say what the site has; the first word is kept and holds, for the coordinator's plan was made from it."""
    kept = _word(guest)
    if kept.is_file():
        joining = wire.decode(Joining, kept.read_bytes(), str(kept))
        cases = len(folder.choice.training)
        if joining.num_cases != cases:
            raise DataError(
                f"The dataset has {cases} training cases; it had {joining.num_cases} when this site joined.",
                "Restore it as it was, or ask the coordinator for a new invitation.",
            )
    else:
        tell = Reading(guest.emit).dataset()
        joining = declare(folder, within=guest.study.labels, passport=guest.study.plan.auto, progress=tell)
        write_atomic(kept, wire.encode(joining))
    data = kept.read_bytes()
    guest.emit("ledger", **guest.ledger.record(data, site=guest.name, round_number=0, kind="join"))
    hub.join(data)
    guest.emit("site_state", site=guest.name, state="joined")
    return joining


def _word(guest: Guest) -> Path:
    """The file of what the site told when it joined."""
    return guest.home.folder / "joining"


def _await_others(guest: Guest, hub: HubClient) -> dict[str, Any]:
    guest.emit("progress", stage="wait", value=0.0, message="Waiting for the other sites", eta_s=None)
    while (agreed := hub.study(wait_s=20)) is None:
        if guest.home.left:
            raise UsageError(f"{guest.name} has left this study.", "")
    guest.home.keep_agreement(agreed)
    return agreed
