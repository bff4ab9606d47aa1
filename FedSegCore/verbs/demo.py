"""`fedseg demo`: a whole small federation on this machine, on generated images."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from FedSegCore.console import Console

STUDY = """\
# Three generated hospitals: one with CT, one with MR, one with few MR scans of inverted contrast.
name = "FedSeg demo on generated images"
method = "fedgin"
rounds = 20

[method_options]
weighting = "uniform"      # each hospital counts alike, whatever its size

[network]
channels = [8, 16, 32]

[train]
validate_every = 2

[[site]]
name = "north"
data = "north"

[[site]]
name = "south"
data = "south"

[[site]]
name = "island"
data = "island"
publish_personal = true
"""

_SITES = {"north": ("ct", 12), "south": ("mr", 12), "island": ("mr_inverted", 8)}


def run(arguments: Namespace, console: Console) -> int:
    """Generate three hospitals, run a study over them, and say what to try next."""
    from FedSegCore.device import choose_device
    from FedSegCore.simulation.simulate import simulate
    from FedSegCore.study import read_study

    out: Path = arguments.out
    study = write_hospitals(out)
    console.emit(
        "progress", stage="data", value=0.0, message=f"Three generated hospitals in {out}", eta_s=None
    )
    summary = simulate(read_study(study), out, device=choose_device("auto"), resume=False, emit=console.emit)
    scan = sorted((out / "hospitals" / "island" / "imagesTs").iterdir())[0]
    console.say(f"\nReport:      {summary['report']}")
    model = out / "models" / "global.safetensors"
    console.say(f"Model:       {model}")
    console.say(f"Try next:    fedseg segment --image MR={scan} --model {model} -o segmented.nii.gz")
    console.result(summary, path=out)
    return 0


def write_hospitals(out: Path) -> Path:
    """The generated datasets and their study file, in `out/hospitals`."""
    from FedSegCore.data.phantom import STYLES, write_phantom_dataset
    from FedSegCore.errors import UsageError
    from FedSegCore.files import write_atomic

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not empty.", "Choose another folder with --out, or remove it.")
    for seed, (site, (style, cases)) in enumerate(_SITES.items()):
        write_phantom_dataset(
            out / "hospitals" / site, cases=cases, test_cases=4, seed=seed, style=STYLES[style]
        )
    path = out / "hospitals" / "study.toml"
    write_atomic(path, STUDY.encode())
    return path
