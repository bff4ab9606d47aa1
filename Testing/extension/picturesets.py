"""Real images and a real federation for the pictures."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from Testing.hospitals import Hospitals

REAL_DATA = Path(os.environ.get("FEDSEG_DATA", Path(__file__).parents[3] / "shared" / "data"))
STUDY = """
name = "hippocampus across two scanners"
method = "iopfl"
rounds = 10

[network]
channels = [8, 16, 32]

[train]
threads = 1
validate_every = 1
"""
SITES = ("north", "west")


def links(models: Path, folder: Path) -> None:
    """Models elsewhere, as if they were in this folder."""
    folder.mkdir()
    for path in models.iterdir():
        (folder / path.name).symlink_to(path)


def site(name: str, folder: Path, *, cases: int, fault: bool = False) -> None:
    """A site of `hippo_shift` with its first cases.

    Args:
        fault: the second case's image is cut off, and the third's drawing is another's.
    """
    source = REAL_DATA / "hippo_shift" / name
    facts = json.loads((source / "dataset.json").read_text())
    facts["training"] = facts["training"][:cases]
    facts["validation"], facts["test"] = facts["validation"][:2], facts["test"][:2]
    for entry in (*facts["training"], *facts["validation"], *facts["test"]):
        for key, place in (("image", "imagesTr"), ("label", "labelsTr")):
            path = source / entry[key]
            entry[key] = f"{place}/{path.name}"
            (folder / place).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / entry[key])
    (folder / "dataset.json").write_text(json.dumps(facts))
    if fault:
        _first, second, third, fourth = facts["training"][:4]
        image = folder / second["image"]
        image.write_bytes(image.read_bytes()[:20000])
        shutil.copyfile(folder / fourth["label"], folder / third["label"])


@contextmanager
def federation(folder: Path) -> Iterator[Hospitals]:
    """A coordinator and one hospital at work; the other one is the panel's."""
    text = STUDY
    for name in SITES:
        site(name, folder / name, cases=8)
        text += f'\n[[site]]\nname = "{name}"\ndata = "{name}"\npublish_personal = {str(name == "north").lower()}\n'
    (folder / "study.toml").write_text(text)
    made = Hospitals(folder, folder / "study.toml")
    try:
        made.serve()
        made.join("west")
        yield made
    finally:
        made.stop()
