"""`fedseg join`: a hospital's end of a study across hospitals."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from FedSegCore.console import Console


def run(arguments: Namespace, console: Console) -> int:
    """Take part until the study has ended."""
    from FedSegCore.device import choose_device
    from FedSegCore.federation.invitation import read_invitation
    from FedSegCore.hospital.home import Home
    from FedSegCore.hospital.join import Guest, fetch_models, join, study_of, take_part

    home = Home(arguments.site_dir or Path(f"fedseg-{read_invitation(arguments.invitation, now=0).site}"))
    invitation = read_invitation(arguments.invitation, now=0 if home.credential else None)
    study = study_of(invitation, arguments.data, publish_personal=arguments.publish_personal)
    guest = Guest(invitation, study, home, choose_device(arguments.device), console.emit)
    setting = join(guest)
    take_part(guest, setting)
    models = fetch_models(guest)
    for path in models:
        console.say(f"Model: {path}")
    console.result({"models": [str(path) for path in models]}, path=home.folder)
    return 0
