"""Model cards: from the index that a study writes, from `fedseg info`, and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from FedSegLib.cards import MIXTURE, modelName, modelsIn, placeOf, readCard
from FedSegLib.texts import cardText

CARD: dict[str, Any] = {
    "name": "global",
    "study": "two organs",
    "method": "fedgin",
    "labels": [["Liver", 1], ["Kidney", 2]],
    "inputs": [["CT", "MR"]],
    "owned": ["CT", "MR"],
    "network": {"kind": "unet"},
    "sites": [["north", 20], ["south", 4]],
    "dice_by_site": {"north": {"Liver": 0.93, "Kidney": None}},
}


def folder(tmp_path: Path, **cards: dict[str, Any]) -> Path:
    for name in cards:
        (tmp_path / f"{name}.safetensors").touch()
    (tmp_path / "index.json").write_text(
        json.dumps({f"{name}.safetensors": card for name, card in cards.items()})
    )
    return tmp_path


def test_a_card_says_what_a_person_should_know() -> None:
    text = cardText(readCard(CARD))
    for part in ("Liver, Kidney", "CT or MR", "north (20 cases), south (4 cases)", "two organs (fedgin)"):
        assert part in text
    assert text.endswith("Dice of Liver / Kidney on the test cases of each site:\nnorth 0.93 / ?")


def test_the_global_model_is_listed_first_and_the_mixture_last(tmp_path: Path) -> None:
    models = modelsIn(folder(tmp_path, alpha=CARD, **{"global": CARD}))
    assert [model.key for model in models] == ["global.safetensors", "alpha.safetensors", MIXTURE]
    assert models[-1].path == tmp_path


def test_a_hospitals_own_model_is_listed_with_those_of_everybody_and_mixed_into_none(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "fedgin-seed0"
    own = run / "sites" / "north" / "personal.safetensors"
    for place in (own.parent, run / "sites" / "south", run / "models"):
        place.mkdir(parents=True)
        (place / "personal.safetensors").touch()
    (run / "models" / "personal.safetensors").rename(run / "models" / "alpha.safetensors")
    models = folder(run / "models", **{"global": CARD, "alpha": CARD})
    mixture = [choice.card for choice in modelsIn(models)][-1]
    assert len(modelsIn(models)) == 3, "a folder that is no hospital's lists only what is published"
    (tmp_path / "site.json").write_text('{"site": "north"}')
    listed = modelsIn(models)
    assert [modelName(choice.path) for choice in listed[:3]] == ["global", "alpha", "personal-north"]
    assert listed[2].path == own and placeOf(own) == (models, listed[2].key)
    assert listed[3].key == MIXTURE and listed[3].card == mixture
    (run / "models" / "personal-north.safetensors").touch()
    assert len(modelsIn(models)) == 4, "once published it is not listed twice"


def test_one_model_alone_is_no_mixture(tmp_path: Path) -> None:
    assert [model.key for model in modelsIn(folder(tmp_path, only=CARD))] == ["only.safetensors"]


def test_a_mixture_takes_what_any_of_its_models_takes_and_has_no_reported_dice(tmp_path: Path) -> None:
    ct, mr = CARD | {"owned": ["CT"], "sites": [["a", 1]]}, CARD | {"owned": ["MR"], "sites": [["b", 2]]}
    card = modelsIn(folder(tmp_path, a=ct, b=mr))[-1].card
    assert card is not None
    assert card.modalities == ("CT", "MR") and card.sites == (("a", 1), ("b", 2)) and not card.dice


def test_a_model_of_several_inputs_says_how_many() -> None:
    several = CARD | {"inputs": [["T1"], ["FLAIR"]], "owned": ["T1", "FLAIR"]}
    assert readCard(several).inputs == 2 and readCard(several).takesSeveral


def test_a_model_with_an_encoder_for_each_modality_takes_one_image() -> None:
    several = CARD | {
        "inputs": [["T1"], ["FLAIR"]],
        "owned": ["T1", "FLAIR"],
        "network": {"kind": "multiencoder"},
    }
    assert readCard(several).inputs == 1 and readCard(several).takesSeveral


@pytest.mark.parametrize("text", ["", "[]", "{", '{"only.safetensors": {"name": 3}}', "\x00"])
def test_with_a_broken_index_the_models_are_listed_without_cards(tmp_path: Path, text: str) -> None:
    (tmp_path / "only.safetensors").touch()
    (tmp_path / "index.json").write_text(text)
    assert [(model.key, model.card) for model in modelsIn(tmp_path)] == [("only.safetensors", None)]


def test_a_folder_that_is_not_there_has_no_models(tmp_path: Path) -> None:
    assert modelsIn(tmp_path / "gone") == []


@pytest.mark.parametrize("facts", [{}, {"kind": "study"}, CARD | {"labels": 3}, CARD | {"dice_by_site": []}])
def test_facts_of_something_else_are_no_card(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no model's card"):
        readCard(facts)
