"""`fedseg train`: one dataset, no federation."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from FedSegCore.console import Console

if TYPE_CHECKING:
    from FedSegCore.study import Study, StudySite


def run(arguments: Namespace, console: Console) -> int:
    """Train on a dataset from scratch, or fine-tune a published model on it."""
    from FedSegCore.device import choose_device
    from FedSegCore.simulation.simulate import simulate
    from FedSegCore.study import Study, StudySite, read_study

    name = arguments.dataset.resolve().name
    site = StudySite(name, arguments.dataset)
    if arguments.study is not None:
        study = _alone(read_study(arguments.study), site)
    else:
        study = Study(f"local training on {name}", ("local",), (site,))
    summary = simulate(study, arguments.out, device=choose_device(arguments.device),
                       resume=arguments.resume, emit=console.emit, init=arguments.init)  # fmt: skip
    model = arguments.out / "models" / f"local-{name}.safetensors"
    console.say(f"Model: {model}\nReport: {summary['report']}")
    console.result(summary, path=model)
    return 0


def _alone(study: Study, site: StudySite) -> Study:
    """The study's settings for one site, without what concerns its own sites and its report alone."""
    from FedSegCore.data.case import read_dataset
    from FedSegCore.study import Study

    owned = read_dataset(site.data).channel_names
    intensity = {name: rule for name, rule in study.plan.intensity.items() if name in owned}
    plan = replace(study.plan, intensity=intensity)
    return replace(study, methods=("local",), seeds=(0,), sites=(site,), labels=None, plan=plan,
                   round_timeout=Study.round_timeout, baseline=None, stand_in=None)  # fmt: skip
