"""What all sites of a study agree on, made from what each tells when it joins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, final

from FedSegCore.data.autoplan import auto_plan
from FedSegCore.data.labels import MAX_LABEL_VALUE, LabelSet, label_values
from FedSegCore.data.passport import Passport
from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.data.plausible import implausible
from FedSegCore.errors import DataError, FedSegError, ModelFileError, StudyError, nearest
from FedSegCore.federation.joining import Joining
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.nets.unet import Network, Norm, default_channels
from FedSegCore.study import NetworkTable, Study
from FedSegCore.tables import coerce


@final
@dataclass(frozen=True)
class Agreement:
    """What every site of a study works with.

    Args:
        labels: the study's structures, in the order of the network's outputs.
        values: their values in a label map.
        overlapping: whether some member's structures overlap.
        inputs: for each network input, the modalities that may feed it.
        depth: the number of network levels that the plan's patch allows for.
    """

    labels: tuple[str, ...]
    values: Mapping[str, int]
    overlapping: bool
    inputs: tuple[tuple[str, ...], ...]
    plan: Plan
    depth: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `Agreement.from_dict` gives back an equal agreement."""
        return {**asdict(self), "plan": self.plan.to_dict()}

    @classmethod
    def from_dict(cls, raw: object) -> Agreement:
        """Read what `to_dict` wrote, as JSON brings it.

        Raises:
            ModelFileError: a key is missing, unknown or of the wrong kind.
        """
        try:
            return _read(raw)
        except FedSegError as error:
            raise ModelFileError(
                f"The study's agreement cannot be used: {error.message}",
                "Use the same FedSeg version at both ends.",
            ) from None


def _read(raw: object) -> Agreement:
    known = [one.name for one in fields(Agreement)]
    if not isinstance(raw, Mapping) or raw.keys() != set(known):
        raise StudyError(f"its keys are not {', '.join(known)}.")
    labels = coerce(raw["labels"], tuple[str, ...], "`labels`")
    values = coerce(raw["values"], Mapping[str, int], "`values`")
    numbers = set(values.values())
    if not labels or sorted(labels) != sorted(values) or len(numbers) < len(labels):
        raise StudyError("its `values` are not one for each of its `labels`.")
    if min(numbers) < 1 or max(numbers) > MAX_LABEL_VALUE:
        raise StudyError(f"its `values` are not all from 1 to {MAX_LABEL_VALUE}.")
    inputs = coerce(raw["inputs"], tuple[tuple[str, ...], ...], "`inputs`")
    depth = coerce(raw["depth"], int, "`depth`")
    if not inputs or not all(inputs) or depth < 1:
        raise StudyError("its `inputs` or its `depth` are none.")
    return Agreement(
        labels,
        {label: values[label] for label in labels},
        coerce(raw["overlapping"], bool, "`overlapping`"),
        inputs,
        Plan.from_dict(raw["plan"]),
        depth,
    )


def agree(study: Study, joinings: Mapping[str, Joining], *, like: ModelHeader | None = None) -> Agreement:
    """Settle structures, inputs and plan from what the sites told.

    Members and the server shape inputs and plan; outside sites bring structures and their values only.

    Args:
        joinings: by the names of the study's sites; a site that is not among them does not take part.
        like: a model that the study goes on from: its structures, inputs and plan hold.

    Raises:
        StudyError: nobody trains, labels or modalities that no site has, a patch that does not fit the network.
        DataError: a site told what no dataset has, or no passport where the plan needs one.
    """
    told = {site.name: joinings[site.name] for site in study.sites if site.name in joinings}
    members = [site.name for site in study.sites if site.name in told and site.role != "outside"]
    if not members:
        raise StudyError("No site that trains has joined.", "Wait for one, or invite one.")
    for name, joining in told.items():
        refuse_odd(joining, trains=name in members)
    labels = like.label_names if like else _study_labels(study, told.values())
    own = {name: _label_set(joining, labels) for name, joining in told.items()}
    overlapping = any(own[name].overlapping([[label] for label in own[name].names]) for name in members)
    if like is not None:
        agreement = Agreement(
            labels,
            dict(like.labels),
            like.overlapping or overlapping,
            like.inputs,
            like.plan,
            like.network.depth,
        )
    else:
        labels_told = [name for joining in told.values() for name in joining.values]
        modalities = [name for joining in told.values() for name in joining.modalities]
        refuse_unknown(study, labels=labels_told, modalities=modalities)
        inputs = _inputs([told[name].modalities for name in members])
        plan, depth = _plan(study, [told[name] for name in members])
        values = label_values(list(own.values()), labels)
        agreement = Agreement(labels, values, overlapping, inputs, plan, depth)
    _check_patch(agreement.plan, network_of(study.network, agreement, norm="instance").divisor)
    return agreement


def refuse_unknown(study: Study, *, labels: Iterable[str], modalities: Iterable[str]) -> None:
    """See that some site has what the study names: its structures, and the modalities of its intensity rules.

    Args:
        labels, modalities: those of the sites.

    Raises:
        StudyError: one that none has.
    """
    labels, modalities = dict.fromkeys(labels), dict.fromkeys(modalities)
    for label in study.labels or ():
        if label not in labels:
            raise StudyError(f'No site annotates "{label}", which the study lists.', nearest(label, labels))
    for name in study.plan.intensity:
        if name not in modalities:
            raise StudyError(
                f"[plan.intensity.{name}] is of a modality that no site has.", nearest(name, modalities)
            )


def network_of(table: NetworkTable, agreed: Agreement, *, norm: Norm) -> Network:
    """The study's network, of one encoder; channels that it does not give follow from the plan's depth."""
    channels = table.channels or default_channels(dims=agreed.plan.dims, depth=agreed.depth)
    return Network(channels=channels, norm=table.norm or norm)


def refuse_odd(joining: Joining, *, trains: bool) -> None:
    """A message may be well-formed and still say what no dataset can.

    Raises:
        DataError: it does.
    """
    name = joining.name
    numbers = [number for values in joining.values.values() for number in values]
    if not joining.modalities or (trains and joining.num_cases < 1) or min(numbers, default=1) < 1:
        raise DataError(
            f"Site {name} joined without a modality or a case to train with, or with a label value below 1.",
            "Let it correct its dataset and join again.",
        )
    odd = implausible(_passport(joining), cases=joining.num_cases) if trains and joining.passport else ""
    if odd:
        raise DataError(
            f"Site {name} cannot take part: {odd}.", "Let it make its passport again and join again."
        )


def _study_labels(study: Study, joinings: Iterable[Joining]) -> tuple[str, ...]:
    """The study's own list; else every name that a site brings, in the order of first appearance."""
    brought = (label for joining in joinings for label in joining.labels)
    return tuple(dict.fromkeys(brought)) if study.labels is None else study.labels


def _label_set(joining: Joining, labels: Sequence[str]) -> LabelSet:
    """Those of the study's structures that a site annotates, with their values there."""
    return LabelSet({label: tuple(joining.values[label]) for label in labels if label in joining.values})


def _inputs(owned: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """One input where every site has one modality, whatever its name; else the union by first appearance."""
    union = tuple(dict.fromkeys(name for names in owned for name in names))
    if all(len(names) == 1 for names in owned):
        return (union,)
    return tuple((name,) for name in union)


def _plan(study: Study, members: Sequence[Joining]) -> tuple[Plan, int]:
    """The plan that the passports of all who train come to, with what the study fixes laid over it."""
    table = study.plan
    given = {
        name: getattr(table, name)
        for name in ("orientation", "spacing_mm", "patch")
        if getattr(table, name) is not None
    }
    intensity = {name: Intensity(rule.rule, rule.lower, rule.upper) for name, rule in table.intensity.items()}
    if table.auto:
        try:
            plan, depth = auto_plan([_passport(one) for one in members], dims=table.dims, given=given)
        except (ValueError, ArithmeticError):
            names = ", ".join(one.name for one in members)
            raise DataError(
                f"No plan can be made from the passports of {names}: one holds numbers that no image has.",
                "Let the site make its passport again with the same version.",
            ) from None
        patch = (
            plan.patch if table.patch else _whole_blocks(plan.patch, study.network.channels or (0,) * depth)
        )
        return replace(plan, patch=patch, intensity={**plan.intensity, **intensity}), depth
    if table.patch is None:
        raise StudyError("[plan] auto = false needs a patch.", "Give patch = [...], or auto = true.")
    plan = Plan(dims=table.dims, intensity=intensity, **given)
    depth = len(study.network.channels or (0,) * 4)
    return plan, depth


def _passport(joining: Joining) -> Passport:
    try:
        return Passport.from_dict(joining.passport)
    except DataError as error:
        raise DataError(f"Site {joining.name}: {error.message}", error.fix) from None


def _whole_blocks(patch: tuple[int, ...], channels: Sequence[int]) -> tuple[int, ...]:
    """The patch, grown to what a network of so many levels can halve."""
    block = 2 ** (len(channels) - 1)
    return tuple(-(-side // block) * block for side in patch)


def _check_patch(plan: Plan, block: int) -> None:
    if any(side % block for side in plan.patch):
        raise StudyError(
            f"The patch {list(plan.patch)} does not fit the network, which halves each side to 1/{block}.",
            f"Give [plan] a patch of multiples of {block}, or [network] fewer channels.",
        )
