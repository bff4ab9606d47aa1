"""The segmentation of one volume: exported, segmented by the command, loaded again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from FedSegLib.command import Command, segmentWords
from FedSegLib.events import Message
from FedSegLib.job import DONE, FAILED, RUNNING, Job
from FedSegLib.review import (
    DISAGREEMENT,
    MAP,
    MIXTURE,
    MODALITIES,
    MODEL,
    STATUS,
    UNREVIEWED,
    VERDICT,
    verdictWord,
    volumeRole,
)
from FedSegLib.translation import tr as _


@dataclass(frozen=True)
class Mixture:
    """What routing tells of a scan.

    Args:
        sentence: how much it is like which site.
        disagreement: of the models on it, in bits from 0 to 1.
        abstain: whether to keep the segmentation back; None where nobody knows.
        reason: why.
    """

    sentence: str
    disagreement: float
    abstain: bool | None
    reason: str


@dataclass(frozen=True)
class Segmented:
    """The loaded result.

    Args:
        disagreement: the volume node of where the models disagree; None with one model.
        warnings: what the command warned of, but for what the mixture says.
    """

    segmentation: Any
    disagreement: Any
    mixture: Mixture | None
    warnings: list[Message]


class SegmentationRun:
    """A running segmentation. Its owner polls it, loads its result once it is done, and closes it in any case.

    Args:
        scene: `FedSegLib.scene`, or what stands in for it.
        volumes: modality -> volume node, the first of which the result belongs to; they may be deleted meanwhile.
        model: a model file, or a folder of models to be mixed.
        environment: variables of the time before Slicer started.
    """

    def __init__(
        self,
        scene,
        volumes: Mapping[str, Any],
        model: Path,
        *,
        command: Command,
        environment: Mapping[str, str],
        resample: bool = False,
    ) -> None:
        self._scene = scene
        self._volumeIds = {name: volume.GetID() for name, volume in volumes.items()}
        self._model = model
        # Names of patients and files stay out of what the command is told, and so out of its messages.
        self._folder = Path(tempfile.mkdtemp(prefix="FedSeg-"))
        self._out = self._folder / "segmentation.seg.nrrd"
        self._disagreement = self._folder / "disagreement.nrrd"
        images = {name: self._folder / f"image_{place}.nrrd" for place, name in enumerate(volumes)}
        try:
            for name, volume in volumes.items():
                scene.exportVolume(volume, images[name])
            words = segmentWords(images, model, self._out, self._disagreement, resample=resample)
            self.job = Job(command, words, folder=self._folder, environment=environment)
        except BaseException:
            shutil.rmtree(str(self._folder), ignore_errors=True)
            raise

    @property
    def error(self) -> Message | None:
        """Why it failed."""
        return self.job.story.error if self.job.state == FAILED else None

    def load(self) -> Segmented:
        """The result as nodes of the scene, each with the status that nobody has looked at it.

        Raises:
            LookupError: the volume is no longer in the scene.
            RuntimeError: what the command wrote cannot be read; the scene is as before.
        """
        if self.job.state != DONE:
            raise ValueError(f"only a finished segmentation can be loaded, this one is {self.job.state}")
        volumes = {name: self._scene.findNode(nodeId) for name, nodeId in self._volumeIds.items()}
        volume = next(iter(volumes.values()))
        if volume is None:
            raise LookupError(_("The volume was removed while it was segmented; its result was discarded."))
        mixture = _mixture(self.job.story.result["summary"])
        segmentation = self._scene.loadSegmentation(self._out, volume, self._attributes(mixture))
        disagreement = None
        if mixture is not None:
            try:
                disagreement = self._scene.loadDisagreement(self._disagreement, volume)
            except RuntimeError:
                self._scene.remove(segmentation)  # half a result would pass for a whole one
                raise
            self._scene.refer(segmentation, MAP, disagreement)
        for name, source in volumes.items():
            if source is not None:
                self._scene.refer(segmentation, volumeRole(name), source)
        reason = mixture.reason if mixture is not None else None
        warnings = [w for w in self.job.story.warnings if reason is None or not w.text.endswith(reason)]
        return Segmented(segmentation, disagreement, mixture, warnings)

    def _attributes(self, mixture: Mixture | None) -> dict[str, str]:
        attributes = {
            STATUS: UNREVIEWED,
            MODEL: self._model.name,
            MODALITIES: "|".join(self._volumeIds),
        }
        if mixture is not None:
            attributes[MIXTURE] = mixture.sentence
            attributes[VERDICT] = f"{verdictWord(mixture.abstain)}: {mixture.reason}"
            attributes[DISAGREEMENT] = f"{mixture.disagreement:.4f}"
        return attributes

    def close(self) -> None:
        """End the command if it runs, and remove everything that it wrote."""
        if self.job.state == RUNNING:
            self.job.kill()
        shutil.rmtree(str(self._folder), ignore_errors=True)


def _mixture(summary: Mapping[str, Any]) -> Mixture | None:
    """What the one case's routing told; None where one model was used."""
    for told in summary.get("routing", {}).values():
        return Mixture(
            str(told["sentence"]), float(told["disagreement"]), told["abstain"], str(told["reason"])
        )
    return None
