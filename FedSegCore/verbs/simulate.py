"""`fedseg simulate`."""

from __future__ import annotations

from argparse import Namespace

from FedSegCore.console import Console
from FedSegCore.errors import UsageError


def run(arguments: Namespace, console: Console) -> int:
    """Run a study, or with --dry-run only check it and its data."""
    from FedSegCore.device import choose_device
    from FedSegCore.simulation.simulate import simulate
    from FedSegCore.study import read_study

    study = read_study(arguments.study)
    device = choose_device(arguments.device)
    if arguments.dry_run:
        from FedSegCore.dryrun import dry_run

        return dry_run(study, console)
    if arguments.workers < 1:
        raise UsageError(
            f"--workers must be at least 1, got {arguments.workers}.", "Give --workers 1 or more."
        )
    summary = simulate(study, arguments.out, device=device, resume=arguments.resume, emit=console.emit,
                       workers=arguments.workers)  # fmt: skip
    for name, dice in summary["dice"].items():
        console.say(f"{name:28s} mean Dice {dice:.3f}")
    console.say(f"Report: {summary['report']}")
    console.result(summary, path=arguments.out)
    return 0
