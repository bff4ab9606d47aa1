"""`fedseg test-connection`: hop after hop from this computer to the study, and which one fails."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from FedSegCore.console import Console
from FedSegCore.errors import RunError

CREDENTIAL = "credential"
"""The file beside a joined site's copy of its invitation."""


def run(arguments: Namespace, console: Console) -> int:
    """One line a hop; exit 1 with the hop that failed, in words for IT."""
    from FedSegCore.federation.invitation import read_invitation
    from FedSegCore.hospital.connection import HOPS, hops

    credential = _credential(arguments.file)
    # Once a site has enrolled, its invitation may expire: the credential counts.
    invitation = read_invitation(arguments.file, now=0.0 if credential else None)
    told = []
    for hop in hops(invitation, credential=credential):
        told.append(asdict(hop))
        if console.json_lines:
            value = (HOPS.index(hop.name) + 1) / len(HOPS)
            console.emit("progress", stage="connect", value=value, message=f"{hop.name}: {hop.seen}", eta_s=None,
                         hop=asdict(hop))  # fmt: skip
        else:
            console.say(f"{hop.status:8}{hop.name:11}{hop.seen} {hop.fix}".rstrip())
        if hop.status == "failed":
            raise RunError(f"The connection fails at {hop.name}: {hop.seen}", hop.fix)
    console.result({"hops": told}, path=arguments.file)
    return 0


def _credential(invitation: Path) -> str | None:
    """That of a site which has enrolled already, where the invitation is the copy in its folder."""
    path = invitation.with_name(CREDENTIAL)
    return path.read_text(encoding="ascii").strip() if path.is_file() else None
