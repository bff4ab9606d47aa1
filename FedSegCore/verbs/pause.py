"""`fedseg pause`: take no part from the next round on; and what `fedseg resume` shares with it."""

from __future__ import annotations

from argparse import Namespace

from FedSegCore.console import Console


def run(arguments: Namespace, console: Console) -> int:
    """Put the mark that the site's process looks at before it answers."""
    told = "takes no part from the next round on; the study goes on without it."
    return mark(arguments, console, paused=True, state="paused", told=told)


def mark(arguments: Namespace, console: Console, *, paused: bool, state: str, told: str) -> int:
    """Put the mark of a pause, or take it away, and say so."""
    from FedSegCore.hospital.home import PAUSED, known_home

    home = known_home(arguments.site_dir)
    home.mark(PAUSED, present=paused)
    console.emit("site_state", site=home.site, state=state)
    console.say(f"{home.site} {told}")
    console.result({"site": home.site, "state": state}, path=home.folder)
    return 0
