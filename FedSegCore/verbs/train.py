"""`fedseg train`: one dataset, no federation."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from FedSegCore.console import Console
from FedSegCore.errors import UsageError


def run(arguments: Namespace, console: Console) -> int:
    """Train on a dataset from scratch, or fine-tune a published model on it."""
    from FedSegCore.device import choose_device
    from FedSegCore.simulate import simulate
    from FedSegCore.study import Study, StudySite, read_study

    if arguments.out.is_dir() and any(arguments.out.iterdir()):
        raise UsageError(f"{arguments.out} exists and is not empty.", "Choose another folder with --out.")
    name = arguments.dataset.resolve().name
    site = StudySite(name, arguments.dataset)
    if arguments.study is not None:
        study = replace(
            read_study(arguments.study), methods=("local",), seeds=(0,), sites=(site,), labels=None
        )
    else:
        study = Study(f"local training on {name}", ("local",), (site,))
    summary = simulate(study, arguments.out, device=choose_device(arguments.device), resume=False,
                       emit=console.emit, init=arguments.init)  # fmt: skip
    model = arguments.out / "models" / f"local-{name}.safetensors"
    console.say(f"Model: {model}\nReport: {summary['report']}")
    console.result(summary, path=model)
    return 0
