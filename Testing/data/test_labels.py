from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from FedSegCore.data.labels import LabelSet, annotate, label_values, paint, renamed
from FedSegCore.errors import DataError


def kidneys() -> LabelSet:
    return LabelSet.parse({"background": 0, "Kidney": 1, "Tumour": 2, "Cyst": 3})


@pytest.mark.parametrize(
    "raw",
    [
        {"background": 0, "LV": 1, "RV": 2},
        {"0": "background", "1": "LV", "2": "RV"},
        {"0": "Background", "1": "LV", "2": "RV"},
        {"air": 0, "LV": 1.0, "RV": [2]},
    ],
)
def test_both_conventions_name_the_same_structures_without_background(raw: dict[str, Any]) -> None:
    assert LabelSet.parse(raw) == LabelSet({"LV": (1,), "RV": (2,)})


def test_a_list_of_numbers_is_a_region() -> None:
    parsed = LabelSet.parse({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3})
    assert parsed.values == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert parsed.overlapping([["whole"], ["core"]])
    assert not kidneys().overlapping([["Kidney", "Tumour"], ["Cyst"], []])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "must be an object"),
        (["LV"], "must be an object"),
        ({"1": "LV", "2": "LV"}, 'called "LV"'),
        ({"LV": 1, "RV": 1}, "same label value 1"),
        ({"whole": [1, 2], "all": [2, 1]}, "same label value"),
        ({"LV": "1"}, "neither"),
        ({"1": "2"}, "neither"),
        ({"LV": 1.5}, "not a whole number"),
        ({"LV": True}, "not a whole number"),
        ({"LV": -1}, "not a whole number"),
        ({"LV": None}, "not a whole number"),
        ({"LV": []}, "different values"),
        ({"LV": [0, 1]}, "different values"),
        ({"LV": [1, 1]}, "different values"),
        ({"LV": 1, "ignore": 2}, "ignore"),
    ],
)
def test_what_is_ambiguous_or_wrong_is_refused_with_a_sentence(raw: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        LabelSet.parse(raw, where="site/dataset.json")
    assert "site/dataset.json" in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_a_channel_is_the_union_of_its_groups_structures(dtype: type) -> None:
    label_map = np.array([0, 1, 2, 3, 1, 0], dtype=dtype).reshape(1, 2, 3)
    masks = kidneys().encode(label_map, [["Kidney", "Tumour"], ["Cyst"], []])
    assert masks.dtype == bool
    assert masks.reshape(3, 6).astype(int).tolist() == [
        [0, 1, 1, 0, 1, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_encoding_an_unknown_structure_names_the_nearest() -> None:
    with pytest.raises(DataError, match='"Tumor"') as caught:
        kidneys().encode(np.zeros((1, 1, 1)), [["Tumor"]])
    assert '"Tumour"' in caught.value.fix


def test_by_default_the_identical_names_are_annotated() -> None:
    annotation = annotate(["Liver", "Kidney", "Cyst"], kidneys())
    assert annotation.groups == ((), ("Kidney",), ("Cyst",))
    assert annotation.annotated == (False, True, True)


def test_several_names_of_a_site_map_to_one_of_the_study() -> None:
    annotation = annotate(["Kidney"], kidneys(), label_map={"Kidney": ["Kidney", "Tumour"]})
    assert annotation.groups == (("Kidney", "Tumour"),)


@pytest.mark.parametrize("annotates", [["Organ"], ["Kidney", "Tumour"]], ids=["study's name", "own names"])
def test_what_a_site_annotates_may_be_said_in_the_studys_or_its_own_names(annotates: list[str]) -> None:
    annotation = annotate(
        ["Organ", "Cyst"], kidneys(), annotates=annotates, label_map={"Organ": ["Kidney", "Tumour"]}
    )
    assert annotation.groups == (("Kidney", "Tumour"), ())


def test_half_of_a_mapped_structure_is_not_the_structure() -> None:
    annotation = annotate(
        ["Organ"], kidneys(), annotates=["Kidney"], label_map={"Organ": ["Kidney", "Tumour"]}
    )
    assert annotation.annotated == (False,)


@pytest.mark.parametrize(
    ("study", "options", "named", "hint"),
    [
        (["Kidney"], {"annotates": ["Kidny"]}, "Kidny", "Kidney"),
        (["Kidney", "Liver"], {"annotates": ["Liver"]}, "Liver", "label_map"),
        (["Kidney"], {"label_map": {"Kidny": ["Kidney"]}}, "Kidny", "Kidney"),
        (["Kidney"], {"label_map": {"Kidney": ["Tumor"]}}, "Tumor", "Tumour"),
        (["kidney", "Cyst"], {}, "kidney", "Kidney"),
        (["Spleen"], {}, "Spleen", "label_map"),
    ],
)
def test_a_name_that_nobody_knows_is_refused_with_the_nearest(
    study: list[str], options: dict[str, Any], named: str, hint: str
) -> None:
    with pytest.raises(DataError, match=named) as caught:
        annotate(study, kidneys(), **options)
    assert hint in caught.value.fix


def test_label_values_are_the_sites_where_they_agree() -> None:
    a = LabelSet.parse({"Anterior": 1})
    b = LabelSet.parse({"0": "background", "2": "Posterior"})
    both = LabelSet.parse({"Posterior": 2, "Anterior": 1})
    assert label_values([a, b, both], ["Posterior", "Anterior"]) == {"Posterior": 2, "Anterior": 1}


def test_a_regions_value_belongs_to_it_and_to_none_inside_it() -> None:
    tumour = LabelSet.parse({"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3})
    found = {"whole": 2, "core": 1, "enhancing": 3}
    assert label_values([tumour], tumour.names) == found
    outlined = LabelSet.parse({"whole": [1, 2, 3]})
    for sets in ([tumour, outlined], [outlined, tumour]):
        assert label_values(sets, tumour.names) == found, "a site that knows the outer region alone agrees"


def test_the_value_of_merged_structures_is_that_of_the_first_name_in_the_map() -> None:
    liver = LabelSet.parse({"Liver": 5, "Kidney": 1, "Tumour": 2})
    annotation = annotate(["Liver", "Kidney"], liver, label_map={"Liver": ["Liver", "Tumour"]})
    merged = renamed(liver, annotation)
    assert merged.values == {"Liver": (5, 2), "Kidney": (1,)}
    assert label_values([merged], ["Liver", "Kidney"]) == {"Liver": 5, "Kidney": 1}
    whole = LabelSet.parse({"Liver": 2, "Kidney": 1})
    assert label_values([merged, whole], ["Liver", "Kidney"]) == {"Liver": 2, "Kidney": 1}


@pytest.mark.parametrize(
    "sets",
    [
        [{"A": 3, "B": 4}, {"A": 5}],
        [{"A": 3}, {"B": 3}],
        [{"A": 1, "B": [2, 3]}, {"B": 4}],
        [{"A": [3, 4], "B": [4, 5], "C": [3, 5]}],
        [{"A": 3}],
        [{"A": 300, "B": 1}],
        [],
    ],
    ids=[
        "disagree",
        "collide",
        "a region and another value",
        "crossing",
        "nowhere",
        "beyond uint8",
        "no site",
    ],
)
def test_label_values_count_up_where_the_sites_do_not_agree(sets: list[dict[str, Any]]) -> None:
    assert label_values([LabelSet.parse(raw) for raw in sets], ["A", "B"]) == {"A": 1, "B": 2}


def test_later_regions_are_painted_over_earlier_ones() -> None:
    regions = np.zeros((2, 1, 1, 4), dtype=bool)
    regions[0, ..., :3] = True
    regions[1, ..., 1] = True
    for values in ([7, 9], {"whole": 7, "core": 9}):
        label_map = paint(regions, values)
        assert label_map.dtype == np.uint8
        assert label_map.ravel().tolist() == [7, 9, 7, 0]


def test_painting_undoes_encoding() -> None:
    label_map = np.random.default_rng(0).integers(0, 4, (5, 6, 7))
    groups = [["Kidney"], ["Tumour"], ["Cyst"]]
    masks = kidneys().encode(label_map, groups)
    assert np.array_equal(paint(masks, label_values([kidneys()], kidneys().names)), label_map)
