"""From a volume to its segmentation with the real command, on a generated image, through the real scene."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from FedSegLib.cards import Card, modelsIn, readCard
from FedSegLib.command import Command, coreFolder, infoWords
from FedSegLib.job import DONE, Job

from FedSegCore.data.io import read_volume, write_volume
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import ModelHeader
from Testing.command import Finished
from Testing.inference.conftest import MakeBank
from Testing.slicer_harness.app import App

OBLIQUE = np.array(
    [[-1.6, 1.2, 0, 9.0], [1.2, 1.6, 0, -4.0], [0, 0, 2.0, 7.0], [0, 0, 0, 1.0]]
)  # 2 mm voxels, turned about the z axis and mirrored


def written(app: App, node: Any, path: Path) -> Volume:
    """A node of the scene, as its file tells it."""
    assert app.export(node, str(path))
    return read_volume(path)


def test_an_oblique_volume_is_routed_by_the_real_command_and_comes_back_on_its_own_grid(
    app: App, header: ModelHeader, bank_of: MakeBank, tmp_path: Path, temporary: Path
) -> None:
    voxels = np.random.default_rng(0).normal(50, 100, (14, 12, 9)).astype(np.float32)
    write_volume(tmp_path / "scan.nrrd", Volume(voxels, OBLIQUE, None))
    app.environment["OMP_NUM_THREADS"] = "1"  # quickest for a network of a few kilobytes
    app.settings.setValue("FedSeg/command", sys.executable)
    volume = app.load(tmp_path / "scan.nrrd")
    result = app.module.FedSegLogic().segment({"CT": volume}, bank_of(header, "north", "south"))

    drawn = result.segmentation.GetSegmentation()
    assert [drawn.GetNthSegment(place).GetName() for place in range(2)] == ["Liver", "Kidney"]
    segments = written(app, result.segmentation, tmp_path / "back.seg.nrrd")
    disagreement = written(app, result.disagreement, tmp_path / "back.nrrd")
    assert segments.array.any() and 0 <= disagreement.array.min() < disagreement.array.max() <= 1
    # Slicer turns a left-handed volume's last axis round as it reads it, voxels and grid alike.
    scan = written(app, volume, tmp_path / "again.nrrd")
    np.testing.assert_allclose(scan.array[:, :, ::-1], voxels)
    np.testing.assert_allclose(scan.affine @ np.diag([1, 1, -1, 1]) @ [0, 0, -8, 1], OBLIQUE[:, 3], atol=1e-5)
    np.testing.assert_allclose(segments.affine, scan.affine, atol=1e-5)
    np.testing.assert_allclose(disagreement.affine, scan.affine, atol=1e-5)
    assert disagreement.array.shape == voxels.shape == segments.array.shape
    assert "% like site north" in result.mixture.sentence and result.mixture.abstain is None
    assert not list(temporary.iterdir())


def test_the_real_command_tells_a_models_card(header: ModelHeader, bank_of: MakeBank, tmp_path: Path) -> None:
    command = Command((sys.executable, "-m", "FedSegCore"), (coreFolder(),))
    words = infoWords(bank_of(header, "north") / "global.safetensors")
    job = Job(command, words, folder=tmp_path, environment={})
    assert job.wait(20) == DONE and job.story.result is not None
    told = readCard(job.story.result["summary"])
    sites = (("north", 3),)
    assert told == Card("global", "a study", "fedavg", ("Liver", "Kidney"), ("CT",), 1, False, sites, {})


def test_the_index_that_a_study_writes_is_understood(finished: Finished) -> None:
    whole, mine, mixture = modelsIn(finished.model.parent)
    assert whole.card is not None and mine.card is not None and mixture.card is not None
    assert whole.card.sites == (("ct", 2), ("mr", 3)) and set(whole.card.dice) == {"ct", "mr", "away"}
    assert mine.card.modalities == ("MR",) and mixture.card.modalities == ("CT", "MR")
