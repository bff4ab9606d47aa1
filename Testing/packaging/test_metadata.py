"""What the Extensions Index checks of CMakeLists.txt, of the catalogue's entry and of the repository."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY = ROOT / "Resources" / "FedSeg.json"
SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
FIELDS: dict[str, type] = {
    "$schema": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "category": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "scm_revision": str,
    "scm_type": str,
    "scm_url": str,
    "tier": int,
}


def entry() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ENTRY.read_text(encoding="utf-8"))
    return found


def metadata(key: str) -> str:
    """A variable as the index reads it: set on one line, between quotes, without variables in it."""
    found = re.findall(rf'^set\(EXTENSION_{key} "([^"$]+)"\)$', TEXT, re.MULTILINE)
    assert len(found) == 1, f"EXTENSION_{key} must be set once, on one line"
    return str(found[0])


def local(url: str) -> Path:
    """The file of this repository that a raw address shows."""
    prefix = "https://raw.githubusercontent.com/fedseg/SlicerFedSeg/main/"
    assert url.startswith(prefix) and "?" not in url
    return ROOT / url.removeprefix(prefix)


def png_size(path: Path) -> tuple[int, ...]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:])


def test_the_entry_has_the_schemas_fields_alone_and_of_their_types() -> None:
    assert {"$schema", "category", "scm_url"} <= set(entry()) <= set(FIELDS)
    assert all(type(value) is FIELDS[key] for key, value in entry().items())
    assert entry()["$schema"] == SCHEMA and 1 <= entry()["tier"] <= 5


def test_the_entry_is_written_as_the_index_formats_it() -> None:
    assert ENTRY.read_bytes().decode() == json.dumps(entry(), indent=2, sort_keys=True) + "\n"


def test_the_entry_and_cmake_name_the_same_extension() -> None:
    (name,) = re.findall(r"^project\((\w+)\)$", TEXT, re.MULTILINE)
    assert name == ENTRY.stem and not name.lower().startswith("slicer")
    assert entry()["category"] == metadata("CATEGORY") == "Segmentation"
    assert entry()["build_dependencies"] == metadata("DEPENDS").split()


def test_the_repository_is_the_homepage_and_is_named_after_the_extension() -> None:
    assert metadata("HOMEPAGE") == entry()["scm_url"]
    assert entry()["scm_url"].rsplit("/", 1)[1] == f"Slicer{ENTRY.stem}"
    assert not re.fullmatch("[0-9a-f]{7,40}", entry()["scm_revision"]), "a branch, not a commit"


def test_the_description_is_one_or_two_sentences() -> None:
    text = metadata("DESCRIPTION")
    assert text.endswith(".") and 1 <= len(re.findall(r"\.(?:\s|$)", text)) <= 2 and len(text) < 200


def test_the_icon_is_a_png_of_the_size_that_slicer_shows() -> None:
    assert png_size(local(metadata("ICONURL"))) == (128, 128)


def test_every_screenshot_is_there() -> None:
    for url in metadata("SCREENSHOTURLS").split():
        width, height = png_size(local(url))
        assert width >= 600 and height >= 300


def test_what_slicer_generates_is_included_last() -> None:
    order = [
        "find_package(Slicer REQUIRED)",
        "include(${Slicer_USE_FILE})",
        "add_subdirectory(FedSegExtension)",
        "## NEXT_MODULE",
        "include(${Slicer_EXTENSION_GENERATE_CONFIG})",
        "include(${Slicer_EXTENSION_CPACK})",
    ]
    places = [TEXT.index(line) for line in order]
    assert places == sorted(places) and "Slicer_SOURCE_DIR" not in TEXT


def test_the_licence_stands_at_the_root() -> None:
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout")
def test_the_checkout_is_far_below_the_indexs_limit() -> None:
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True, text=True)
    sizes = [
        (ROOT / name).stat().st_size for name in done.stdout.split("\0") if name and (ROOT / name).is_file()
    ]
    assert sum(sizes) < 20_000_000
