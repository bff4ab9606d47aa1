"""What Slicer expects of the module's folder, read from its files."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

MODULE = Path(__file__).parents[2] / "FedSegExtension" / "FedSeg"
SCRIPTS = sorted(MODULE.rglob("*.py"))
IN_SLICER = ("scene.py", "selftest.py")
PLAIN = [path for path in SCRIPTS if path.parent.name == "FedSegLib" and path.name not in IN_SLICER]
FRAMES = {"QWidget", "QFrame", "QTabWidget", "ctkCollapsibleButton", "qMRMLWidget"}
"""What only holds other widgets may go without being named in the code."""


def imports(tree: ast.AST) -> Iterator[str]:
    """The packages that a file imports, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)


def at_file_scope(tree: ast.Module) -> ast.Module:
    """What is run when the file is imported."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    kept = [node for node in tree.body if not isinstance(node, functions)]
    for node in kept:
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not isinstance(part, functions)]
    return ast.Module(kept, [])


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_file_of_the_module_is_listed_to_be_shipped() -> None:
    text = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "FedSeg")
    listed = re.findall(r"^  (\S+\.\w+)$", text, re.MULTILINE)
    files = (path for path in MODULE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert sorted(listed) == sorted(
        {path.relative_to(MODULE).as_posix() for path in files} - {"CMakeLists.txt"}
    )


def test_the_module_is_the_only_script_that_slicer_takes_for_one() -> None:
    assert [path.name for path in MODULE.glob("*.py")] == ["FedSeg.py"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_nothing_foreign_is_imported(path: Path) -> None:
    own = {"FedSegLib", "slicer", "qt", "vtk", "ctk"}
    assert set(imports(at_file_scope(parsed(path)))) <= set(sys.stdlib_module_names) | own
    # The PyTorch extension's, Slicer's, and the module itself.
    on_request = {"PyTorchUtils", "numpy", "SampleData", "FedSeg"}
    assert set(imports(parsed(path))) <= set(sys.stdlib_module_names) | own | on_request


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_the_plain_files_know_no_qt_and_run_on_python_3_9(path: Path) -> None:
    allowed = {"slicer"} if path.name == "translation.py" else set()
    assert not set(imports(parsed(path))) & ({"slicer", "qt", "vtk", "ctk"} - allowed)
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_every_widget_of_the_ui_files_is_there_for_something() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    named = set(re.findall(r"\b_?ui\.(\w+)", code))
    idle = [
        widget.attrib["name"]
        for path in MODULE.rglob("*.ui")
        for widget in ElementTree.parse(path).iter("widget")
        if widget.attrib["name"] not in named
        and widget.attrib["class"] not in FRAMES
        and not widget.attrib["name"].endswith("Title")
        and widget.find("property[@name='SlicerParameterName']") is None
    ]
    assert not idle
