"""`fedseg pause`: take no part from the next round on."""

from __future__ import annotations

from argparse import Namespace

from FedSegCore.console import Console


def run(arguments: Namespace, console: Console) -> int:
    """Put the mark that the site's process looks at before it answers."""
    from FedSegCore.hospital.home import PAUSED, known_home

    home = known_home(arguments.site_dir)
    home.mark(PAUSED, present=True)
    console.emit("site_state", site=home.site, state="paused")
    console.say(f"{home.site} takes no part from the next round on; the study goes on without it.")
    console.result({"site": home.site, "state": "paused"}, path=home.folder)
    return 0
