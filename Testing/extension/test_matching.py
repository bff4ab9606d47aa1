"""Segments find their structures by code and name."""

from __future__ import annotations

import pytest
from FedSegLib.matching import Segment, match
from FedSegLib.terminology import structureCode

LIVER, KIDNEY = "SCT^10200004", "SCT^64033007"
DATASET = {"Liver": LIVER, "Left kidney": f"{KIDNEY}|SCT^7771000", "Tumour": ""}
LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
CONTEXT = f"{LIST}~SCT^123037004^Anatomical Structure"
TISSUE = f"{LIST}~SCT^85756007^Tissue"
ALTERED = f"{LIST}~SCT^49755003^Morphologically Altered Structure"
REGIONS = "Anatomic codes - DICOM master list"


def segments(*told: tuple[str, str]) -> list[Segment]:
    return [Segment(f"Segment_{place}", name, code) for place, (name, code) in enumerate(told)]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (f"{CONTEXT}~SCT^10200004^Liver~^^~{REGIONS}~^^~^^", LIVER),
        (f"{CONTEXT}~SCT^64033007^Kidney~SCT^7771000^Left~{REGIONS}~^^~^^", DATASET["Left kidney"]),
        (f"{TISSUE}~SCT^85756007^Tissue~^^~{REGIONS}~^^~^^", ""),
        (f"{TISSUE}~SCT^85756007^Tissue~^^~{REGIONS}~SCT^10200004^Liver~^^", "SCT^85756007|SCT^10200004"),
        (f"{ALTERED}~SCT^4147007^Mass~^^~{REGIONS}~SCT^10200004^Liver~^^", "SCT^4147007|SCT^10200004"),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_a_code_is_what_tells_structures_apart(entry: str, code: str) -> None:
    assert structureCode(entry) == code


def test_a_code_finds_a_structure_whatever_the_segment_is_called() -> None:
    assert match(segments(("Foie", LIVER)), DATASET).structures == {"Segment_0": "Liver"}


def test_a_name_finds_a_structure_whatever_its_capitals_and_spaces() -> None:
    found = match(segments(("left_KIDNEY ", ""), ("tumour", "")), DATASET)
    assert found.structures == {"Segment_0": "Left kidney", "Segment_1": "Tumour"}
    assert found.absent == ("Liver",) and not found.problems


def test_the_order_of_the_segments_means_nothing() -> None:
    told = [("Tumour", ""), ("Liver", "")]
    forward, backward = match(segments(*told), DATASET), match(segments(*reversed(told)), DATASET)
    assert forward.structures == {"Segment_0": "Tumour", "Segment_1": "Liver"}
    assert backward.structures == {"Segment_0": "Liver", "Segment_1": "Tumour"}


def test_segments_of_other_structures_are_told_and_left_out() -> None:
    found = match(segments(("Liver", ""), ("Spleen", "SCT^78961009")), DATASET)
    assert found.ignored == ("Spleen",) and found.structures == {"Segment_0": "Liver"}


def test_a_name_and_a_code_that_differ_are_refused() -> None:
    (problem,) = match(segments(("Left kidney", LIVER)), DATASET).problems
    assert problem.text == "The segment Left kidney is named Left kidney and has the terminology of Liver."


def test_two_segments_of_one_structure_are_refused() -> None:
    (problem,) = match(segments(("Liver", ""), ("Lobe", LIVER)), DATASET).problems
    assert problem.text == "Liver, Lobe are all Liver."


def test_structures_of_one_code_are_told_apart_by_name() -> None:
    lobes = {"Upper": LIVER, "Lower": LIVER}
    assert match(segments(("lower", LIVER)), lobes).structures == {"Segment_0": "Lower"}
    assert not match(segments(("middle", LIVER)), lobes).structures


def test_a_drawing_without_any_of_the_structures_is_refused() -> None:
    (problem,) = match(segments(("Segment_1", "")), DATASET).problems
    assert "Liver, Left kidney, Tumour" in problem.text
