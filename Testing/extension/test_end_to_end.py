"""From a volume to its segmentation with the real command, on a generated image; only the scene is a stand-in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from FedSegLib.cards import Card, modelsIn, readCard
from FedSegLib.command import Command, coreFolder, infoWords
from FedSegLib.job import DONE, Job

from FedSegCore.data.io import read_volume, write_volume
from FedSegCore.data.volume import Volume
from FedSegCore.inference.modelfile import ModelHeader
from Testing.command import Finished
from Testing.extension.standins import Node, Slicer
from Testing.inference.conftest import MakeBank

OBLIQUE = np.array(
    [[-1.6, 1.2, 0, 9.0], [1.2, 1.6, 0, -4.0], [0, 0, 2.0, 7.0], [0, 0, 0, 1.0]]
)  # 2 mm voxels, turned about the z axis and mirrored


def loaded(node: Node, path: Path) -> Volume:
    """What the scene was given to load, read from its bytes."""
    assert isinstance(node.image, bytes)
    path.write_bytes(node.image)
    return read_volume(path)


def test_an_oblique_volume_is_routed_by_the_real_command_and_comes_back_on_its_own_grid(
    slicer_app: Slicer, header: ModelHeader, bank_of: MakeBank, tmp_path: Path, temporary: Path
) -> None:
    volume = slicer_app.volume()
    volume.file = tmp_path / "scan.nrrd"
    voxels = np.random.default_rng(0).normal(50, 100, (14, 12, 9)).astype(np.float32)
    write_volume(volume.file, Volume(voxels, OBLIQUE, None))
    slicer_app.environment["OMP_NUM_THREADS"] = "1"  # quickest for a network of a few kilobytes
    slicer_app.settings["FedSeg/command"] = sys.executable
    result = slicer_app.module.FedSegLogic().segment(volume, bank_of(header, "north", "south"), "CT")

    text = result.segmentation.image.split(b"\n\n")[0].decode()
    assert "Segment0_Name:=Liver" in text and "Segment1_Name:=Kidney" in text
    segments = loaded(result.segmentation, tmp_path / "back.seg.nrrd")
    disagreement = loaded(result.disagreement, tmp_path / "back.nrrd")
    assert segments.array.any() and 0 <= disagreement.array.min() < disagreement.array.max() <= 1
    np.testing.assert_allclose(segments.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(disagreement.affine, OBLIQUE, atol=1e-6)
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
