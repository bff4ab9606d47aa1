"""The layers: imports point downwards only, and nothing heavy or foreign comes in where it must not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "FedSegCore"

# Each layer and what it may import from; a layer may always import from itself.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "version": set(),
    "tables": {"errors"},
    "tensors": {"errors", "files"},
    "data": {"errors", "tensors"},
    "nets": {"errors", "tensors"},
    "learning": {"errors", "tensors", "data", "nets"},
    "federation": {"errors", "files", "version", "tensors", "data", "nets", "learning"},
    "methods": {"errors", "tables", "tensors", "data", "nets", "learning", "federation"},
    "inference": {"errors", "tables", "tensors", "data", "nets", "learning"},
    "report": {"errors", "files"},
    "study": {"errors", "tables", "idle", "learning", "methods", "nets", "inference"},
    "sitedata": {"errors", "study", "data", "federation"},
    "agreement": {"errors", "tables", "study", "data", "federation", "inference", "nets"},
    "sharing": {"errors", "sitedata", "data"},
    "setting": {"study", "agreement", "sitedata", "sharing", "data", "federation", "inference", "nets"},
}
"""The study's modules at the package's top, `simulation` and `verbs` stand above all of these, in this order; the two
ends of a federation across hospitals, `coordinator` and `hospital`, above `simulation`."""


def modules() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def layer_of(path: Path) -> str:
    parts = path.relative_to(CORE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(CORE)))
def test_imports_point_down_the_layers(path: Path) -> None:
    layer = layer_of(path)
    if layer not in ARROWS:
        return
    layers = {name.split(".")[1] for name in imported(path) if name.startswith("FedSegCore.")}
    assert layers - {layer} <= ARROWS[layer]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_knows_nothing_of_slicer_qt_or_pickle(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"slicer", "qt", "ctk", "vtk", "PySide6", "pickle", "dill", "cloudpickle"}


def test_methods_do_not_import_each_other_but_for_the_averaging_base() -> None:
    for path in (CORE / "methods").rglob("*.py"):
        own = path.relative_to(CORE / "methods").with_suffix("").parts[0]
        if own in ("registry", "__init__"):
            continue
        others = {name.split(".")[2] for name in imported(path) if name.startswith("FedSegCore.methods.")}
        assert others <= {"averaging", "ingredients", own}, path.name


def test_every_layer_exists() -> None:
    assert {layer_of(path) for path in modules()} >= set(ARROWS)


def test_only_one_file_knows_flower() -> None:
    knowing = {
        path.name for path in modules() if any(name.split(".")[0] == "flwr" for name in imported(path))
    }
    assert knowing == {"flower.py"}


@pytest.mark.parametrize(("one", "other"), [("coordinator", "hospital"), ("hospital", "coordinator")])
def test_the_two_ends_of_a_federation_meet_only_on_the_wire(one: str, other: str) -> None:
    for path in (CORE / one).rglob("*.py"):
        assert not any(name.startswith(f"FedSegCore.{other}") for name in imported(path)), path.name
