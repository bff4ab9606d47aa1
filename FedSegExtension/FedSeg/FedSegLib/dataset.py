"""A site's dataset folder, grown case by case: images, drawings, and the dataset.json that `fedseg` reads."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from FedSegLib.events import Message
from FedSegLib.matching import Segment
from FedSegLib.translation import tr as _

JSON_NAME = "dataset.json"
BACKGROUND = "background"
CODES = "terminology"
"""The key of dataset.json that holds the structures' codes; `fedseg` leaves it alone."""


class DatasetError(Exception):
    """The folder is no dataset that cases can be added to.

    Args:
        message: why, and what to do.
    """

    def __init__(self, text: str, fix: str) -> None:
        super().__init__(f"{text} {fix}")
        self.message = Message(text, fix)


@dataclass(frozen=True)
class CaseFiles:
    """Where one case lies.

    Args:
        images: one for each of the dataset's modalities, in their order.
        drawing: a segmentation file whose segments have the dataset's names.
    """

    name: str
    images: tuple[Path, ...]
    drawing: Path

    def discard(self) -> None:
        """Remove what was written, of a case that will not be recorded."""
        for path in (*self.images, self.drawing):
            path.unlink(missing_ok=True)


class SiteDataset:
    """A dataset in the style of the Medical Segmentation Decathlon.

    Args:
        folder: the dataset's folder.
        facts: what its dataset.json holds.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self._facts = dict(facts)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What its images are, in the order in which a case lists them."""
        channels = self._facts.get("channel_names", self._facts.get("modality", {}))
        return tuple(str(channels[key]) for key in sorted(channels, key=int))

    @property
    def structures(self) -> dict[str, str]:
        """Its structures with their codes, "" where it knows none."""
        codes = self._facts.get(CODES, {})
        return {name: str(codes.get(name, "")) for name in _names(self._facts["labels"])}

    @property
    def numCases(self) -> int:
        """Its annotated cases."""
        return len(self._facts["training"]) + len(self._facts.get("validation", []))

    @property
    def names(self) -> list[str]:
        """What must not be told of it: its folder, and its cases' names and files."""
        listed = (
            entry
            for key in ("training", "validation", "test")
            for told in self._facts.get(key) or ()
            for entry in (told.values() if isinstance(told, dict) else [told])
        )
        told = (file for entry in listed for file in (entry if isinstance(entry, list) else [entry]))
        files = [Path(str(file)) for file in told]
        names = [name for file in files for name in (str(file), file.name, file.name.split(".")[0])]
        within = [str(self.folder / file) for file in (JSON_NAME, *files)]
        return [str(self.folder), self.folder.name, *within, *names]

    def nextCase(self) -> CaseFiles:
        """Where the next case goes. Its name is a number: names of patients and nodes stay in the scene."""
        number = 1
        while any(self.folder.glob(f"*/case_{number:03d}[._]*")) or self._lists(f"case_{number:03d}"):
            number += 1
        return self.caseFiles(f"case_{number:03d}")

    def caseFiles(self, name: str) -> CaseFiles:
        """The files of a case that was, or will be, added by FedSeg."""
        several = len(self.modalities) > 1
        images = (
            self.folder / "imagesTr" / (f"{name}_{place:04d}.nii.gz" if several else f"{name}.nii.gz")
            for place in range(len(self.modalities))
        )
        return CaseFiles(name, tuple(images), self.folder / "labelsTr" / f"{name}.seg.nrrd")

    def record(self, case: CaseFiles) -> None:
        """List a case whose files are written; one that is listed already stays as it is.

        Raises:
            OSError: dataset.json was not written; the one before is whole.
        """
        images = [path.relative_to(self.folder).as_posix() for path in case.images]
        entry = {
            "image": images if len(images) > 1 else images[0],
            "label": case.drawing.relative_to(self.folder).as_posix(),
        }
        if not self._lists(case.name):
            facts = {**self._facts, "training": [*self._facts["training"], entry]}
            _write(self.folder, facts)
            self._facts = facts

    def _lists(self, name: str) -> bool:
        listed = (*self._facts["training"], *self._facts.get("validation", []), *self._facts.get("test", []))
        drawings = (entry.get("label", "") for entry in listed if isinstance(entry, dict))
        return any(Path(str(drawing)).name.split(".")[0] == name for drawing in drawings)


def openDataset(folder: Path) -> SiteDataset | None:
    """The dataset of a folder; None where the folder is empty or absent, so that one can be begun there.

    Raises:
        DatasetError: the folder holds something else.
    """
    path = folder / JSON_NAME
    if not path.is_file():
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise DatasetError(
                _("{folder} is neither empty nor a dataset.").format(folder=folder),
                _("Choose an empty folder, or one with a dataset.json."),
            )
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
        dataset = SiteDataset(folder, facts)
        if not (dataset.modalities and dataset.structures):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise DatasetError(
            _("{file} cannot be understood.").format(file=path),
            _("Run its check to see what is wrong, or choose another folder."),
        ) from None
    if not isinstance(facts.get("training"), list):
        raise DatasetError(
            _("{file} lists no training cases, so that none can be added to the list.").format(file=path),
            _('Add "training" with the cases there are, or choose an empty folder.'),
        )
    return dataset


def beginDataset(folder: Path, modalities: Sequence[str], segments: Sequence[Segment]) -> SiteDataset:
    """A dataset without cases whose structures are these segments. Nothing is written before its first case is.

    Raises:
        DatasetError: nothing to learn, a name twice, or a modality without a name.
    """
    names = [segment.name for segment in segments]
    if not names:
        raise DatasetError(
            _("There is no segment to learn from."), _("Draw a structure in the Segment Editor first.")
        )
    if len({name.casefold() for name in names}) < len(names) or BACKGROUND in map(str.casefold, names):
        raise DatasetError(
            _("The segments' names must differ, and none may be called background."),
            _("Rename them in the Segment Editor."),
        )
    told = [name.strip() for name in modalities]
    if not told or not all(told) or len(set(told)) < len(told):
        raise DatasetError(
            _("Each volume needs a modality of its own."), _("Say what each volume is, such as CT or T1.")
        )
    facts = {
        "name": folder.name,
        "channel_names": {str(place): name for place, name in enumerate(told)},
        "labels": {BACKGROUND: 0, **{name: value for value, name in enumerate(names, 1)}},
        CODES: {segment.name: segment.code for segment in segments if segment.code},
        "training": [],
    }
    return SiteDataset(folder, facts)


def _names(labels: Mapping[str, Any]) -> list[str]:
    """The structures, without the background; dataset.json may map name to number or number to name."""
    named = [str(name) if str(value).lstrip("-").isdigit() else str(value) for name, value in labels.items()]
    return [name for name in named if name.casefold() != BACKGROUND]


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".dataset-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2, ensure_ascii=False)
            file.write("\n")
        Path(temporary).replace(folder / JSON_NAME)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
