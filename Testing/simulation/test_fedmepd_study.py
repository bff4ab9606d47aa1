"""FedMEPD from a study file: sites that own different modalities, a server that has all."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from FedSegCore.data.io import read_volume
from FedSegCore.tensors.header import read_header, tensor_shapes
from Testing.command import FEW_STEPS, Finished, SmallSite, fedseg, refused, write_study

BOTH = "t1+flair"
SERVER = SmallSite("center", BOTH, keys={"role": "server"})
FULL = SmallSite("full", BOTH, keys={"publish_personal": True})
MONO = SmallSite("mono", BOTH, keys={"modalities": ["FLAIR"], "publish_personal": True})
FAR = SmallSite("far", BOTH, cases=1, keys={"role": "outside"})
OPTIONS = "\n[method_options]\nanchors = 2\nwarm_up = 0\npatience = 1\n"
ONE_ROUND = (FEW_STEPS + OPTIONS).replace("rounds = 2", "rounds = 1")
METHODS = 'methods = ["fedmepd", "server", "local", "fedavg"]'


def study_of(
    folder: Path, sites: list[SmallSite], *, head: str = METHODS, rest: str = FEW_STEPS + OPTIONS
) -> Path:
    return write_study(
        folder, sites, head=head, rest=rest.replace("[network]", '[network]\nkind = "multiencoder"')
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("fedmepd")
    study = study_of(folder, [SERVER, FULL, MONO, FAR])
    outcome = fedseg("simulate", study, "--out", folder / "out", "--json")
    assert outcome.code == 0, outcome
    return Finished(study, folder / "out", outcome)


def rows(finished: Finished, method: str) -> set[tuple[str, str, str, str]]:
    with (finished.out / "scores.csv").open(newline="", encoding="utf-8") as file:
        found = [row for row in csv.DictReader(file) if row["method"] == method]
    return {(row["model"], row["owner"], row["site"], row["modalities"]) for row in found}


def test_every_owners_model_is_scored_with_that_owners_modalities(finished: Finished) -> None:
    found = rows(finished, "fedmepd")
    assert ("personal", "mono", "far", "FLAIR") in found
    assert ("personal", "full", "far", "T1+FLAIR") in found
    assert ("global", "", "far", "T1+FLAIR") in found
    assert ("global", "", "mono", "FLAIR") in found
    assert ("global", "", "center", "T1+FLAIR") in found, "the server's own test cases"
    assert ("central", "", "far", "T1+FLAIR") in rows(finished, "server")
    assert ("local", "mono", "far", "FLAIR") in rows(finished, "local")


def test_a_mono_modal_site_sends_one_encoder_and_nothing_private(finished: Finished) -> None:
    lines = (finished.out / "runs" / "fedmepd-seed0" / "ledger.jsonl").read_text().splitlines()
    updates = [line for line in map(json.loads, lines) if line["kind"] == "update"]
    sent = {
        line["site"]: {name.partition("/")[2].split(".")[1] for name in line["tensors"] if "encoder" in name}
        for line in updates
    }
    assert {site: len(encoders) for site, encoders in sent.items()} == {"full": 2, "mono": 1}
    for line in updates:
        assert not any("attention" in name or "auxiliary" in name for name in line["tensors"])
    assert {line["site"] for line in map(json.loads, lines)} == {"full", "mono"}, "the server is no client"


def test_the_log_tells_of_personal_filters_anchors_and_attention(finished: Finished) -> None:
    lines = (finished.out / "runs" / "fedmepd-seed0" / "rounds.jsonl").read_text().splitlines()
    facts = [json.loads(line)["facts"] for line in lines]
    assert len(facts) == 2
    for fact in facts:
        assert fact.keys() == {"personal_filters", "anchors_movement", "attention_entropy"}
        assert all(0 <= fact[name] <= 1 for name in ("personal_filters", "attention_entropy"))
        assert fact["anchors_movement"] > 0


def test_local_and_server_alone_train_the_same_kind_of_network(finished: Finished) -> None:
    runs = finished.out / "runs"
    kinds = {
        "fedmepd": read_header(runs / "fedmepd-seed0" / "models" / "global.safetensors")["network"]["kind"],
        "server": read_header(runs / "server-seed0" / "models" / "central.safetensors")["network"]["kind"],
        "local": read_header(runs / "local-seed0" / "models" / "local-mono.safetensors")["network"]["kind"],
        "fedavg": read_header(runs / "fedavg-seed0" / "models" / "global.safetensors")["network"]["kind"],
    }
    assert kinds == {
        "fedmepd": "multiencoder",
        "server": "multiencoder",
        "local": "multiencoder",
        "fedavg": "unet",
    }


def test_a_published_model_holds_only_what_its_owner_uses(finished: Finished) -> None:
    models = finished.out / "runs" / "fedmepd-seed0" / "models"
    mono, full = (tensor_shapes(models / f"personal-{site}.safetensors") for site in ("mono", "full"))
    assert {name.split(".")[1] for name in mono if name.startswith("encoder")} < {
        name.split(".")[1] for name in full if name.startswith("encoder")
    }
    assert not any(name.startswith("auxiliary") for name in full)
    header = read_header(models / "global.safetensors")
    assert header["owned"] == ["T1", "FLAIR"] and ["center", 2] in header["sites"]


def test_any_subset_of_modalities_is_segmented(finished: Finished, tmp_path: Path) -> None:
    images = finished.study.parent / "far" / "imagesTs"
    t1, flair = sorted(images.iterdir())
    model = finished.out / "runs" / "fedmepd-seed0" / "models" / "global.safetensors"
    found = {}
    for name, given in {"both": ("T1", "FLAIR"), "t1": ("T1",), "flair": ("FLAIR",)}.items():
        words = [w for m in given for w in ("--image", f"{m}={t1 if m == 'T1' else flair}")]
        out = tmp_path / f"{name}.nii.gz"
        outcome = fedseg("segment", *words, "--model", model, "-o", out)
        assert outcome.code == 0, outcome
        found[name] = read_volume(out).array
        assert found[name].shape == read_volume(t1).shape
    mono = finished.out / "runs" / "fedmepd-seed0" / "models" / "personal-mono.safetensors"
    alone, with_more = tmp_path / "alone.nii.gz", tmp_path / "more.nii.gz"
    assert fedseg("segment", "--image", f"FLAIR={flair}", "--model", mono, "-o", alone).code == 0
    both = ("--image", f"FLAIR={flair}", "--image", f"T1={t1}")
    assert fedseg("segment", *both, "--model", mono, "-o", with_more).code == 0
    assert np.array_equal(read_volume(alone).array, read_volume(with_more).array)


@pytest.mark.slow
def test_sites_in_processes_of_their_own_give_the_same_bits(finished: Finished, tmp_path: Path) -> None:
    study = study_of(tmp_path, [SERVER, FULL, MONO, FAR], head='method = "fedmepd"')
    assert fedseg("simulate", study, "--out", tmp_path / "whole").code == 0
    assert fedseg("simulate", study, "--out", tmp_path / "again", "--workers", 2).code == 0
    for name in ("global", "personal-mono"):
        one, two = (tmp_path / out / "models" / f"{name}.safetensors" for out in ("whole", "again"))
        assert one.read_bytes() == two.read_bytes()


def test_gin_augments_each_modality_alone(tmp_path: Path) -> None:
    rest = ONE_ROUND.replace("[train]", '[train]\naugment = "gin"')
    study = study_of(tmp_path, [SERVER, FULL, MONO], head='method = "fedmepd"', rest=rest)
    assert fedseg("simulate", study, "--out", tmp_path / "out").code == 0


def test_a_site_that_annotates_one_structure_takes_part(tmp_path: Path) -> None:
    some = SmallSite("some", BOTH, keys={"labels": ["Liver"]})
    study = study_of(tmp_path, [SERVER, FULL, some], head='method = "fedmepd"', rest=ONE_ROUND)
    assert fedseg("simulate", study, "--out", tmp_path / "out").code == 0
    assert read_header(tmp_path / "out" / "models" / "global.safetensors")["known"] == ["Liver", "Kidney"]


def test_slices_are_trained_too(tmp_path: Path) -> None:
    rest = ONE_ROUND.replace("patch = [8, 8, 8]", "dims = 2\npatch = [8, 8]")
    study = study_of(tmp_path, [SERVER, FULL, MONO], head='method = "fedmepd"', rest=rest)
    assert fedseg("simulate", study, "--out", tmp_path / "out").code == 0


def test_a_run_without_personal_filters_says_so(tmp_path: Path) -> None:
    rest = (FEW_STEPS + OPTIONS).replace("warm_up = 0", "warm_up = 9")
    study = study_of(tmp_path, [SERVER, FULL, MONO], head='method = "fedmepd"', rest=rest)
    outcome = fedseg("simulate", study, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0
    assert any(
        "No filter of any site's decoder ever turned personal" in w["message"]
        for w in outcome.told("warning")
    )


@pytest.mark.parametrize(
    ("sites", "head", "told"),
    [
        ([FULL, MONO], 'method = "fedmepd"', "no site that role"),
        ([SERVER, SmallSite("other", BOTH, keys={"role": "server"}), FULL], 'method = "fedmepd"', "center and other"),
        ([SERVER, FULL], 'method = "fedavg"', "no method of the study trains at the server"),
        ([SmallSite("center", BOTH, keys={"role": "server", "modalities": ["T1"]}), FULL, MONO],
         'method = "fedmepd"', "lacks the study's modality FLAIR"),
        ([SmallSite("center", BOTH, labels=["Liver"], keys={"role": "server"}), FULL, MONO],
         'method = "fedmepd"', "lacks the study's structure Kidney"),
        ([SERVER, SmallSite("odd", BOTH, keys={"modalities": ["PET"]})], 'method = "fedmepd"', 'no modality "PET"'),
    ],
)  # fmt: skip
def test_what_fedmepd_cannot_work_with_is_refused_in_a_sentence(
    sites: list[SmallSite], head: str, told: str, tmp_path: Path
) -> None:
    study = study_of(tmp_path, sites, head=head, rest=FEW_STEPS)
    assert told in refused(fedseg("simulate", study, "--out", tmp_path / "out"))


def test_a_flow_for_fedmepd_is_refused(tmp_path: Path) -> None:
    rest = FEW_STEPS.replace("[train]", '[train]\naugment = "flow"')
    study = study_of(tmp_path, [SERVER, FULL, MONO], head='method = "fedmepd"', rest=rest)
    assert "trains no flow" in refused(fedseg("simulate", study, "--out", tmp_path / "out"))


def test_a_plain_network_for_fedmepd_is_refused(tmp_path: Path) -> None:
    rest = FEW_STEPS.replace("[network]", '[network]\nkind = "unet"')
    study = write_study(tmp_path, [SERVER, FULL, MONO], head='method = "fedmepd"', rest=rest)
    assert 'kind = "unet"' in refused(fedseg("simulate", study, "--out", tmp_path / "out"))
