from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.data.passport import Passport
from FedSegCore.errors import StudyError
from FedSegCore.federation.calibration import BankCounts
from FedSegCore.federation.client import _TASKS
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.ledger import read_lines
from FedSegCore.federation.method import Offer
from FedSegCore.hospital import leaving as words
from FedSegCore.hospital.leaving import leaving, what_leaves, what_never_leaves
from FedSegCore.methods.averaging import AveragingUpdate
from FedSegCore.methods.fedmepd.states import FedMEPDUpdate
from FedSegCore.methods.registry import METHODS
from FedSegCore.simulation import calibrating
from FedSegCore.study import Study, parse_study
from Testing.command import Finished


def study_of(method: str | list[str], *, publish: bool = False, **keys: Any) -> Study:
    sites = [{"name": "north", "data": "x", "publish_personal": publish}, {"name": "south", "data": "y"}]
    if "fedmepd" in method:
        sites.append({"name": "full", "data": "z", "role": "server"})
    many = {"methods": method} if isinstance(method, list) else {"method": method}
    return parse_study({"name": "liver", **many, "site": sites, **keys}, Path())


def told(method: str | list[str], kind: str, **keys: Any) -> str:
    return " ".join(leaving(study_of(method, **keys), "north").get(kind, []))


def names_of(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


def test_every_field_of_every_message_has_its_words() -> None:
    assert names_of(Joining) == {*words._JOINING, "passport"}
    assert names_of(Passport) == set(words._PASSPORT)
    assert names_of(AveragingUpdate) == {"weights", "dice", "scalars", "loss"}
    assert names_of(FedMEPDUpdate) == {"weights", "dice", "loss", "entropy"}
    assert names_of(Offer) == {"personal", "private"}
    assert names_of(BankCounts) == {"good", "poor"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_can_be_put_into_words(method: str) -> None:
    study = study_of(["fedavg", method, "fedmepd"] if method == "server" else [method])
    assert all(sentence.endswith(".") for sentence in what_leaves(study, "north"))


def test_the_kinds_are_those_that_a_client_answers_with(finished: Finished) -> None:
    lines = read_lines(finished.out / "ledger.jsonl")
    kinds = leaving(study_of("fedgin", outside_models=["routed"]), "north")
    assert {line["kind"] for line in lines} <= set(kinds)
    assert set(kinds) == {"join", "update", "publish", "calibrate"}
    assert len(kinds) == len(_TASKS) + 1, "and joining, which is no answer"


@pytest.mark.parametrize(
    "text", ["name", "modalities", "structures", "training cases", "licence", "label maps"]
)
def test_joining_tells_who_the_site_is(text: str) -> None:
    assert text in told("fedavg", "join")


def test_the_passport_leaves_only_where_the_plan_is_made_from_it() -> None:
    assert "passport" in told("fedavg", "join")
    assert "passport" not in told("fedavg", "join", plan={"auto": False, "patch": [8, 8, 8]})


def test_an_update_is_weights_loss_and_dice_of_the_named_structures() -> None:
    text = told("fedavg", "update", labels=["Liver", "Spleen"], rounds=7)
    assert "7 rounds" in text and "all weights" in text and "loss" in text
    assert "Dice" in text and "Liver, Spleen" in text
    assert "distinct images" not in text and "anchors" not in text


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("fedbn", "all weights of the network but for the norm layers,"),
        ("fedper", "but for the last layer (head),"),
        ("segviz", "but for the norm layers and the last layer (head),"),
        ("local", "no weights"),
        ("fedmepd", "weights of its encoders"),
    ],
)
def test_private_parts_are_not_among_the_weights_that_leave(method: str, said: str) -> None:
    assert said in told(method, "update")


def test_the_statistics_that_shared_batch_norms_keep_are_named() -> None:
    assert "means and variances" in told("fedavg", "update", network={"norm": "batch"})
    assert "means and variances" not in told("fedavg", "update")
    assert "means and variances" not in told("fedbn", "update")


def test_the_number_of_distinct_images_leaves_where_sites_are_weighted_by_it() -> None:
    options = {"fedavg": {"weighting": "modality", "augment": "flow"}}
    assert "distinct images" in told("fedavg", "update", method_options=options)


@pytest.mark.parametrize(
    ("decoder", "said"),
    [("partial", "not personal"), ("shared", "of the decoder"), ("private", "encoders alone")],
)
def test_of_fedmepds_decoder_leaves_what_the_study_shares(decoder: str, said: str) -> None:
    text = told("fedmepd", "update", method_options={"decoder": decoder})
    assert said in text and "attend to the class anchors" in text


def test_a_personal_model_leaves_only_with_permission_and_where_there_is_one() -> None:
    assert "own model, which everyone" in told("iopfl", "publish", publish=True)
    kept = told("iopfl", "publish")
    assert "without any weights" in kept and "stays here" in kept
    assert "own model" not in told("fedavg", "publish", publish=True)


def test_segviz_gives_its_private_parts_away_once() -> None:
    assert "the norm layers and the last layer (head)" in told("segviz", "publish")


@pytest.mark.parametrize(
    ("method", "keys", "asked"),
    [
        ("fedavg", {}, False),
        ("iopfl", {}, True),
        ("iopfl", {"outside_models": ["global"]}, False),
        ("fedavg", {"outside_models": ["global", "routed"]}, True),
        ("central", {"outside_models": ["routed"]}, False),
    ],
)
def test_calibration_counts_leave_where_routing_is_asked_for(
    method: str, keys: dict[str, Any], asked: bool
) -> None:
    assert ("disagree" in told(method, "calibrate", **keys)) is asked


def test_the_words_about_calibration_are_true() -> None:
    assert (calibrating._CASES, calibrating._FEWEST) == (4, 3)
    assert "four of its validation cases" in told("iopfl", "calibrate")
    assert "fewer than three" in told("iopfl", "calibrate")


def test_what_is_trained_at_one_place_takes_nothing_from_a_site() -> None:
    assert set(leaving(study_of(["central"]), "north")) == {"join"}


def test_each_method_of_a_study_is_named_and_several_seeds_are_too() -> None:
    sentences = what_leaves(study_of(["fedavg", "segviz"], seeds=[0, 1]), "north")
    for method in ("fedavg", "segviz"):
        assert any(f"rounds of {method} (for each of 2 seeds)" in sentence for sentence in sentences)


@pytest.mark.parametrize("site", ["nobody", "full"])
def test_a_site_that_is_no_member_is_refused(site: str) -> None:
    with pytest.raises(StudyError, match="no member"):
        what_leaves(study_of("fedmepd"), site)


def test_images_and_names_are_what_never_leaves() -> None:
    text = " ".join(what_never_leaves())
    assert "Images" in text and "Names of cases" in text and "private key" in text
