"""`fedseg segment --route`: a hospital outside uses what a federation published."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from FedSegCore.data.io import read_volume
from FedSegCore.inference.verdict import FILE, Counts
from Testing.command import FEW_STEPS, Finished, SmallSite, fedseg, refused, write_study

GIVES = {"publish_personal": True}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An IOP-FL study of two sites that publish their models, and its models' folder."""
    folder = tmp_path_factory.mktemp("bank")
    sites = [SmallSite("ct", cases=12, keys=GIVES), SmallSite("mr", "ct", cases=12, keys=GIVES)]
    rest = FEW_STEPS.replace("rounds = 2", "rounds = 1") + "\n[routing]\nsteps = 2\n"
    study = write_study(folder, sites, head='method = "iopfl"', rest=rest)
    with pytest.MonkeyPatch.context() as patch:
        # Models of one round tell nothing; what follows from a threshold is what is looked at here.
        patch.setattr(Counts, "threshold", lambda self: (0.5, "parts"))
        outcome = fedseg("simulate", study, "--out", folder / "out", "--json")
    assert outcome.code == 0, outcome
    return Finished(study, folder / "out", outcome)


@pytest.fixture(scope="module")
def scan(bank: Finished) -> Path:
    return next((bank.study.parent / "ct" / "imagesTs").iterdir())


def test_a_study_stores_its_calibration_with_the_bank_and_its_counts_in_the_ledger(bank: Finished) -> None:
    found = json.loads((bank.out / "models" / FILE).read_text())
    assert found["threshold"] == 0.5 and found["rule"] == "parts"
    assert found["routing"]["steps"] == 2
    assert set(found["models"]) == {path.name for path in (bank.out / "models").glob("*.safetensors")}
    lines = [json.loads(line) for line in (bank.out / "ledger.jsonl").read_text().splitlines()]
    told = [line for line in lines if line["kind"] == "calibrate"]
    assert [line["site"] for line in told] == ["ct", "mr"]
    assert all(not line["tensors"] for line in told)


def test_a_scan_is_routed_with_weights_disagreement_and_verdict(
    bank: Finished, scan: Path, tmp_path: Path
) -> None:
    out, weights, apart = tmp_path / "o.nii.gz", tmp_path / "w.json", tmp_path / "d.nii.gz"
    outcome = fedseg("segment", scan, "--route", bank.out / "models", "-o", out, "--weights-out", weights,
                     "--disagreement", apart, "--json")  # fmt: skip
    assert outcome.code == 0, outcome
    image = read_volume(scan)
    assert read_volume(out).shape == image.shape
    where = read_volume(apart)
    assert where.shape == image.shape and np.allclose(where.affine, image.affine)
    assert where.array.min() >= 0.0 and where.array.max() <= 1.0
    told = json.loads(weights.read_text())
    assert set(told["models"]) == {"ct", "mr", "global"} and "like site" in told["sentence"]
    assert isinstance(told["abstain"], bool) and told["reason"] and told["threshold"] == 0.5
    routing = outcome.result["summary"]["routing"][str(out)]
    assert routing["models"] == told["models"] and routing["abstain"] == told["abstain"]


def test_the_same_scan_gets_the_same_answer_twice(bank: Finished, scan: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        words = ("-o", tmp_path / name / "o.nii.gz", "--weights-out", tmp_path / name / "w.json")
        assert fedseg("segment", scan, "--route", bank.out / "models", *words).code == 0
    for file in ("o.nii.gz", "w.json"):
        one, two = ((tmp_path / name / file) for name in ("one", "two"))
        if file == "w.json":
            assert one.read_bytes() == two.read_bytes()
        else:
            assert np.array_equal(read_volume(one).array, read_volume(two).array)


def test_several_scans_get_folders(bank: Finished, scan: Path, tmp_path: Path) -> None:
    other = next((bank.study.parent / "mr" / "imagesTs").iterdir())
    words = ("-o", tmp_path / "o", "--weights-out", tmp_path / "w", "--disagreement", tmp_path / "d")
    assert fedseg("segment", scan, other, "--route", bank.out / "models", *words).code == 0
    stems = {path.name.removesuffix(".nii.gz") for path in (scan, other)}
    assert {path.name.removesuffix(".json") for path in (tmp_path / "w").iterdir()} == stems
    assert {path.name.removesuffix(".nii.gz") for path in (tmp_path / "d").iterdir()} == stems
    told = refused(fedseg("segment", scan, other, "--route", bank.out / "models", "-o", tmp_path / "p",
                          "--weights-out", tmp_path / "w.json"))  # fmt: skip
    assert "--weights-out cannot be one file" in told


def test_a_kept_back_segmentation_is_written_with_a_warning(
    bank: Finished, scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for path in (bank.out / "models").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    strict = json.loads((folder / FILE).read_text()) | {"threshold": 1e-6}
    (folder / FILE).write_text(json.dumps(strict))
    outcome = fedseg("segment", scan, "--route", folder, "-o", tmp_path / "o.nii.gz", "--json")
    assert outcome.code == 0 and (tmp_path / "o.nii.gz").is_file()
    (warning,) = outcome.told("warning")
    assert re.search("disagree on this scan|No structure was found", warning["message"]) and warning["fix"]


def test_a_bank_without_calibration_passes_no_verdict_and_says_so(
    bank: Finished, scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for path in (bank.out / "models").glob("*.safetensors"):
        (folder / path.name).write_bytes(path.read_bytes())
    outcome = fedseg("segment", scan, "--route", folder, "-o", tmp_path / "o.nii.gz", "--json")
    assert outcome.code == 0
    assert re.search("no calibration|No structure was found", outcome.told("warning")[0]["message"])


def test_routing_words_are_refused_where_there_is_one_model(
    bank: Finished, scan: Path, tmp_path: Path
) -> None:
    model, out = bank.out / "models" / "global.safetensors", tmp_path / "o.nii.gz"
    for words in (("--weights-out", tmp_path / "w.json"), ("--disagreement", tmp_path / "d.nii.gz")):
        assert words[0] in refused(fedseg("segment", scan, "--model", model, "-o", out, *words))
    both = fedseg("segment", scan, "--model", model, "--route", bank.out / "models", "-o", out)
    assert "not allowed with" in refused(both)
    assert "required" in refused(fedseg("segment", scan, "-o", out))
    odd = fedseg("segment", scan, "--route", bank.out / "models", "-o", out, "--disagreement", "d.png")
    assert "d.png" in refused(odd)


def test_a_folder_that_is_no_bank_is_refused(bank: Finished, scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.nii.gz"
    assert "no folder" in refused(fedseg("segment", scan, "--route", tmp_path / "nowhere", "-o", out))
    assert "holds none" in refused(fedseg("segment", scan, "--route", bank.study.parent, "-o", out))
    named = fedseg("segment", "--image", f"PET={scan}", "--route", bank.out / "models", "-o", out)
    assert 'no modality "PET"' in refused(named)


@pytest.mark.parametrize("option", ["--disagreement", "--weights-out"])
def test_nothing_is_written_over_an_image_a_segmentation_or_the_bank(
    option: str, bank: Finished, scan: Path, tmp_path: Path
) -> None:
    scans, models = tmp_path / "scans", tmp_path / "models"
    shutil.copytree(scan.parent, scans)
    shutil.copytree(bank.out / "models", models)
    before = {path: path.read_bytes() for folder in (scans, models) for path in folder.iterdir()}
    out = tmp_path / "o"
    one = scans / scan.name
    wrong = {"--disagreement": ((scans, scans), (scans, out)), "--weights-out": ((one, models / FILE),)}[
        option
    ]
    for images, target in wrong:
        told = refused(fedseg("segment", images, "--route", models, "-o", out, option, target))
        assert "would be written over" in told
    assert not out.exists()
    assert {path: path.read_bytes() for folder in (scans, models) for path in folder.iterdir()} == before
