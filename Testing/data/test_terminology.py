from __future__ import annotations

import re

import pytest

from FedSegCore.data.structures import ROWS
from FedSegCore.data.terminology import UNKNOWN, term_of

KIDNEY = "SCT^64033007^Kidney"


def kind_and_side(name: str) -> tuple[str, str]:
    kind, side = term_of(name).entry.split("~")[2:4]
    return kind, side


def test_an_entry_has_the_parts_that_slicer_writes() -> None:
    assert term_of("Liver").entry == (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
        "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
    )
    assert term_of("Liver").colour == pytest.approx((221 / 255, 130 / 255, 101 / 255))


def test_an_unknown_name_is_the_tissue_that_slicer_gives_new_segments() -> None:
    assert term_of("Segment_1") is UNKNOWN and UNKNOWN.colour is None
    assert UNKNOWN.entry == (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~"
        "Anatomic codes - DICOM master list~^^~^^"
    )


@pytest.mark.parametrize("name", ["left kidney", "Kidney_Left", "KIDNEY-L", "leftKidney", "kidney (left)"])
def test_a_side_may_stand_anywhere_in_a_name(name: str) -> None:
    assert kind_and_side(name) == (KIDNEY, "SCT^7771000^Left")


def test_a_structure_of_both_sides_or_of_none_said_is_known_too() -> None:
    assert kind_and_side("kidneys") == (KIDNEY, "SCT^51440002^Right and left")
    assert kind_and_side("Kidney") == (KIDNEY, "^^")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("right_ventricle", "53085002"),
        ("lateral ventricle right", "66720007"),
        ("Hippocampus head", "5366008"),
        ("left anterior hippocampus", "5366008"),
        ("whole tumour", "108369006"),
        ("Peritumoral oedema", "79654002"),
        ("grey matter", "389081007"),
        ("brainstem", "119238007"),
        ("IVC", "64131007"),
    ],
)
def test_spelling_and_common_other_names_do_not_matter(name: str, code: str) -> None:
    assert term_of(name).entry.split("~")[2].split("^")[1] == code


@pytest.mark.parametrize(
    "name",
    [
        "",
        "LV",
        "Anterior",
        "left liver",
        "livers",
        "left right kidney",
        "kidneys left",
        "liver tumor",
        "leber",
    ],
)
def test_what_is_not_said_is_not_guessed(name: str) -> None:
    assert term_of(name) is UNKNOWN


def test_no_name_is_two_structures_and_no_entry_breaks_the_file() -> None:
    found: dict[str, str] = {}
    for line in ROWS.strip().splitlines():
        if line.startswith("#"):
            continue
        meaning, code, category, listed, *rest = (part.strip() for part in line.split("|"))
        assert (
            code.isdigit() and category in ("anatomy", "altered", "tissue") and listed in ("general", "dicom")
        )
        assert not rest or re.fullmatch(r"(\d{1,3} \d{1,3} \d{1,3})?", rest[0]), line
        for name in (meaning, *(other for part in rest[2:] for other in part.split(","))):
            assert found.setdefault(name.strip().casefold(), code) == code, line
            entry = term_of(name).entry
            assert entry.count("~") == 6 and f"^{code}^" in entry and not set(entry) & set("|:\n")
