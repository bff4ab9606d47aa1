"""Which of a dataset's cases a site of a study trains, validates and is tested with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from FedSegCore.data.case import Case, Dataset, split_validation
from FedSegCore.errors import StudyError, nearest


@final
@dataclass(frozen=True)
class Choice:
    """A site's cases in a study.

    Args:
        training, validation: none at a site that only tests.
        test: test cases with a label map.
        unlabelled: test cases without one, which nothing can be scored on.
    """

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    unlabelled: tuple[Case, ...]


def choose_cases(
    dataset: Dataset,
    *,
    trains: bool = True,
    cases: Sequence[str] | None = None,
    test_cases: Sequence[str] | None = None,
    limit: int | None = None,
) -> Choice:
    """The study's picks by name and number; a case that tests neither trains nor validates.

    Where the dataset has no `validation` list, every 10th of the chosen cases validates. `limit` counts
    training cases. A site that does not train is tested with all cases that the study names for it, else with
    the dataset's test cases, and where none of these is labelled with its other cases up to `limit`.

    Raises:
        StudyError: a name that the dataset does not have, or one in `cases` and among the test cases.
    """
    every = (*dataset.training, *dataset.validation, *dataset.test)
    if not trains and cases is not None:
        test_cases = tuple(dict.fromkeys([*cases, *(test_cases or ())]))
        cases = None
    test = dataset.test if test_cases is None else _pick(every, test_cases)
    tested = {case.name for case in test}
    chosen: tuple[Case, ...] = (*dataset.training, *dataset.validation)
    if cases is not None:
        chosen = _pick(every, cases)
        _refuse_both(chosen, tested)
    chosen = tuple(case for case in chosen if case.name not in tested)
    labelled = tuple(case for case in chosen if case.label is not None)
    unlabelled = tuple(case for case in test if case.label is None)
    test = tuple(case for case in test if case.label is not None)
    if not trains:
        spare = labelled[:limit] if test_cases is None else ()
        return Choice((), (), test or spare, unlabelled)
    if dataset.lists_validation:
        training = tuple(case for case in chosen if case not in dataset.validation)
        validation = tuple(case for case in chosen if case in dataset.validation)
    else:
        training, validation = split_validation(chosen)
    return Choice(training[:limit], validation, test, unlabelled)


def _pick(cases: Sequence[Case], names: Sequence[str]) -> tuple[Case, ...]:
    by_name = {case.name: case for case in cases}
    for name in names:
        if name not in by_name:
            raise StudyError(f'There is no case "{name}".', nearest(name, by_name))
    return tuple(by_name[name] for name in names)


def _refuse_both(chosen: Sequence[Case], tested: set[str]) -> None:
    for case in chosen:
        if case.name in tested:
            raise StudyError(
                f'The case "{case.name}" is to train and to test.',
                "Take it out of `cases`, or name the `test_cases` without it.",
            )
