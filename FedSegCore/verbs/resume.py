"""`fedseg resume`: take part again from the next round on."""

from __future__ import annotations

from argparse import Namespace

from FedSegCore.console import Console
from FedSegCore.verbs.pause import mark


def run(arguments: Namespace, console: Console) -> int:
    """Take the mark of `pause` away."""
    told = "takes part again from the next round on, while `fedseg join` runs."
    return mark(arguments, console, paused=False, state="joined", told=told)
