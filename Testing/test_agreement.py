"""What a study agrees on, from the words of its sites alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.agreement import Agreement, agree
from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.errors import DataError, FedSegError, ModelFileError, StudyError
from FedSegCore.federation import wire
from FedSegCore.federation.joining import Joining
from FedSegCore.study import Study, parse_study

GIVEN = {"auto": False, "patch": [16, 16, 16]}


def study(*roles: str, **keys: Any) -> Study:
    """A study of sites a, b, ... with the given roles; none of their folders exists."""
    sites = [{"name": "abc"[place], "data": "nowhere", "role": role} for place, role in enumerate(roles)]
    return parse_study({"name": "x", "method": "fedavg", "plan": GIVEN, "site": sites, **keys}, Path())


def told(
    name: str, *, modalities: Sequence[str] = ("CT",), num_cases: int = 2, **values: Sequence[int]
) -> Joining:
    """What a site says that annotates some structures."""
    values = values or {"Liver": (1,)}
    return Joining(name, modalities, tuple(values), values, num_cases, "CC0", {})


def by_name(*joinings: Joining) -> dict[str, Joining]:
    return {joining.name: joining for joining in joinings}


AGREED = Agreement(
    ("Kidney", "Liver"), {"Kidney": 2, "Liver": 1}, False, (("CT", "MR"),),
    Plan(3, spacing_mm=(1.0, 1.0, 2.5), patch=(16, 16, 8), intensity={"CT": Intensity("window", -160, 240)}), 4,
)  # fmt: skip


def test_structures_stand_in_the_order_in_which_the_studys_sites_bring_them() -> None:
    joinings = by_name(told("b", Liver=(1,), Spleen=(3,)), told("a", Kidney=(2,), Liver=(1,)))
    assert agree(study("member", "member"), joinings).labels == ("Kidney", "Liver", "Spleen")


def test_the_studys_own_list_holds() -> None:
    joinings = by_name(told("a", Kidney=(2,), Liver=(1,)))
    assert agree(study("member", labels=["Liver", "Kidney"]), joinings).labels == ("Liver", "Kidney")


def test_a_structure_that_no_site_told_of_is_refused_with_the_nearest() -> None:
    with pytest.raises(StudyError, match='"Lever"') as caught:
        agree(study("member", labels=["Lever"]), by_name(told("a")))
    assert '"Liver"' in caught.value.fix


def test_values_are_the_sites_own_where_those_agree() -> None:
    whole = study("member", "outside")
    assert agree(whole, by_name(told("a", Liver=(7,)), told("b", Liver=(7,)))).values == {"Liver": 7}
    assert agree(whole, by_name(told("a", Liver=(7,)), told("b", Liver=(3,)))).values == {"Liver": 1}


def test_values_of_structures_that_nobody_brings_do_not_count() -> None:
    organ = Joining("a", ("CT",), ("Organ",), {"Organ": (1, 2), "Liver": (1,), "Kidney": (2,)}, 2, "", {})
    found = agree(study("member"), {"a": organ})
    assert (found.labels, found.values, found.overlapping) == (("Organ",), {"Organ": 1}, False)


def test_structures_overlap_where_a_members_values_do() -> None:
    inside = {"Tumour": (1, 2), "Core": (2,)}
    apart = {"Tumour": (1,), "Core": (2,)}
    whole = study("member", "outside")
    assert agree(whole, by_name(told("a", **inside), told("b", **apart))).overlapping
    assert not agree(whole, by_name(told("a", **apart), told("b", **inside))).overlapping


def test_sites_of_one_modality_each_share_one_input() -> None:
    joinings = by_name(told("a", modalities=("CT",)), told("b", modalities=("MR",)))
    assert agree(study("member", "member"), joinings).inputs == (("CT", "MR"),)


def test_a_site_of_two_modalities_gives_each_an_input_and_an_outside_site_none() -> None:
    joinings = by_name(
        told("a", modalities=("T1",)), told("b", modalities=("FLAIR", "T1")), told("c", modalities=("PET",))
    )
    assert agree(study("member", "server", "outside", method="fedmepd"), joinings).inputs == (
        ("T1",),
        ("FLAIR",),
    )


def test_a_site_that_has_not_joined_has_no_say() -> None:
    found = agree(study("member", "member"), by_name(told("b", Spleen=(4,))))
    assert (found.labels, found.values) == (("Spleen",), {"Spleen": 4})


def test_without_a_site_that_trains_there_is_nothing_to_agree_on() -> None:
    with pytest.raises(StudyError, match="No site that trains has joined"):
        agree(study("member", "outside"), by_name(told("b")))


def test_a_site_without_the_passport_that_the_plan_needs_is_named() -> None:
    with pytest.raises(DataError, match="Site a: This is not a passport"):
        agree(study("member", plan={}), by_name(told("a")))


@pytest.mark.parametrize(
    "odd", [told("a", modalities=()), told("a", num_cases=0), told("a", Liver=(0,)), told("a", Liver=(-1, 2))]
)
def test_what_no_dataset_has_is_refused_and_its_site_named(odd: Joining) -> None:
    with pytest.raises(DataError, match="Site a joined"):
        agree(study("member"), {"a": odd})


def test_an_outside_site_needs_no_case_to_train_with() -> None:
    joinings = by_name(told("a"), told("b", num_cases=0, Liver=(1,)))
    assert agree(study("member", "outside"), joinings).labels == ("Liver",)


def test_a_patch_that_the_network_cannot_halve_is_refused() -> None:
    whole = study("member", plan={"auto": False, "patch": [16, 16, 15]})
    with pytest.raises(StudyError, match="does not fit the network"):
        agree(whole, by_name(told("a")))


def test_what_came_over_the_wire_comes_to_the_same() -> None:
    joinings = by_name(told("a", Tumour=(1, 2), Core=(2,)), told("b", modalities=("MR", "PET"), Core=(2,)))
    sent = {name: wire.decode(Joining, wire.encode(one)) for name, one in joinings.items()}
    whole = study("member", "member")
    assert agree(whole, sent) == agree(whole, joinings)


def test_a_joining_whose_values_are_no_numbers_is_refused_on_the_wire() -> None:
    with pytest.raises(ModelFileError, match="values"):
        wire.decode(Joining, wire.encode(told("a", Liver="12")))


def test_an_agreement_comes_back_from_json_as_it_was() -> None:
    again = Agreement.from_dict(json.loads(json.dumps(AGREED.to_dict(), sort_keys=True)))
    assert again == AGREED
    assert list(again.values) == list(AGREED.labels)
    free = replace(AGREED, plan=Plan(2, patch=(64, 64)))
    assert Agreement.from_dict(json.loads(json.dumps(free.to_dict()))) == free


WRONG: list[dict[str, Any]] = [
    {"labels": []},
    {"labels": ["Kidney"]},
    {"labels": ["Kidney", "Kidney"]},
    {"values": {"Kidney": 1, "Liver": 1}},
    {"values": {"Kidney": 0, "Liver": 1}},
    {"values": {"Kidney": 256, "Liver": 1}},
    {"values": {"Kidney": True, "Liver": 2}},
    {"overlapping": 1},
    {"inputs": []},
    {"inputs": [[]]},
    {"inputs": ["CT"]},
    {"plan": {"dims": 3}},
    {"plan": None},
    {"depth": 0},
    {"depth": "4"},
    {"patients": ["Jane"]},
]


@pytest.mark.parametrize("keys", WRONG, ids=str)
def test_another_agreement_than_a_study_can_have_is_refused_in_a_sentence(keys: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match="agreement cannot be used") as caught:
        Agreement.from_dict({**AGREED.to_dict(), **keys})
    assert caught.value.fix and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(AGREED.to_dict()))
def test_a_missing_key_is_refused(key: str) -> None:
    raw = AGREED.to_dict()
    del raw[key]
    with pytest.raises(ModelFileError, match="its keys are not"):
        Agreement.from_dict(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(place=st.sampled_from([*AGREED.to_dict(), *AGREED.plan.to_dict()]), value=JSON)
def test_any_json_is_an_agreement_or_a_sentence(place: str, value: Any) -> None:
    raw = AGREED.to_dict()
    (raw if place in raw else raw["plan"])[place] = value
    try:
        assert isinstance(Agreement.from_dict(raw), Agreement)
    except FedSegError as error:
        assert isinstance(error, ModelFileError)
