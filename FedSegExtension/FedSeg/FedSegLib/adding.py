"""A case of the scene, added to a dataset folder: checked, written aside, moved into place, listed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from FedSegLib.dataset import CaseFiles, DatasetError, SiteDataset
from FedSegLib.grids import LITTLE, overlap, sameGrid
from FedSegLib.matching import Matching
from FedSegLib.translation import tr as _


def addCase(
    scene, dataset: SiteDataset, volumes: Sequence, segmentation, matching: Matching, *, resample: bool
) -> CaseFiles:
    """Add a case, or replace the one that the first volume was added as before.

    Args:
        scene: `FedSegLib.scene`, or what stands in for it.
        volumes: one for each of the dataset's modalities, in their order; the drawing is of the first.
        resample: bring the others onto the first one's grid.

    Raises:
        DatasetError: it cannot be added as it is; nothing was written.
        OSError: it could not be written; the dataset is as before.
    """
    _refuse(scene, volumes, segmentation, matching, resample=resample)
    known = scene.caseOf(volumes[0], dataset.folder)
    case = dataset.caseFiles(known) if known else dataset.nextCase()
    dataset.folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=str(dataset.folder), prefix=".adding-"))
    try:
        for volume, path in zip(volumes, case.images):
            with _onGridOf(scene, volume, volumes[0]) as written:
                scene.exportVolume(written, aside / path.name)
        scene.exportDrawing(segmentation, matching.structures, volumes[0], aside / case.drawing.name)
        _exchange(case, aside)
        try:
            dataset.record(case)
        except OSError:
            if not known:
                case.discard()
            raise
    finally:
        shutil.rmtree(str(aside), ignore_errors=True)
    scene.rememberCase(volumes[0], dataset.folder, case.name)
    return case


def _exchange(case: CaseFiles, aside: Path) -> None:
    """Move what was written into its place; if that fails half way, the files of before are put back."""
    before: "dict[Path, Path]" = {}
    try:
        for path in (*case.images, case.drawing):
            path.parent.mkdir(exist_ok=True)
            if path.exists():
                path.replace(aside / f"before-{path.name}")
                before[path] = aside / f"before-{path.name}"
            (aside / path.name).replace(path)
    except OSError:
        case.discard()
        for path, kept in before.items():
            kept.replace(path)
        raise


def _refuse(scene, volumes: Sequence, segmentation, matching: Matching, *, resample: bool) -> None:
    for problem in matching.problems:
        raise DatasetError(problem.text, problem.fix)
    for node in (*volumes, segmentation):
        if scene.isTransformed(node):
            raise DatasetError(
                _("{name} is under a transform.").format(name=node.GetName()),
                _(
                    "Harden the transform in the Data module, so that image and drawing lie where you see them."
                ),
            )
    drawnOn = scene.drawnOn(segmentation)
    if drawnOn is not None and drawnOn is not volumes[0]:
        raise DatasetError(
            _("{drawing} was drawn on {volume}, not on {first}.").format(
                drawing=segmentation.GetName(), volume=drawnOn.GetName(), first=volumes[0].GetName()
            ),
            _("Select the volume that it was drawn on, or another segmentation."),
        )
    first = scene.gridOf(volumes[0])
    for volume in volumes[1:]:
        grid = scene.gridOf(volume)
        if sameGrid(first, grid):
            continue
        names = {"name": volume.GetName(), "first": volumes[0].GetName()}
        share = overlap(first, grid)
        if share < LITTLE:
            raise DatasetError(
                _("{name} covers only {percent} % of {first}.").format(percent=round(100 * share), **names),
                _("Register it first, for example in the module General Registration (BRAINS)."),
            )
        if not resample:
            raise DatasetError(
                _("{name} lies on another grid than {first}.").format(**names),
                _("Tick Resample if they show the same anatomy in the same place; else register them first."),
            )


def _onGridOf(scene, volume, first):
    same = sameGrid(scene.gridOf(first), scene.gridOf(volume))
    return contextlib.nullcontext(volume) if same else scene.resampled(volume, first)
