"""`simulate --dry-run`: whether a study could run, without training."""

from __future__ import annotations

from FedSegCore.console import Console
from FedSegCore.data.check import check_dataset
from FedSegCore.setting import read_setting
from FedSegCore.study import Study


def dry_run(study: Study, console: Console) -> int:
    """Check every site's data and the whole study; exit 1 where a site's data hold errors."""
    errors = 0
    for site in study.sites:
        for problem in check_dataset(site.data, modalities=site.modalities):
            errors += problem.severity == "error"
            file = f"{site.name}: {problem.file}"
            console.emit(
                "problem", file=file, severity=problem.severity, message=problem.message, fix=problem.fix
            )
            console.say(f"{problem.severity}: {file}: {problem.message} {problem.fix}".rstrip())
    setting = read_setting(study)
    plan = setting.plan.to_dict()
    for data in setting.sites:
        counts = f"{len(data.training)} training, {len(data.validation)} validation, {len(data.test)} test"
        console.say(f"{data.site.name:16s} {data.site.role:8s} {counts}; {', '.join(data.labels)}")
    console.say(f"plan: {plan}")
    console.say(f"{'Not ready' if errors else 'Ready'}: {errors} errors.")
    summary = {"errors": errors, "plan": plan, "labels": list(setting.labels), "values": dict(setting.values)}
    console.result(summary)
    return 1 if errors else 0
