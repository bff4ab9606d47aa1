"""What the coordinator answers its sites, whatever they tell."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from FedSegCore.agreement import agree
from FedSegCore.coordinator.roster import Refused
from FedSegCore.data.phantom import write_phantom_dataset
from FedSegCore.errors import StudyError
from FedSegCore.federation.joining import Joining
from FedSegCore.setting import read_sites
from FedSegCore.sitedata import declare
from FedSegCore.study import Study, parse_study
from Testing.coordinator.doors import FakeSuperLink, House, joining

ODD = st.sampled_from(
    [0, -1, 10**9, 10**30, 1e308, float("nan"), float("inf"), 5e-324, "x", "", [], {}, None, True, [1], {"a": 1}]
)  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Joining]:
    """A study of one site, and what it tells."""
    folder = tmp_path_factory.mktemp("told")
    write_phantom_dataset(folder / "north", cases=1, seed=0, shape=(16, 16, 16))
    study = parse_study(
        {"name": "s", "method": "fedavg", "site": [{"name": "north", "data": "north"}]}, folder
    )
    (site,) = read_sites(study.sites)
    return study, declare(site, within=None, passport=True)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, link: FakeSuperLink) -> House:
    return House(tmp_path_factory.mktemp("lasting"), link)


@settings(max_examples=150)
@given(st.data())
def test_a_passport_of_impossible_numbers_is_refused_in_a_sentence_and_not_kept(
    told: tuple[Study, Joining], lasting: House, data: st.DataObject
) -> None:
    study, honest = told
    passport = json.loads(json.dumps(dict(honest.passport)))
    place: Any = passport
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 3)):
            place = place[key]
            continue
        place[key] = data.draw(ODD)
        break
    kept: list[Joining] = []
    lasting.roster.join = lambda site, told: kept.append(lasting.roster.decode(site, told))  # type: ignore[method-assign]
    lasting.hub._welcome = lambda one: agree(study, {"north": one}) and None
    try:
        lasting.hub.join("north", joining(**{**_facts(honest), "passport": passport}))
    except Refused as refused:
        assert refused.status in (400, 409) and refused.message.isprintable()
        assert not kept


def _facts(one: Joining) -> dict[str, Any]:
    names = ("modalities", "labels", "values", "num_cases", "licence")
    return {name: copy.deepcopy(getattr(one, name)) for name in names}


def test_why_a_word_was_refused_stands_on_the_board(house: House) -> None:
    house.refusal = StudyError("north annotates Spleen; the study has Liver.", "Name the structures.")
    with pytest.raises(Refused, match="Spleen"):
        house.hub.join("north", joining())
    facts = house.board.snapshot()["sites"]["north"]
    assert (facts["state"], facts["refused"]) == ("enrolled", "north annotates Spleen; the study has Liver.")
    house.refusal = None
    house.hub.join("north", joining())
    assert "refused" not in house.board.snapshot()["sites"]["north"]


def test_a_site_that_is_turned_away_hears_why_and_may_join_with_another_word(house: House) -> None:
    house.hub.join("north", joining())
    house.hub.turn_away("north", "It does not go together with the others.", "Make the passport again.")
    assert house.roster.joined() == {}
    house.hub.agree({"agreement": {}})
    with pytest.raises(Refused, match="does not go together") as caught:
        house.hub.study("north")
    assert caught.value.status == 409
    house.hub.join("north", joining(num_cases=4))
    assert house.hub.study("north") == {"agreement": {}}


def test_who_has_not_joined_is_not_told_what_the_others_agreed_on(house: House) -> None:
    with pytest.raises(Refused, match="has not joined"):
        house.hub.study("north")
    house.hub.agree({"agreement": {}})
    with pytest.raises(Refused, match="has not joined"):
        house.hub.study("north")


def test_a_site_that_leaves_loses_its_connection_and_its_word(house: House) -> None:
    house.hub.join("north", joining())
    house.hub.attach("north")
    house.hub.leave("north")
    assert house.link.attached == ["north", "not north"]
    assert house.roster.joined() == {}
    with pytest.raises(Refused, match="has left"):
        house.hub.site_of(house.north.credential)


def test_a_site_hears_of_the_others_their_states_alone(house: House) -> None:
    house.hub.join("north", joining(licence="held by Dr Mueller"))
    house.roster.enrol("south", "token of south", house.south.engine_key)
    heard = json.dumps(house.hub.state("south"))
    assert "Mueller" not in heard and "Liver" not in heard
    assert str(house.folder) not in heard and "seen" not in heard


def test_anybody_hears_of_the_study_its_name_and_versions_alone(house: House) -> None:
    assert set(house.hub.descriptor()) == {"format", "study", "fedseg", "engine", "identity", "time", "state"}


def test_a_published_model_is_told_with_its_hash_and_served_by_its_name_alone(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "global.safetensors"
    path.write_bytes(b"weights")
    house.hub.publish("run", {"global.safetensors": (path, {"labels": ["Liver"]})})
    (facts,) = house.hub.models()["models"]
    assert facts["bytes"] == 7 and str(tmp_path) not in json.dumps(facts)
    assert house.hub.model("run", "global.safetensors") == path
    for run, file in (
        ("run", "../status.json"),
        ("other", "global.safetensors"),
        ("", ""),
        ("run", str(path)),
    ):
        with pytest.raises(Refused) as caught:
            house.hub.model(run, file)
        assert caught.value.status == 404
