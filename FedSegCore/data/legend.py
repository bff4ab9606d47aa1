"""A label map's legend: which of its values make up each structure, and whether it is a stack of slices.

It is one line of JSON: in NIfTI a comment extension of the header, in NRRD and MetaImage a key. Where regions
lie inside each other the map shows the innermost, so an outer one is several values; a reader without the legend
would have to guess them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from FedSegCore.data.io import LEGEND_KEY, is_nifti, one_sentence
from FedSegCore.data.labels import MAX_LABEL_VALUE
from FedSegCore.data.volume import orientation_of

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8

_VERSION = 1
_DIRECTIONS = ("RL", "AP", "SI")


@final
@dataclass(frozen=True)
class Legend:
    """What a label map that FedSeg wrote says of itself.

    Args:
        structures: name -> the values that cover it: its own and those of what is seen in front of it.
        slices_along: the direction in which a 2-D model's slices are stacked, such as "S"; "" for a 3-D model.
            A direction rather than an axis, because it survives when the file's axes are turned.
    """

    structures: Mapping[str, tuple[int, ...]]
    slices_along: str = ""

    def slice_axis(self, affine: np.ndarray) -> int | None:
        """The axis of a file on this grid that is a list of slices; None for a 3-D model."""
        pair = next((pair for pair in _DIRECTIONS if self.slices_along and self.slices_along in pair), "")
        axes = (axis for axis, letter in enumerate(orientation_of(affine)) if letter in pair)
        return next(axes, None)

    def masks(self, label_map: UInt8[np.ndarray, "x y z"]) -> Bool[np.ndarray, "l x y z"]:
        """The structures as the label map shows them."""
        shown = [np.isin(label_map, values) for values in self.structures.values()]
        return np.array(shown, dtype=bool).reshape(-1, *label_map.shape)

    def to_text(self) -> str:
        """One line of JSON; equal legends give equal text."""
        structures = {name: list(values) for name, values in self.structures.items()}
        return json.dumps({"fedseg": _VERSION, "structures": structures, "slices_along": self.slices_along})

    @classmethod
    def from_text(cls, text: str) -> Legend | None:
        """The legend that a header's text holds; None for any other text, which is some other program's."""
        try:
            raw = json.loads(text)
            if raw["fedseg"] != _VERSION:
                return None
            structures = {str(name): _values(values) for name, values in raw["structures"].items()}
            return cls(structures, str(raw["slices_along"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def _values(raw: Sequence[Any]) -> tuple[int, ...]:
    values = tuple(int(value) for value in raw)
    if not all(0 < value <= MAX_LABEL_VALUE for value in values):
        raise ValueError(f"label values {values}")
    return values


def make_legend(
    regions: Bool[np.ndarray, "l x y z"],
    label_map: UInt8[np.ndarray, "x y z"],
    values: Mapping[str, int],
    *,
    slices_along: str,
) -> Legend:
    """The legend of a painted label map.

    A value covers a structure if most of its voxels lie in it. Of regions that lie inside each other that is exact;
    of any others it is the nearest that a label map can say.

    Args:
        regions: L masks.
        label_map: the masks painted over each other.
        values: name -> own value of each of the masks.
    """
    counts = [_counts(label_map, region) for region in regions]
    painted = {own: inside[own] for own, inside in zip(values.values(), counts, strict=True)}
    structures = {}
    for inside, (name, own) in zip(counts, values.items(), strict=True):
        covering = {value for value, voxels in painted.items() if 2 * inside[value] > voxels}
        structures[name] = tuple(sorted(covering | {own}))
    return Legend(structures, slices_along)


def _counts(label_map: UInt8[np.ndarray, "x y z"], region: Bool[np.ndarray, "x y z"]) -> np.ndarray:
    """How often each value stands in a region, counted plane by plane: numpy widens what it counts to 8 bytes."""
    counts = np.zeros(MAX_LABEL_VALUE + 1, dtype=np.int64)
    for values, inside in zip(label_map, region, strict=True):
        counts += np.bincount(values[inside], minlength=len(counts))
    return counts


def read_legend(path: Path) -> Legend | None:
    """The legend of an image file; None where it has none.

    Raises:
        DataError: the file cannot be read.
    """
    with one_sentence(path):
        if is_nifti(path):
            from FedSegCore.data.nifti import read_comments

            texts = read_comments(path)
        else:
            from FedSegCore.data.itk import read_metadata

            texts = [text for key, text in read_metadata(path).items() if key == LEGEND_KEY]
    legends = (Legend.from_text(text) for text in texts)
    return next((legend for legend in legends if legend is not None), None)
