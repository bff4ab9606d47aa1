from __future__ import annotations

from typing import Any

import pytest

from FedSegCore.errors import StudyError
from FedSegCore.methods.averaging import EVERYTHING, Averaging
from FedSegCore.methods.registry import METHODS, method_names, named


def test_the_averaging_family_is_known_by_name() -> None:
    wanted = {
        "fedavg",
        "fedprox",
        "fedbn",
        "fedper",
        "ditto",
        "local",
        "central",
        "fedgin",
        "iopfl",
        "segviz",
    }
    assert wanted <= set(method_names())


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("fedavg", Averaging()),
        ("fedprox", Averaging(proximal=0.01)),
        ("fedbn", Averaging(private=("norm",))),
        ("fedper", Averaging(private=("head",))),
        ("ditto", Averaging(ditto=0.1)),
        ("iopfl", Averaging(personal=0.1, keep_optimizer=False)),
        ("local", Averaging(private=EVERYTHING)),
    ],
)
def test_each_name_stands_for_its_ingredients(name: str, method: Averaging) -> None:
    assert named(name, {}).method == method


@pytest.mark.parametrize("name", ["fedbn", "segviz"])
def test_methods_that_keep_norms_are_built_for_batch_norm(name: str) -> None:
    assert named(name, {}).norm == "batch"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("fedgan", "fedgin"),
        ("FedAvg", "fedavg"),
        ("fed_prox", "fedprox"),
        ("segvis", "segviz"),
        ("centrl", "central"),
    ],
)
def test_an_unknown_method_names_the_nearest(given: str, meant: str) -> None:
    with pytest.raises(StudyError, match=f'Unknown method "{given}"') as caught:
        named(given, {})
    assert caught.value.fix == f'Did you mean "{meant}"?'


def test_options_are_laid_over_the_papers_defaults() -> None:
    method = named("fedprox", {"mu": 0.5, "weighting": "uniform", "keep_optimizer": False}).method
    assert method == Averaging(proximal=0.5, weighting="uniform", keep_optimizer=False)
    assert named("ditto", {"lambda": 2}).method.ditto == 2.0
    assert named("fedavg", {"personal": 0.2}).method.personal == 0.2
    assert named("fedavg", {"finetune": 3, "finetune_parts": ["head"]}).method == Averaging(
        finetune=3, finetune_parts=("head",)
    )


def test_a_methods_own_table_concerns_it_alone() -> None:
    options = {"weighting": "uniform", "ditto": {"lambda": 3.0}, "fedprox": {"weighting": "cases"}}
    assert named("ditto", options).method == Averaging(ditto=3.0, weighting="uniform")
    assert named("fedprox", options).method == Averaging(proximal=0.01)


@pytest.mark.parametrize("name", ["local", "central"])
def test_baselines_ignore_ingredients_of_federation(name: str) -> None:
    assert named(name, {"mu": 1.0, "private": ["head"], "personal": 0.1}).method == METHODS[name].method


def test_only_central_may_count_unannotated_structures_as_background() -> None:
    assert not named("central", {"masked": False}).masked
    assert named("central", {}).masked
    assert named("fedavg", {"masked": False}).masked


def test_the_form_concerns_segviz_alone() -> None:
    assert named("segviz", {"form": "masked"}).method.private == ("norm",)
    assert named("fedavg", {"form": "masked"}).method == Averaging()


@pytest.mark.parametrize(
    ("options", "message", "fix"),
    [
        ({"momentun": 0.1}, 'Unknown key "momentun"', ""),
        ({"proximall": 0.1}, 'Unknown key "proximall"', '"proximal"'),
        ({"privat": ["head"]}, 'Unknown key "privat"', '"private"'),
        ({"private": ["heads"]}, "got 'heads'", '"head"'),
        ({"private": "head"}, "must be a list", ""),
        ({"finetune_parts": ["attention"]}, "got 'attention'", ""),
        ({"weighting": "case"}, "got 'case'", '"cases"'),
        ({"mu": "strong"}, "must be a number", ""),
        ({"mu": True}, "must be a number", ""),
        ({"finetune": 1.5}, "must be a whole number", ""),
        ({"masked": "no"}, "must be true or false", ""),
        ({"form": "mask"}, "got 'mask'", '"masked"'),
        ({"mu": -1}, "expected 0 or more", ""),
        ({"personal": 2.0}, "expected 0 to 1", ""),
        ({"fedavg": 3}, "must be a table", ""),
        ({"fedgan": {"mu": 1.0}}, 'Unknown method "fedgan"', '"fedgin"'),
        ({"fedavg": {"muu": 1.0}}, 'Unknown key "muu"', '"mu"'),
    ],
    ids=str,
)
def test_a_wrong_option_is_one_sentence(options: dict[str, Any], message: str, fix: str) -> None:
    with pytest.raises(StudyError) as caught:
        named("fedavg", options)
    assert message in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


def test_a_table_may_name_a_method_of_its_own_that_is_like_another() -> None:
    options = {
        "weighting": "uniform",
        "central+gin": {"like": "central", "augment": "gin", "gin_balance": True},
        "fedprox-strong": {"like": "fedprox", "mu": 1.0},
    }
    pooled, strong = named("central+gin", options), named("fedprox-strong", options)
    assert (pooled.name, pooled.pooled) == ("central+gin", True)
    assert pooled.training == {"augment": "gin", "gin_balance": True}
    assert pooled.method == METHODS["central"].method
    assert strong.method == Averaging(proximal=1.0, weighting="uniform")
    assert named("central", options).training == {}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mine": {"like": "fedgan"}}, "fedgin"),
        ({"mine": {"augment": "gin"}}, "mine"),
        ({"mine": {"like": "fedgin", "gin_kernels": [2]}}, "gin_kernels"),
        ({"mine": {"like": "fedgin", "augment": "gim"}}, "augment"),
        ({"mine": {"like": "fedgin", "augment_probability": 5.0}}, "augment_probability"),
        ({"mine": {"like": "fedgin", "augment_probability": float("nan")}}, "augment_probability"),
        ({"mine": {"like": 3}}, "3"),
    ],
)
def test_a_method_of_the_studys_own_naming_that_cannot_be_made_is_refused(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(StudyError, match=told):
        named("mine", options)


def test_a_known_methods_name_cannot_stand_for_another_one() -> None:
    with pytest.raises(StudyError, match="a method of its own"):
        named("fedavg", {"fedavg": {"like": "fedgin"}})


def test_a_name_that_is_no_folders_is_refused() -> None:
    with pytest.raises(StudyError, match="cannot be called"):
        named("../up", {"../up": {"like": "fedavg"}})


def test_one_methods_augmentation_stands_in_its_own_table() -> None:
    with pytest.raises(StudyError, match=r"\[train\]"):
        named("fedavg", {"augment": "gin"})


@pytest.mark.parametrize(("name", "schedule"), [("fedavg", "cosine"), ("iopfl", "constant")])
def test_moving_averages_follow_a_constant_rate_unless_the_study_says_otherwise(
    name: str, schedule: str
) -> None:
    assert named(name, {}).schedule == schedule
