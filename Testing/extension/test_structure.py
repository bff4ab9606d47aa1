"""What the Extensions Index and Slicer expect of the folder, read from its files."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from Testing.extension.standins import MODULE

ROOT = MODULE.parents[1]
SCRIPTS = sorted(MODULE.rglob("*.py"))
PLAIN = [path for path in SCRIPTS if path.parent.name == "FedSegLib" and path.name != "scene.py"]


def roots(path: Path, *, whole: bool) -> set[str]:
    """The packages that a file imports, everywhere or at file scope."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
    return found


def test_every_file_of_the_module_is_shipped() -> None:
    text = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "FedSeg")
    listed = set(re.findall(r"^  (\S+\.(?:py|png|ui|txt))$", text, re.MULTILINE))
    files = (path for path in MODULE.rglob("*") if path.suffix in (".py", ".png", ".ui", ".txt"))
    there = {str(path.relative_to(MODULE)) for path in files} - {"CMakeLists.txt"}
    assert listed == there


def test_the_extension_adds_the_module_and_its_metadata_stand_on_one_line_each() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    assert "add_subdirectory(FedSegExtension)" in text
    assert "add_subdirectory(FedSeg)" in (ROOT / "FedSegExtension" / "CMakeLists.txt").read_text()
    for name in ("ICONURL", "SCREENSHOTURLS"):
        url = re.search(rf'^set\(EXTENSION_{name} "https://.*/main/(\S+\.png)"\)$', text, re.MULTILINE)
        assert url is not None and (ROOT / url[1]).is_file()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_nothing_foreign_is_imported(path: Path) -> None:
    own = {"FedSegLib", "slicer", "qt", "vtk"}
    assert roots(path, whole=True) <= set(sys.stdlib_module_names) | own


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_the_plain_files_know_no_qt_and_run_on_python_3_9(path: Path) -> None:
    allowed = {"slicer"} if path.name == "translation.py" else set()
    assert not roots(path, whole=True) & ({"slicer", "qt", "vtk", "ctk"} - allowed)
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))


def test_no_text_is_hidden_from_translation_in_an_f_string() -> None:
    for path in SCRIPTS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"


def test_every_widget_that_the_code_names_is_in_the_ui_file() -> None:
    named = set(re.findall(r"self\.ui\.(\w+)", (MODULE / "FedSeg.py").read_text()))
    there = set(
        re.findall(r'<widget class="\w+" name="(\w+)"', (MODULE / "Resources/UI/FedSeg.ui").read_text())
    )
    assert named <= there
    assert {name for name in there if not name.endswith("Title")} - named <= {
        "FedSeg",
        "volumeSelector",  # bound by its SlicerParameterName
        "advancedCollapsibleButton",
    }
