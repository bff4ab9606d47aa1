"""`fedseg resume`: take part again from the next round on."""

from __future__ import annotations

from argparse import Namespace

from FedSegCore.console import Console


def run(arguments: Namespace, console: Console) -> int:
    """Take the mark of `pause` away."""
    from FedSegCore.hospital.home import PAUSED, known_home

    home = known_home(arguments.site_dir)
    home.mark(PAUSED, present=False)
    console.emit("site_state", site=home.site, state="joined")
    console.say(f"{home.site} takes part again from the next round on, while `fedseg join` runs.")
    console.result({"site": home.site, "state": "joined"}, path=home.folder)
    return 0
