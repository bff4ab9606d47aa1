"""`fedseg invite`: one file that lets one site join."""

from __future__ import annotations

from argparse import Namespace

from FedSegCore.console import Console


def run(arguments: Namespace, console: Console) -> int:
    """Write the invitation; exit 1 with the reason until the study is served."""
    from FedSegCore.coordinator.inviting import invite

    told = invite(arguments.site, arguments.served, arguments.out, days=arguments.days)
    console.say(f"Invitation for {arguments.site}: {arguments.out}. {told['hint']}")
    console.result(told, path=arguments.out)
    return 0
