"""The preflight of one site of a study: the names in the study against those in dataset.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from FedSegCore.data.case import Case, Dataset
from FedSegCore.data.choice import choose_cases
from FedSegCore.data.labels import Annotation, annotate
from FedSegCore.data.listing import JSON_NAME
from FedSegCore.data.problem import Problem
from FedSegCore.errors import DataError, StudyError, nearest


def check_site_view(
    dataset: Dataset,
    *,
    study_labels: Sequence[str],
    labels: Sequence[str] | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
    modalities: Sequence[str] | None = None,
    cases: Sequence[str] | None = None,
    test_cases: Sequence[str] | None = None,
    limit: int | None = None,
    trains: bool = True,
) -> list[Problem]:
    """Lists what of a study's `[[site]]` does not fit the site's dataset. No image is opened.

    Args:
        dataset: the site's data, unrestricted.
        study_labels: the study's labels.
        labels, label_map, modalities, cases, test_cases, limit: the keys of the study's site.
        trains: whether the site is to train (an outside site only tests).
    """
    problems = [
        *_label_problems(dataset, study_labels, labels, label_map),
        *_modality_problems(dataset, modalities),
    ]
    problems += _case_problems(dataset, cases, key="cases")
    problems += _case_problems(dataset, test_cases, key="test_cases")
    both = sorted(set(cases or ()) & set(test_cases or ()))
    if both and trains:
        message = f"The study names {_listed(both)} in `cases` and in `test_cases`: a leak."
        problems.append(Problem(JSON_NAME, "error", message, "Name each case in one of the two."))
    problems += _number_problems(dataset, cases=cases, test_cases=test_cases, limit=limit, trains=trains)
    return problems


def _label_problems(
    dataset: Dataset,
    study_labels: Sequence[str],
    labels: Sequence[str] | None,
    label_map: Mapping[str, Sequence[str]] | None,
) -> Iterator[Problem]:
    """Unknown names, and structures of the site that the study would silently ignore."""
    try:
        annotation = annotate(study_labels, dataset.labels, annotates=labels, label_map=label_map)
    except DataError as error:
        yield Problem(JSON_NAME, "error", error.message, error.fix or "Correct the study's names.")
        return
    if not any(annotation.annotated):
        message = f"The site annotates none of the study's labels ({_listed(study_labels)})."
        fix = f"Map its own names ({_listed(dataset.labels.names)}) to the study's in `label_map`."
        yield Problem(JSON_NAME, "error", message, fix)
        return
    if labels is None:
        yield from _ignored(dataset, annotation)


def _ignored(dataset: Dataset, annotation: Annotation) -> Iterator[Problem]:
    used = {name for group in annotation.groups for name in group}
    left = [name for name in dataset.labels.names if name not in used]
    if left:
        message = f"The study does not use the site's {_listed(left)}: its voxels count as background."
        fix = "Add the name to the study's `labels`, or map it in `label_map`, unless that is meant."
        yield Problem(JSON_NAME, "warning", message, fix)


def _modality_problems(dataset: Dataset, modalities: Sequence[str] | None) -> Iterator[Problem]:
    for name in modalities or ():
        if name not in dataset.channel_names:
            message = f'The study\'s site owns the modality "{name}", which dataset.json does not have.'
            yield Problem(JSON_NAME, "error", message, nearest(name, dataset.channel_names))
    if modalities is not None and not modalities:
        message = "The study's site owns no modality."
        yield Problem(JSON_NAME, "error", message, f"Name some of {_listed(dataset.channel_names)}.")


def _case_problems(dataset: Dataset, names: Sequence[str] | None, *, key: str) -> Iterator[Problem]:
    known = [case.name for case in _every(dataset)]
    for name in names or ():
        if name not in known:
            message = f'The study\'s `{key}` names "{name}", which dataset.json does not have.'
            yield Problem(JSON_NAME, "error", message, nearest(name, known))


def _number_problems(
    dataset: Dataset,
    *,
    cases: Sequence[str] | None,
    test_cases: Sequence[str] | None,
    limit: int | None,
    trains: bool,
) -> Iterator[Problem]:
    """Too few cases to train or to test with, once the names that do not fit are left out."""
    known = {case.name for case in _every(dataset)} - (set(cases or ()) & set(test_cases or ()))
    try:
        choice = choose_cases(
            dataset,
            trains=trains,
            cases=None if cases is None else [name for name in cases if name in known],
            test_cases=None if test_cases is None else [name for name in test_cases if name in known],
        )
    except StudyError as error:
        yield Problem(JSON_NAME, "error", error.message, error.fix)
        return
    training = choice.training
    if choice.unlabelled:
        message = f"{len(choice.unlabelled)} test cases have no label and are not scored."
        yield Problem(JSON_NAME, "warning", message, "Add their labels to dataset.json, or leave them out.")
    if trains and not training:
        message = "The site has no training case."
        yield Problem(
            JSON_NAME, "error", message, 'Add training cases, or set role = "outside" in the study.'
        )
    if trains and limit is not None and limit > len(training):
        message = f"The study's `limit` is {limit}, the site has {len(training)} training cases."
        yield Problem(JSON_NAME, "warning", message, "All of them are used; lower or remove `limit`.")
    if not trains and not choice.test:
        message = "The site trains nothing and has no labelled test case."
        yield Problem(JSON_NAME, "error", message, "Add a `test` list, or name `test_cases` in the study.")


def _every(dataset: Dataset) -> tuple[Case, ...]:
    return (*dataset.training, *dataset.validation, *dataset.test)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
