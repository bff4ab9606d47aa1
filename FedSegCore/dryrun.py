"""`simulate --dry-run`: whether a study could run, without training."""

from __future__ import annotations

from collections.abc import Callable

from FedSegCore.console import Console
from FedSegCore.data.check import check_dataset
from FedSegCore.errors import DataError
from FedSegCore.progress import Reading
from FedSegCore.setting import Setting, read_setting
from FedSegCore.sharing import trained_twice
from FedSegCore.study import Study, StudySite


def dry_run(study: Study, console: Console) -> int:
    """Check every site's data and the whole study; exit 1 where a site's data hold errors."""
    members = sum(site.role != "outside" for site in study.sites)
    reading = Reading(console.emit, datasets=len(study.sites) + members * study.plan.auto)
    errors = sum(_tell_problems(site, console, reading.dataset(site.name)) for site in study.sites)
    try:
        setting = read_setting(study, progress=reading.dataset)
    except DataError:
        if not errors:
            raise
        setting = None  # what keeps the study from being planned is among the problems
    facts = _facts(setting, console) if setting else {}
    if setting:
        _warn(setting, console)
    console.say(f"{'Not ready' if errors else 'Ready'}: {errors} errors.")
    console.result({"errors": errors, **facts})
    return 1 if errors else 0


def _tell_problems(site: StudySite, console: Console, progress: Callable[[float], None]) -> int:
    """Tell what is wrong with one site's data; returns the number of errors."""
    problems = check_dataset(site.data, modalities=site.modalities, progress=progress)
    for problem in problems:
        file = str(site.data / problem.file)
        console.emit(
            "problem", file=file, severity=problem.severity, message=problem.message, fix=problem.fix
        )
        console.say(f"{problem.severity}: {file}: {problem.message} {problem.fix}".rstrip())
    return sum(problem.severity == "error" for problem in problems)


def _warn(setting: Setting, console: Console) -> None:
    """Tell what is allowed but seldom meant."""
    for data in setting.sites:
        if data.unlabelled:
            message = (
                f"Site {data.site.name}: {len(data.unlabelled)} test cases have no label and are not scored."
            )
            console.emit(
                "warning", message=message, fix="Add their labels to dataset.json, or leave them out."
            )
    for case, site, other in trained_twice([data.folder for data in setting.sites]):
        message = f'The case "{case}" of site {other} also trains at site {site}.'
        console.emit("warning", message=message, fix="Keep the sites' cases apart with `cases`.")


def _facts(setting: Setting, console: Console) -> dict[str, object]:
    plan = setting.plan.to_dict()
    for data in setting.sites:
        counts = f"{len(data.training)} training, {len(data.validation)} validation, {len(data.test)} test"
        console.say(f"{data.site.name:16s} {data.site.role:8s} {counts}; {', '.join(data.labels)}")
    console.say(f"plan: {plan}")
    sites = [
        {
            "name": data.site.name,
            "role": data.site.role,
            "training": len(data.training),
            "validation": len(data.validation),
            "test": len(data.test),
            "labels": list(data.labels),
            "modalities": list(data.modalities),
        }
        for data in setting.sites
    ]
    return {"plan": plan, "labels": list(setting.labels), "values": dict(setting.values), "sites": sites}
