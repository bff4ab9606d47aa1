"""`fedseg leave`: no update of this site leaves any more."""

from __future__ import annotations

from argparse import Namespace
from typing import Final

from FedSegCore.console import Console
from FedSegCore.errors import FedSegError

_PATIENCE_S: Final = 20.0
STAYS: Final = "Leaving stops future updates; it does not erase what earlier ones have taught the models."


def run(arguments: Namespace, console: Console) -> int:
    """Leave for good: at this end at once, at the coordinator's when it can be told."""
    from FedSegCore.data.casefiles import CACHE, CaseFiles
    from FedSegCore.federation.invitation import read_invitation
    from FedSegCore.hospital.home import LEFT, known_home
    from FedSegCore.hospital.hubclient import HubClient

    home = known_home(arguments.site_dir)
    home.mark(LEFT, present=True)
    CaseFiles(home.folder / CACHE).remove()
    invitation = read_invitation(home.invitation, now=0)
    told = True
    try:
        with HubClient(invitation.address, invitation.ca, home.credential, patience_s=_PATIENCE_S) as hub:
            hub.leave()
    except FedSegError as error:
        told = False
        console.emit(
            "warning",
            message=f"The coordinator could not be told: {error.message}",
            fix="Nothing of this site leaves any more all the same; run `fedseg leave` again, or tell them.",
        )
    console.emit("site_state", site=home.site, state="left")
    console.say(f"{home.site} has left the study. {STAYS} Its own models stay in {home.folder}.")
    console.result({"site": home.site, "state": "left", "told": told, "note": STAYS}, path=home.folder)
    return 0
