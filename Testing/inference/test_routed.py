"""One scan segmented by a bank: what it is like, where the models disagree, and whether to trust it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.data.volume import Volume
from FedSegCore.errors import ModelFileError
from FedSegCore.inference.adapt import Adaptation
from FedSegCore.inference.bank import read_bank
from FedSegCore.inference.disagreement import Disagreement, disagree
from FedSegCore.inference.modelfile import ModelHeader, save_model
from FedSegCore.inference.routed import Mixture, RoutedBank
from FedSegCore.inference.verdict import (
    BINS,
    FILE,
    POOR,
    Calibration,
    Counts,
    Rule,
    digests,
    judge,
    read_calibration,
)
from Testing.inference.conftest import MakeBank, MakeWeights

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SURE = {"everywhere": (9.0, -9.0), "nowhere": (-9.0, -9.0)}
IMAGE = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def answer(liver: float) -> torch.Tensor:
    """Probabilities: Liver at this probability everywhere, no Kidney."""
    return torch.stack([torch.full((8, 8, 8), liver), torch.zeros(8, 8, 8)])


def test_models_that_say_the_same_do_not_disagree(header: ModelHeader, bank_of: MakeBank) -> None:
    logits = dict.fromkeys(("a", "b", "global"), SURE["everywhere"])
    found = disagree(read_bank(bank_of(header, "a", "b", logits=logits)), IMAGE, answer(1.0), device=CPU)
    assert found.score == 0.0 and float(found.map.max()) < 1e-6


def test_two_sure_models_that_contradict_each_other_disagree_by_one_bit(
    header: ModelHeader, bank_of: MakeBank
) -> None:
    logits = {"a": SURE["everywhere"], "b": SURE["nowhere"]}
    bank = read_bank(bank_of(header, "a", "b", whole=False, logits=logits))
    found = disagree(bank, IMAGE, answer(1.0), device=CPU)
    torch.testing.assert_close(found.map, torch.ones(8, 8, 8), atol=2e-2, rtol=0)
    # Liver: a agrees with the answer, b finds nothing. Kidney, which nobody finds, says nothing.
    assert found.score == pytest.approx(0.5) and not found.empty


def test_models_that_find_nothing_do_not_vouch_for_each_other(header: ModelHeader, bank_of: MakeBank) -> None:
    logits = dict.fromkeys(("a", "b", "global"), SURE["nowhere"])
    found = disagree(read_bank(bank_of(header, "a", "b", logits=logits)), IMAGE, answer(0.0), device=CPU)
    assert found.empty and math.isnan(found.score)
    verdict = judge(found, calibration(bank_of(header, "a", "b", logits=logits)))
    assert verdict.abstain is True and "No structure was found" in verdict.reason


def test_a_structure_that_one_model_knows_is_compared_with_nobody(
    header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(replace(header, known=("Liver",)), "a", whole=False, logits={"a": SURE["everywhere"]})
    other = replace(header, name="personal-b", known=("Kidney",), sites=(("b", 3),))
    save_model(folder / "personal-b.safetensors", weights_of(other, logits=SURE["nowhere"]), other)
    found = disagree(read_bank(folder), IMAGE, answer(1.0), device=CPU)
    assert math.isnan(found.score) and not found.map.any() and not found.empty
    assert judge(found, None).abstain is None


def test_of_a_structure_that_two_know_a_third_model_says_nothing(
    header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    logits = {"a": SURE["everywhere"], "b": SURE["everywhere"]}
    folder = bank_of(replace(header, known=("Liver",)), "a", "b", whole=False, logits=logits)
    other = replace(header, name="personal-c", known=("Kidney",), sites=(("c", 3),))
    save_model(folder / "personal-c.safetensors", weights_of(other, logits=SURE["nowhere"]), other)
    found = disagree(read_bank(folder), IMAGE, answer(1.0), device=CPU)
    assert found.score == 0.0 and float(found.map.max()) < 1e-6


def test_uncertainty_that_all_share_is_no_disagreement(header: ModelHeader, bank_of: MakeBank) -> None:
    logits = dict.fromkeys(("a", "b"), (0.0, 0.0))
    bank = read_bank(bank_of(header, "a", "b", whole=False, logits=logits))
    assert float(disagree(bank, IMAGE, answer(1.0), device=CPU).map.max()) < 1e-6


def volume() -> Volume:
    array = np.random.default_rng(0).normal(50, 40, (12, 10, 9)).astype(np.float32)
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))


def test_a_routed_segmentation_lies_on_the_scans_grid_with_its_mixture(
    header: ModelHeader, bank_of: MakeBank
) -> None:
    ready = RoutedBank(read_bank(bank_of(header, "a", "b")), device=CPU, settings=Adaptation(steps=1))
    found = ready.segment({"CT": volume()})
    assert found.segmentation.label_map.shape == found.disagreement.shape == (12, 10, 9)
    facts = found.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert sum(facts["models"].values()) == pytest.approx(1.0, abs=1e-3)
    assert all(sum(layer.values()) == pytest.approx(1.0, abs=1e-3) for layer in facts["layers"].values())
    assert facts["abstain"] is None and "no calibration" in facts["reason"]


def test_a_scan_gets_the_same_answer_whatever_came_before(header: ModelHeader, bank_of: MakeBank) -> None:
    ready = RoutedBank(read_bank(bank_of(header, "a", "b")), device=CPU, settings=Adaptation(steps=1))
    first = ready.segment({"CT": volume()}).facts()
    other = Volume(volume().array[::-1].copy(), volume().affine)
    ready.segment({"CT": other})
    assert ready.segment({"CT": volume()}).facts() == first


def test_the_mixture_is_told_in_words_largest_first() -> None:
    layers = {"one": {"north": 0.7, "global": 0.3}, "two": {"north": 0.54, "global": 0.46}}
    mixture = Mixture(layers)
    assert mixture.shares == pytest.approx({"north": 0.62, "global": 0.38})
    assert mixture.sentence == "62 % like site north, 38 % like the global model"


def calibration(bank_folder: Path, threshold: float = 0.4, rule: Rule = "parts") -> Calibration:
    bank = read_bank(bank_folder)
    return Calibration(threshold, rule, 20, 4, Adaptation(steps=3), digests(bank))


def disagreement(score: float) -> Disagreement:
    return Disagreement(torch.zeros(1, 1, 1), score, empty=False)


def test_the_calibration_beside_a_bank_is_read_back(header: ModelHeader, bank_of: MakeBank) -> None:
    folder = bank_of(header, "a", "b")
    assert read_calibration(read_bank(folder)) is None
    wanted = calibration(folder)
    (folder / FILE).write_text(wanted.to_json())
    assert read_calibration(read_bank(folder)) == wanted


def test_a_calibration_of_other_models_does_not_count(header: ModelHeader, bank_of: MakeBank) -> None:
    folder = bank_of(header, "a", "b")
    (folder / FILE).write_text(calibration(folder).to_json())
    (folder / "personal-b.safetensors").unlink()
    assert read_calibration(read_bank(folder)) is None


@pytest.mark.parametrize("text", ["nothing", "{}", '{"threshold": "high"}', "[1]"])
def test_a_damaged_calibration_is_refused(text: str, header: ModelHeader, bank_of: MakeBank) -> None:
    folder = bank_of(header, "a", "b")
    (folder / FILE).write_text(text)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_calibration(read_bank(folder))


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_that_is_no_disagreement_is_refused(
    threshold: float, header: ModelHeader, bank_of: MakeBank
) -> None:
    folder = bank_of(header, "a", "b")
    text = calibration(folder).to_json().replace("0.4", json.dumps(threshold))
    (folder / FILE).write_text(text)
    with pytest.raises(ModelFileError):
        read_calibration(read_bank(folder))


def test_renaming_a_banks_files_leaves_its_calibration(header: ModelHeader, bank_of: MakeBank) -> None:
    folder = bank_of(header, "a", "b")
    (folder / FILE).write_text(calibration(folder).to_json())
    (folder / "personal-b.safetensors").rename(folder / "b.safetensors")
    assert read_calibration(read_bank(folder)) is not None


@pytest.mark.parametrize("rule", ["parts", "spares"])
def test_the_verdict_says_whether_and_why(rule: Rule, header: ModelHeader, bank_of: MakeBank) -> None:
    known = calibration(bank_of(header, "a", "b"), rule=rule)
    above, below = judge(disagreement(0.41), known), judge(disagreement(0.40), known)
    assert above.abstain is True and "0.41" in above.reason
    assert below.abstain is False and "0.40" in below.reason
    assert ("parts good from poor" in above.reason) == (rule == "parts")
    assert judge(disagreement(0.1), None).abstain is None


def test_the_threshold_parts_good_looks_from_poor_ones() -> None:
    scores = [(0.1, 0.9), (0.15, 0.8), (0.2, 0.7), (0.6, 0.3), (0.7, 0.1), (0.9, 0.0)]
    found = Counts.of(scores).threshold()
    assert found is not None and found[1] == "parts" and 0.2 < found[0] < 0.6
    assert all((score > found[0]) == (dice < POOR) for score, dice in scores)


def test_without_failures_nineteen_of_twenty_good_looks_are_spared() -> None:
    found = Counts.of([(number / 100, 0.9) for number in range(100)]).threshold()
    assert found == (0.95, "spares")


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [(0.1, 0.9), (0.2, 0.9)],
        [(0.0, 0.1)] * 6,
        [(0.5, 0.9)] * 6 + [(0.1, 0.1)] * 6,
        [(place / 10, dice) for place in range(10) for dice in (0.1, 0.9)],
    ],
    ids=["none", "few", "only failures", "reversed", "mixed"],
)
def test_looks_that_tell_nothing_give_no_threshold(scores: list[tuple[float, float]]) -> None:
    assert Counts.of(scores).threshold() is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=40))
def test_counts_are_pooled_by_adding_and_the_threshold_is_a_disagreement(
    scores: list[tuple[float, float]],
) -> None:
    half = len(scores) // 2
    counts = Counts.of(scores[:half]) + Counts.of(scores[half:])
    assert counts == Counts.of(scores)
    assert len(counts.good) == len(counts.poor) == BINS
    assert sum(counts.good) + sum(counts.poor) == len(scores)
    found = counts.threshold()
    assert found is None or 0 < found[0] <= 1


def test_undefined_looks_are_not_counted() -> None:
    assert Counts.of([(float("nan"), 0.5), (0.5, float("nan"))]) == Counts()
