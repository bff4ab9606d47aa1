"""`fedseg join`: a hospital's end of a study across hospitals."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from FedSegCore.console import Console
from FedSegCore.errors import UsageError
from FedSegCore.interrupt import sigterm_as_ctrl_c


def run(arguments: Namespace, console: Console) -> int:
    """Take part until the study has ended; exit 0 then."""
    with sigterm_as_ctrl_c():
        return _join(arguments, console)


def _join(arguments: Namespace, console: Console) -> int:
    from FedSegCore.device import choose_device
    from FedSegCore.federation.invitation import read_invitation
    from FedSegCore.hospital import join, work
    from FedSegCore.hospital.guest import Guest, study_of, told_when_too_late
    from FedSegCore.hospital.home import Home
    from FedSegCore.hospital.tls import keep_one_proxy

    home = Home(arguments.site_dir or Path(f"fedseg-{read_invitation(arguments.invitation, now=0).site}"))
    # A site that has enrolled needs the token no more, so that the invitation may have expired.
    invitation = read_invitation(arguments.invitation, now=0 if home.credential else None)
    keep_one_proxy(invitation.address)
    study = study_of(invitation, arguments.data, publish_personal=arguments.publish_personal)
    guest = Guest(invitation, study, home, choose_device(arguments.device), console.emit)
    join.claim(guest, arguments.invitation)
    join.agree_to(guest, arguments.invitation, lambda text: _agrees(text, console, accept=arguments.accept))
    with told_when_too_late(home):
        setting = join.join(guest, join.check(guest))
        cache = work.prepare(guest, setting)
        work.take_part(guest, setting, cache)
        if home.left:
            cache.drop()
            console.say(f"{guest.name} has left the study. What it was sent and made is in {home.folder}.")
            console.result({"left": True}, path=home.folder)
            return 0
        summary = work.score(guest, setting, cache, work.fetch(guest, work.bounds(guest, setting, cache)))
    cache.drop()
    console.say(f"The study has ended. Report: {summary['report']}")
    console.result(summary, path=home.folder)
    return 0


def _agrees(text: str, console: Console, *, accept: bool) -> bool:
    """Ask on the terminal.

    Raises:
        UsageError: there is none, and --accept was not given.
    """
    if accept:
        return True
    if console.json_lines or not sys.stdin.isatty():
        raise UsageError(
            "Somebody has to agree to what leaves, and nobody can be asked here.",
            "Read it with `fedseg info` of the invitation, then join with --accept.",
        )
    console.say(text)
    return input("[y/N] ").strip().lower() in ("y", "yes")
