"""Whether what sites told can be agreed on: one alone as it joins, and all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Final

from FedSegCore.agreement import Agreement, agree, refuse_odd
from FedSegCore.errors import FedSegError, StudyError
from FedSegCore.federation.joining import Joining
from FedSegCore.study import Study

_MOST_LEFT_OUT: Final = 3
"""Sites that are left out together, when who does not fit is looked for; more are the study's fault."""


def fit_alone(study: Study, joining: Joining) -> None:
    """See that a site could take part: the structures and modalities that the others bring are not asked of it.

    Raises:
        StudyError: it has none of the study's structures.
        DataError: it tells what no dataset has, or its passport is none.
    """
    labels = study.labels and tuple(name for name in study.labels if name in joining.values)
    if labels is not None and not labels:
        raise other_structures(joining, study.labels or ())
    rules = {name: rule for name, rule in study.plan.intensity.items() if name in joining.modalities}
    plan = replace(study.plan, intensity=rules)
    agree(replace(study, labels=labels, plan=plan), {joining.name: joining})


def fit_late(agreed: Agreement, joining: Joining) -> None:
    """See that a site can take part in what others have agreed on.

    Raises:
        StudyError: it cannot.
        DataError: it tells what no dataset has.
    """
    refuse_odd(joining, trains=True)
    inputs = [name for choices in agreed.inputs for name in choices]
    if len(agreed.inputs) > 1 and not set(joining.modalities) & set(inputs):
        raise StudyError(
            f"{joining.name} has {', '.join(joining.modalities)}; the study has {', '.join(inputs)}.",
            "Name the channels in dataset.json as the study does.",
        )
    if not set(joining.values) & set(agreed.labels):
        raise other_structures(joining, agreed.labels)


def other_structures(joining: Joining, labels: Iterable[str]) -> StudyError:
    """A site has none of the study's."""
    return StudyError(
        f"{joining.name} annotates {', '.join(joining.values)}; the study has {', '.join(labels)}.",
        "Name the structures in dataset.json as the study does.",
    )


def agree_among(
    study: Study, told: Mapping[str, Joining], members: Iterable[str]
) -> tuple[Agreement, dict[str, FedSegError]]:
    """What as many sites as possible agree on, and why the others are left out.

    Args:
        told: by name, of the sites that are on this machine too.
        members: those of them that may be left out.

    Raises:
        FedSegError: they agree on nothing whoever is left out.
    """
    try:
        return agree(study, told), {}
    except FedSegError as error:
        fault = error
    names = sorted(members)
    for number in range(1, min(_MOST_LEFT_OUT, len(names) - 1) + 1):
        for left in combinations(names, number):
            rest = {name: joining for name, joining in told.items() if name not in left}
            try:
                agreed = agree(study, rest)
            except FedSegError:
                continue
            return agreed, {name: _fault(study, {**rest, name: told[name]}) or fault for name in left}
    raise fault


def _fault(study: Study, told: Mapping[str, Joining]) -> FedSegError | None:
    """What keeps these from agreeing."""
    try:
        agree(study, told)
    except FedSegError as error:
        return error
    return None
