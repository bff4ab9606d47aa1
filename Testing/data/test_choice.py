from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.data.case import Case, Dataset
from FedSegCore.data.choice import choose_cases
from FedSegCore.data.labels import LabelSet
from FedSegCore.errors import StudyError


def cases_of(names: Iterable[str], *, labelled: bool = True) -> tuple[Case, ...]:
    return tuple(
        Case(name, (Path(f"{name}.nii"),), Path(f"{name}_seg.nii") if labelled else None) for name in names
    )


def numbered(number: int) -> list[str]:
    return [f"c{place:02d}" for place in range(number)]


def dataset(
    training: tuple[Case, ...],
    validation: tuple[Case, ...] = (),
    test: tuple[Case, ...] = (),
    *,
    listed: bool,
) -> Dataset:
    raw: dict[str, Any] = {"validation": []} if listed else {}
    return Dataset(Path("x"), "x", ("CT",), LabelSet({"Liver": (1,)}), training, validation, test, "", raw)


def names(cases: Iterable[Case]) -> list[str]:
    return [case.name for case in cases]


def test_without_a_validation_list_every_tenth_of_the_chosen_cases_validates() -> None:
    every = numbered(30)
    ruled = dataset(cases_of(every[:9] + every[10:]), cases_of(every[9:10]), listed=False)
    few = choose_cases(ruled, cases=[every[9], "c00", "c01"])
    assert (names(few.training), few.validation) == ([every[9], "c00", "c01"], ())
    many = choose_cases(ruled, cases=every[5:25], limit=4)
    assert names(many.validation) == ["c14", "c24"]
    assert names(many.training) == ["c05", "c06", "c07", "c08"]
    held = choose_cases(ruled, test_cases=["c00", "c01"])
    assert names(held.validation) == ["c11", "c21"]


def test_a_validation_list_is_kept() -> None:
    listed = dataset(cases_of(numbered(20)), cases_of(["v"]), listed=True)
    assert names(choose_cases(listed).validation) == ["v"]
    assert len(choose_cases(listed).training) == 20
    picked = choose_cases(listed, cases=["c00", "v"])
    assert (names(picked.training), names(picked.validation)) == (["c00"], ["v"])


def test_only_labelled_cases_test() -> None:
    test = (*cases_of(["t"]), *cases_of(["u"], labelled=False))
    choice = choose_cases(dataset(cases_of(["a"]), test=test, listed=True))
    assert (names(choice.test), names(choice.unlabelled)) == (["t"], ["u"])


def test_a_site_that_only_tests_falls_back_to_its_other_labelled_cases() -> None:
    training = (*cases_of(["a"]), *cases_of(["b"], labelled=False))
    bare = dataset(training, cases_of(["v"]), cases_of(["u"], labelled=False), listed=True)
    choice = choose_cases(bare, trains=False)
    assert names(choice.test) == ["a", "v"]
    assert not choice.training and not choice.validation
    assert names(choose_cases(bare, trains=False, limit=1).test) == ["a"]
    assert choose_cases(bare, trains=False, test_cases=["u"]).test == (), "the study names its cases itself"


def test_the_cases_of_a_site_that_only_tests_are_its_test_cases() -> None:
    outside = dataset(cases_of(["a", "b"]), test=cases_of(["t"]), listed=True)
    assert names(choose_cases(outside, trains=False, cases=["b"]).test) == ["b"]
    assert names(choose_cases(outside, trains=False, cases=["b"], test_cases=["t", "b"]).test) == ["b", "t"]


def test_a_case_named_for_both_is_refused() -> None:
    both = dataset(cases_of(["a", "b"]), test=cases_of(["t"]), listed=True)
    with pytest.raises(StudyError, match='"t" is to train and to test'):
        choose_cases(both, cases=["t"])
    with pytest.raises(StudyError, match='"a" is to train and to test'):
        choose_cases(both, cases=["a"], test_cases=["a"])
