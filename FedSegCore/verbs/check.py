"""`fedseg check`: every problem of a dataset folder, and its passport."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

from FedSegCore.console import Console
from FedSegCore.data.problem import Problem
from FedSegCore.errors import UsageError, nearest
from FedSegCore.progress import Reading


def run(arguments: Namespace, console: Console) -> int:
    """Exit 0 where nothing but warnings was found, 1 with errors."""
    if (arguments.study is None) != (arguments.site is None):
        raise UsageError("--study and --site belong together.", "Give both, or neither.")
    problems, lines = _inspect(arguments, console)
    for problem in problems:
        console.emit("problem", **asdict(problem))
        console.say(f"{problem.severity}: {problem.file}: {problem.message} {problem.fix}".rstrip())
    errors = sum(problem.severity == "error" for problem in problems)
    for line in lines:
        console.say(line)
    console.say(f"{errors} errors, {len(problems) - errors} warnings")
    console.result(
        {"errors": errors, "warnings": len(problems) - errors, "passport": lines}, path=arguments.dataset
    )
    return 1 if errors else 0


def _inspect(arguments: Namespace, console: Console) -> tuple[Sequence[Problem], list[str]]:
    from FedSegCore.preflight import inspect
    from FedSegCore.study import read_study

    progress = Reading(console.emit).dataset()
    if arguments.study is None:
        return inspect(arguments.dataset, progress=progress)
    study = read_study(arguments.study)
    sites = {site.name: site for site in study.sites}
    if arguments.site not in sites:
        raise UsageError(f'The study has no site "{arguments.site}".', nearest(arguments.site, sites))
    return inspect(arguments.dataset, study, sites[arguments.site], progress=progress)
