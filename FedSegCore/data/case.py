"""A site's folder: its cases, where their images and labels lie, what channels and labels are called.

Reads dataset.json only; whether the files are there and fit together is `check`'s business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from FedSegCore.data.io import image_stem
from FedSegCore.data.labels import LabelSet
from FedSegCore.errors import DataError

VALIDATION_EVERY = 10
"""Without a `validation` list every 10th training case, by name, validates."""

_CHANNEL_SUFFIX = re.compile(r"_00\d\d$")
_FORMAT_FIX = "See the README for the two folder styles, MSD and nnU-Net raw."


@final
@dataclass(frozen=True)
class Case:
    """One patient's images and label map.

    Args:
        name: the image's file name without suffix and channel number.
        images: one file or DICOM folder per channel, in the dataset's order.
        label: the label map; None where there is none.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None


@final
@dataclass(frozen=True)
class Dataset:
    """What a dataset.json says.

    Args:
        folder: where it lies.
        name: the dataset's name.
        channel_names: the network inputs in order; a channel's name is its modality ("CT", "T1", ...).
        labels: the structures and their label-map values.
        training, validation, test: the cases.
        licence: as written, or "".
        raw: the whole JSON object.
    """

    folder: Path
    name: str
    channel_names: tuple[str, ...]
    labels: LabelSet
    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    licence: str
    raw: Mapping[str, Any]

    @property
    def lists_validation(self) -> bool:
        """Whether dataset.json names the validation cases; else every 10th training case is one."""
        return "validation" in self.raw


def read_dataset(folder: Path) -> Dataset:
    """Reads a folder in MSD style (lists of files) or nnU-Net raw style (imagesTr/CASE_0000, labelsTr/CASE).

    Without a `validation` list every 10th training case by name (the 10th, the 20th, ...) validates; without
    a `test` list there are no test cases. No image is opened.

    Raises:
        DataError: no folder, no dataset.json, broken JSON, or a key that is missing or of the wrong kind.
    """
    folder = Path(folder)
    raw = _read_json(folder)
    where = str(folder / "dataset.json")
    channels = channel_names_of(raw, where)
    if "labels" not in raw:
        raise DataError(f"{where} has no `labels`.", 'Add `"labels": {"background": 0, "Liver": 1}`.')
    if "training" in raw or "test" in raw:
        training = _listed(raw, "training", folder=folder, where=where)
    else:
        training = found_cases(raw, folder, channels=len(channels))
    validation = _listed(raw, "validation", folder=folder, where=where)
    if "validation" not in raw:
        training, validation = split_validation(training)
    return Dataset(
        folder=folder,
        name=str(raw.get("name") or folder.name),
        channel_names=channels,
        labels=LabelSet.parse(raw["labels"], where=where),
        training=training,
        validation=validation,
        test=_listed(raw, "test", folder=folder, where=where),
        licence=str(raw.get("licence") or raw.get("license") or ""),
        raw=raw,
    )


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not folder.is_dir():
        raise DataError(f"The dataset folder {folder} does not exist.", "Check the path.")
    if not path.is_file():
        raise DataError(
            f"{folder} has no dataset.json.", "Add one that names the channels, labels and cases."
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_key_twice)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}.",
            "Mend that line.",
        ) from error
    except (UnicodeDecodeError, KeyError) as error:
        reason = (
            f'the key "{error.args[0]}" stands twice'
            if isinstance(error, KeyError)
            else "it is not UTF-8 text"
        )
        raise DataError(f"{path} cannot be read: {reason}.", "Mend the file.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not isinstance(raw, dict):
        raise DataError(f"{path} must hold a JSON object.", _FORMAT_FIX)
    return raw


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON would silently keep the last of two labels of one name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise KeyError(next(key for key in keys if keys.count(key) > 1))
    return found


def channel_names_of(raw: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """`channel_names` (nnU-Net) or `modality` (MSD), as an object by number or as a list."""
    channels = raw.get("channel_names", raw.get("modality"))
    if isinstance(channels, Mapping) and sorted(channels) == sorted(map(str, range(len(channels)))):
        channels = [channels[str(number)] for number in range(len(channels))]
    if not isinstance(channels, list) or not channels or not all(isinstance(c, str) and c for c in channels):
        raise DataError(
            f"{where} must name the channels in `channel_names`, numbered from 0.",
            'Add `"channel_names": {"0": "T1"}`.',
        )
    if len(set(channels)) < len(channels):
        raise DataError(
            f"{where} gives two channels the same name: {', '.join(channels)}.", "Name each once."
        )
    return tuple(channels)


def _listed(raw: Mapping[str, Any], key: str, *, folder: Path, where: str) -> tuple[Case, ...]:
    """MSD style: the cases of one list; a key that is absent is an empty list."""
    entries = raw.get(key) or []
    if not isinstance(entries, list):
        raise DataError(f"{where}: `{key}` must be a list of cases.", _FORMAT_FIX)
    return tuple(
        listed_case(one, folder, where=f"{where}: `{key}` entry {i}") for i, one in enumerate(entries, 1)
    )


def listed_case(entry: object, folder: Path, *, where: str) -> Case:
    """One entry of a dataset.json's list; raises DataError where it is none."""
    if isinstance(entry, str):
        entry = {"image": entry}
    images = entry.get("image") if isinstance(entry, Mapping) else None
    images = [images] if isinstance(images, str) else images
    label = entry.get("label") if isinstance(entry, Mapping) else None
    named = isinstance(images, list) and images and all(isinstance(one, str) and one for one in images)
    if not isinstance(images, list) or not named or not isinstance(label, str | None):
        raise DataError(
            f"{where} does not name its image.",
            'Write `{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}`.',
        )
    paths = tuple(folder / one for one in images)
    label_path = folder / label if label else None
    return Case(_case_name(paths[0], label_path), paths, label_path)


def _case_name(image: Path, label: Path | None) -> str:
    """The image's stem without its channel number; "knee_0012" labelled "knee_0012" has no channel number."""
    stem = image_stem(image)
    if label is not None and image_stem(label) == stem:
        return stem
    return _CHANNEL_SUFFIX.sub("", stem)


def found_cases(raw: Mapping[str, Any], folder: Path, *, channels: int) -> tuple[Case, ...]:
    """nnU-Net raw style: every CASE with at least one imagesTr/CASE_000C, sorted by name."""
    ending = str(raw.get("file_ending", ".nii.gz"))
    images = folder / "imagesTr"
    if not images.is_dir():
        raise DataError(
            f"{folder / 'dataset.json'} has no `training` list, and there is no folder {images}.", _FORMAT_FIX
        )
    pattern = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    matches = [match for path in images.iterdir() if (match := pattern.fullmatch(path.name))]
    numbers: dict[str, set[int]] = {}
    for match in matches:
        if not match[1].startswith("."):
            numbers.setdefault(match[1], set(range(channels))).add(int(match[2]))
    if not numbers:
        raise DataError(
            f"{images} has no file named CASE_0000{ending}.", "Check `file_ending` and the names."
        )
    return tuple(
        Case(
            name,
            tuple(images / f"{name}_{number:04d}{ending}" for number in sorted(numbers[name])),
            folder / "labelsTr" / f"{name}{ending}",
        )
        for name in sorted(numbers)
    )


def split_validation(cases: Sequence[Case]) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Training and validation: every 10th by name, so that the order of a list does not matter."""
    by_name: Iterable[int] = sorted(range(len(cases)), key=lambda i: (cases[i].name, i))
    chosen = set(list(by_name)[VALIDATION_EVERY - 1 :: VALIDATION_EVERY])
    training = tuple(case for i, case in enumerate(cases) if i not in chosen)
    return training, tuple(case for i, case in enumerate(cases) if i in chosen)
