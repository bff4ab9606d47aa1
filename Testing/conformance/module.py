"""The module's own files, as the checks read them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

from Testing.conformance import check_ui

MODULE = Path(__file__).parents[2] / "FedSegExtension" / "FedSeg"
SCRIPTS = sorted(MODULE.rglob("*.py"))
UIS = sorted(MODULE.rglob("*.ui"))


def tree(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def ui(path: Path) -> ElementTree.Element:
    """A .ui file, parsed."""
    return ElementTree.parse(path).getroot()


def widgets() -> dict[str, str]:
    """Names and classes of the widgets of all .ui files."""
    return {name: kind for path in UIS for name, kind in check_ui.widgets(ui(path)).items()}


def with_scene_in_code() -> set[str]:
    """The widgets that the code gives the scene."""
    calls = r"\bui\.(\w+)\.setMRMLScene\("
    return {name for path in SCRIPTS for name in re.findall(calls, path.read_text(encoding="utf-8"))}


def parameters(module: ast.Module) -> dict[str, str]:
    """The parameter node's fields, each bool, int, float, str, Path, node, or the name of a type of the module."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and "parameterNodeWrapper" in map(ast.unparse, node.decorator_list):
            fields = (part for part in node.body if isinstance(part, ast.AnnAssign))
            return {ast.unparse(part.target): _kind(part.annotation) for part in fields}
    raise LookupError("the module has no parameter node")


def _kind(annotation: ast.expr) -> str:
    """Of `Annotated[float, ...]` or `Optional[X]` it is the first."""
    words = re.findall(r"\w+", ast.unparse(annotation))
    word = next(word for word in words if word not in ("Annotated", "Optional", "pathlib", "slicer"))
    return "node" if word.startswith("vtkMRML") else word
