"""Structures by name: a site's words for them, its label maps' numbers, and which of them it annotates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from FedSegCore.data.labelformat import parse_labels
from FedSegCore.errors import DataError, nearest

if TYPE_CHECKING:
    from jaxtyping import Bool, Shaped, UInt8

MAX_LABEL_VALUE = 255
"""The largest value of a label map that FedSeg writes (uint8)."""


@final
@dataclass(frozen=True)
class LabelSet:
    """The structures of one dataset.

    Args:
        values: structure name -> the label-map values that it covers; several for a region such as a whole
            tumour. The background is not a structure.
    """

    values: Mapping[str, tuple[int, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """The structures, in the dataset's order."""
        return tuple(self.values)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], *, where: str = "dataset.json") -> LabelSet:
        """Reads the `labels` of a dataset.json in either convention.

        Name -> number or numbers (`{"background": 0, "tumour": [1, 2]}`, nnU-Net), or number -> name
        (`{"0": "background", "1": "tumour"}`, MSD). What has the value 0 or is called background is left out.

        Args:
            raw: the JSON object.
            where: how messages call the file.

        Raises:
            DataError: neither convention, one value under two names, or one name under two values.
        """
        return cls(parse_labels(raw, where=where))

    def numbers(self, names: Sequence[str]) -> frozenset[int]:
        """The label-map values of several structures together.

        Raises:
            DataError: a name is not in the set.
        """
        for name in names:
            if name not in self.values:
                raise DataError(
                    f'No structure is called "{name}" in this dataset.', nearest(name, self.names)
                )
        return frozenset(value for name in names for value in self.values[name])

    def encode(
        self, label_map: Shaped[np.ndarray, "x y z"], groups: Sequence[Sequence[str]]
    ) -> Bool[np.ndarray, "l x y z"]:
        """One mask per group of names.

        Args:
            label_map: whole numbers (X, Y, Z), of any number type.
            groups: L groups of this dataset's own names; an empty group gives an empty mask.

        Returns:
            (L, X, Y, Z); channel l is the union of group l's structures.

        Raises:
            DataError: a name is not in the set.
        """
        masks = np.zeros((len(groups), *label_map.shape), dtype=bool)
        for mask, group in zip(masks, groups, strict=True):
            for value in sorted(self.numbers(group)):
                mask |= label_map == value
        return masks

    def overlapping(self, groups: Sequence[Sequence[str]]) -> bool:
        """Whether some voxel value belongs to two groups (whole tumour > core)."""
        seen: set[int] = set()
        for group in groups:
            numbers = self.numbers(group)
            if seen & numbers:
                return True
            seen |= numbers
        return False


@final
@dataclass(frozen=True)
class Annotation:
    """What one site's annotations say about the study's labels.

    Args:
        labels: the study's labels, L of them.
        groups: for each of them the site's own names that make it up; () where the site does not annotate it.
    """

    labels: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]

    @property
    def annotated(self) -> tuple[bool, ...]:
        """For each study label, whether the site annotates it."""
        return tuple(bool(group) for group in self.groups)


def annotate(
    study_labels: Sequence[str],
    site_set: LabelSet,
    *,
    annotates: Sequence[str] | None = None,
    label_map: Mapping[str, Sequence[str]] | None = None,
) -> Annotation:
    """Finds the study's labels among a site's own.

    Args:
        study_labels: the study's labels.
        site_set: the structures of the site's dataset.json.
        annotates: what the site says it annotates, by the study's names or its own; None: all it has.
        label_map: study label -> the site's own names that make it up; otherwise the identical name.

    Raises:
        DataError: a name that neither the study nor the site knows, or none of the study's labels is here.
    """
    label_map = label_map or {}
    _refuse_unknown(label_map, study_labels, what="`label_map` maps to")
    for parts in label_map.values():
        _refuse_unknown(parts, site_set.names, what="`label_map` maps from")
    own = {
        label: tuple(label_map.get(label, [label] if label in site_set.values else []))
        for label in study_labels
    }
    if annotates is not None:
        return Annotation(tuple(study_labels), tuple(_only_said(own, site_set, annotates=annotates).values()))
    _refuse_other_case(own, site_set)
    if not any(own.values()):
        raise DataError(
            f"None of the study's labels ({', '.join(study_labels)}) is in the site's dataset.json "
            f"({', '.join(site_set.names)}).",
            "Map the site's names to the study's in `label_map`.",
        )
    return Annotation(tuple(study_labels), tuple(own.values()))


def _only_said(
    own: Mapping[str, tuple[str, ...]], site_set: LabelSet, *, annotates: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The groups of those study labels that the site says it annotates, by their name or by their parts."""
    _refuse_unknown(annotates, [*own, *site_set.names], what="`labels` names")
    said = set(annotates)
    for label, parts in own.items():
        if label in said and not parts:
            raise DataError(
                f'`labels` names "{label}", which the site\'s dataset.json does not have.',
                f"{nearest(label, site_set.names)} Otherwise name its parts in `label_map`.",
            )
    return {
        label: parts if label in said or (parts and said.issuperset(parts)) else ()
        for label, parts in own.items()
    }


def _refuse_unknown(names: Mapping[str, Any] | Sequence[str], known: Sequence[str], *, what: str) -> None:
    for name in names:
        if name not in known:
            raise DataError(f'{what} "{name}", which is not known here.', nearest(name, known))


def _refuse_other_case(found: Mapping[str, tuple[str, ...]], site_set: LabelSet) -> None:
    """A name that differs in upper and lower case only is a slip, and would silently go untrained."""
    for label, own in found.items():
        for name in site_set.names:
            if not own and name.lower() == label.lower() and name not in found:
                raise DataError(
                    f'The study\'s label is "{label}", the site\'s dataset.json has "{name}".',
                    f'Write the same name, or `label_map = {{"{label}" = ["{name}"]}}`.',
                )


def renamed(site_set: LabelSet, annotation: Annotation) -> LabelSet:
    """A site's label set under the study's names; the values stand in the order of the names that are merged."""
    pairs = zip(annotation.labels, annotation.groups, strict=True)
    return LabelSet(
        {
            label: tuple(dict.fromkeys(value for name in group for value in site_set.values[name]))
            for label, group in pairs
            if group
        }
    )


def label_values(sets: Sequence[LabelSet], labels: Sequence[str]) -> dict[str, int]:
    """The values that FedSeg's own label maps give to each label.

    They are the sites' dataset.json values where these agree: a label's only value; of a region one that belongs
    to none inside it; of several structures that a site maps to one the first. Where no value serves at all
    sites that have the label, or two labels come to one value: 1, 2, ... in the order of `labels`.
    """
    agreed = {label: value for label in labels if (value := _agreed_value(sets, label)) is not None}
    if len(agreed) == len(labels) == len(set(agreed.values())):
        return agreed
    return {label: number for number, label in enumerate(labels, start=1)}


def _agreed_value(sets: Sequence[LabelSet], label: str) -> int | None:
    """The first value that shows a label at every site that has it."""
    own = [_own_values(one, label) for one in sets if label in one.values]
    shared = (value for value in own[0] if all(value in values for values in own)) if own else iter(())
    return next((value for value in shared if value <= MAX_LABEL_VALUE), None)


def _own_values(site_set: LabelSet, label: str) -> tuple[int, ...]:
    """A label's values without those of labels that lie inside it or cross it; labels around it share all of its."""
    values = site_set.values[label]
    others = (other for other in site_set.values.values() if not set(other).issuperset(values))
    taken = {value for other in others for value in other}
    return tuple(value for value in values if value not in taken)


def paint(
    regions: Bool[np.ndarray, "l x y z"], values: Sequence[int] | Mapping[str, int]
) -> UInt8[np.ndarray, "x y z"]:
    """A label map of several regions; later regions are painted over earlier ones, so outer ones come first.

    Args:
        regions: L masks.
        values: the label-map value of each, 1 to 255 (of a mapping, its values in order).
    """
    numbers = list(values.values()) if isinstance(values, Mapping) else list(values)
    label_map = np.zeros(regions.shape[1:], dtype=np.uint8)
    for region, number in zip(regions, numbers, strict=True):
        label_map[region] = number
    return label_map
