"""What a dataset folder says it holds, read without stopping at the first flaw.

`case.read_dataset` is for training: it raises at once. This reader is for the preflight: it reads every part
by the same rules, notes what is wrong, and goes on with whatever can still be understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from FedSegCore.data.case import Case, channel_names_of, found_cases, listed_case, no_key_twice
from FedSegCore.data.io import find_images, image_stem
from FedSegCore.data.labels import LabelSet
from FedSegCore.data.problem import Problem, shown
from FedSegCore.errors import DataError

JSON_NAME = "dataset.json"
SPLITS = ("training", "validation", "test")
_FOLDERS = ("imagesTr", "labelsTr")
_LIST_FIX = 'Write each case as {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}.'
_T = TypeVar("_T")


@dataclass(frozen=True)
class Listing:
    """The cases, channels and labels that could be understood, and what could not.

    Args:
        folder: the dataset's folder.
        channels: the network's inputs in order; () where unknown.
        labels: the structures; None where unknown.
        cases: split -> its cases; their files need not exist.
        licence: of the data, "" where not stated.
        problems: the flaws met on the way.
    """

    folder: Path
    channels: tuple[str, ...]
    labels: LabelSet | None
    cases: Mapping[str, tuple[Case, ...]]
    licence: str
    problems: tuple[Problem, ...]


def read_listing(folder: Path) -> Listing:
    """Reads dataset.json and, for a dataset in nnU-Net raw style, the names of the files.

    Raises:
        DataError: the folder itself does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"The dataset folder {folder} does not exist.", "Check the path.")
    problems: list[Problem] = []
    read = _load(folder, problems)
    raw = read or {}
    channels = _tried(lambda: channel_names_of(raw, JSON_NAME), problems) if read is not None else None
    labels = _tried(lambda: _label_set(raw), problems) if read is not None else None
    if read is None:
        cases = {"training": (), "validation": (), "test": ()} | _guessed(folder)
    else:
        cases = _cases(raw, folder, channels=len(channels or ()), problems=problems)
    if not any(cases.values()) and not problems:
        problems.append(Problem(JSON_NAME, "error", "The dataset has no case.", _LIST_FIX))
    for split, members in cases.items():
        for case in members:
            problems += _case_problems(case, split, channels=channels or (), folder=folder)
    problems += _stated_problems(raw, cases, folder)
    problems += _unlisted(cases, folder) if any(cases.values()) else []
    licence = str(raw.get("licence") or raw.get("license") or "")
    return Listing(folder, channels or (), labels, cases, licence, tuple(problems))


def _tried(read: Callable[[], _T], problems: list[Problem]) -> _T | None:
    """The value, or None and a problem."""
    try:
        return read()
    except DataError as wrong:
        problems.append(Problem(JSON_NAME, "error", wrong.message, wrong.fix or "Correct dataset.json."))
        return None


def _load(folder: Path, problems: list[Problem]) -> Mapping[str, Any] | None:
    """The JSON object, None where there is none."""
    path = folder / JSON_NAME
    message, fix = "", "Mend the file."
    raw: object = {}
    if not path.is_file():
        message, fix = "The file is missing.", "Add a dataset.json that names channels, labels and cases."
    else:
        try:
            raw = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_key_twice)
        except json.JSONDecodeError as broken:
            place = f"line {broken.lineno}, column {broken.colno}"
            message, fix = f"The file is not valid JSON: {broken.msg} at {place}.", "Mend that line."
        except KeyError as twice:
            message, fix = f'The key "{twice.args[0]}" stands twice.', "Keep one of them."
        except (OSError, UnicodeDecodeError):
            message, fix = "The file cannot be read as text.", "Check its permissions and save it as UTF-8."
    if not message and not isinstance(raw, dict):
        message, fix = "The file must hold a JSON object.", "See the README for the two folder styles."
    if message:
        problems.append(Problem(JSON_NAME, "error", message, fix))
    return raw if isinstance(raw, dict) and not message else None


def _label_set(raw: Mapping[str, Any]) -> LabelSet:
    if "labels" not in raw:
        raise DataError('The key "labels" is missing.', 'Write "labels": {"background": 0, "Liver": 1}.')
    return LabelSet.parse(raw["labels"])


def _cases(
    raw: Mapping[str, Any], folder: Path, *, channels: int, problems: list[Problem]
) -> dict[str, tuple[Case, ...]]:
    """Every case that can be understood, listed or, in nnU-Net raw style, found."""
    cases = {split: _listed(raw, split, folder=folder, problems=problems) for split in SPLITS}
    if "training" not in raw and "test" not in raw:
        cases["training"] = _tried(lambda: found_cases(raw, folder, channels=channels), problems) or ()
    return cases


def _guessed(folder: Path) -> dict[str, tuple[Case, ...]]:
    """The images of imagesTr by name, less _0000; those with a label map train."""
    images, labels = ({image_stem(path): path for path in _images_in(folder / name)} for name in _FOLDERS)
    grouped: dict[str, list[Path]] = {}
    for stem, path in images.items():
        name = stem if stem in labels else re.sub(r"_\d{4}$", "", stem)
        grouped.setdefault(name, []).append(path)
    cases = [Case(name, tuple(paths), labels.get(name)) for name, paths in grouped.items()]
    training = tuple(case for case in cases if case.label is not None)
    return {"training": training, "test": tuple(case for case in cases if case.label is None)}


def _images_in(folder: Path) -> list[Path]:
    return find_images(folder) if folder.is_dir() else []


def _listed(raw: Mapping[str, Any], split: str, *, folder: Path, problems: list[Problem]) -> tuple[Case, ...]:
    """The cases of one list of dataset.json."""
    entries = raw.get(split) or []
    if not isinstance(entries, list):
        message = f"`{split}` must be a list of cases; it is {type(entries).__name__}."
        problems.append(Problem(JSON_NAME, "error", message, _LIST_FIX))
        return ()

    def read(position: int, entry: object) -> Case | None:
        return _tried(lambda: listed_case(entry, folder, where=f"Entry {position} of `{split}`"), problems)

    cases = (read(position, entry) for position, entry in enumerate(entries, start=1))
    return tuple(case for case in cases if case is not None)


def _case_problems(case: Case, split: str, *, channels: Sequence[str], folder: Path) -> list[Problem]:
    """Has the case a label where one is needed, and one image a channel?"""
    problems = []
    file = shown(case.images[0], folder)
    if case.label is None and split != "test":
        message = f'The {split} case "{case.name}" has no label.'
        fix = "Add its label map to dataset.json, or move the case to the test list."
        problems.append(Problem(file, "error", message, fix))
    if channels and len(case.images) != len(channels):
        images = ", ".join(path.name for path in case.images)
        message = (
            f'The case "{case.name}" has {len(case.images)} image file(s) ({images}), dataset.json has '
            f"{len(channels)} channel(s) ({', '.join(channels)})."
        )
        problems.append(
            Problem(file, "error", message, "Give one file a channel, in the order of channel_names.")
        )
    return problems


def _stated_problems(
    raw: Mapping[str, Any], cases: Mapping[str, Sequence[Case]], folder: Path
) -> list[Problem]:
    """Does numTraining agree, and does the dataset itself call cases suspect?"""
    problems = []
    stated, listed = raw.get("numTraining"), len(cases["training"])
    if isinstance(stated, int) and stated not in (listed, listed + len(cases["validation"])):
        message = f"numTraining is {stated}, but there are {listed} training cases."
        problems.append(
            Problem(JSON_NAME, "warning", message, "Correct the number, or list the missing cases.")
        )
    suspects = raw.get("suspect_cases")
    for name, reason in (suspects if isinstance(suspects, dict) else {}).items():
        for case in (case for members in cases.values() for case in members if case.name == name):
            message = f"The dataset itself calls this case's annotation suspect: {reason}."
            fix = "Review it, or leave the case out with `cases` in the study."
            problems.append(Problem(shown(case.label or case.images[0], folder), "warning", message, fix))
    return problems


def _unlisted(cases: Mapping[str, Sequence[Case]], folder: Path) -> list[Problem]:
    """Files of imagesTr and labelsTr that belong to no case."""
    every = [case for members in cases.values() for case in members]
    used = {
        path.resolve() for case in every for path in (*case.images, *([case.label] if case.label else []))
    }
    problems = []
    for name, what in zip(_FOLDERS, ("image", "label map"), strict=True):
        for path in _images_in(folder / name):
            if path.resolve() not in used:
                message = f"The {what} belongs to no case of the dataset, and is not used."
                problems.append(
                    Problem(shown(path, folder), "warning", message, "List its case, or delete the file.")
                )
    return problems
