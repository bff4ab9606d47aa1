"""Label files that name their structures themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from FedSegCore.data.io import image_suffix, one_sentence, read_volume
from FedSegCore.data.legend import read_legend
from FedSegCore.data.segments import read_layers, refuse_lacking_layers, segments_of, uncropped
from FedSegCore.data.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool


@final
@dataclass(frozen=True, eq=False)
class Drawn:
    """Structures on one grid; they may overlap.

    Args:
        masks: name -> (X, Y, Z).
        affine: (4, 4), voxel index -> world mm, RAS+.
    """

    masks: Mapping[str, Bool[np.ndarray, "x y z"]]
    affine: np.ndarray


def read_named(path: Path, *, like: Volume | None = None) -> Drawn | None:
    """The structures by the file's own names: a .seg.nrrd's segments, or what a legend says; None without names.

    Args:
        path: the label file.
        like: the grid that 3D Slicer may have cropped a .seg.nrrd from, and onto which it is put back.

    Raises:
        DataError: the file cannot be read, or two segments have one name.
    """
    drawn = _segments(path, like) if image_suffix(path) == ".seg.nrrd" else _legend_structures(path)
    return drawn if drawn is not None and drawn.masks else None


def _segments(path: Path, like: Volume | None) -> Drawn:
    from FedSegCore.data.itk import read_metadata

    with one_sentence(path):
        segments = segments_of(read_metadata(path), path)
        layers, affine = read_layers(path)
        layers = layers.reshape(*layers.shape[:3], -1)
        refuse_lacking_layers(segments, layers.shape[3], path=path)
        volumes = {one.name: Volume(layers[..., one.layer] == one.value, affine) for one in segments}
    if like is not None:
        volumes = {
            name: uncropped(one, shape=like.shape, affine=like.affine) for name, one in volumes.items()
        }
    affine = next(iter(volumes.values())).affine if volumes else affine
    return Drawn({name: one.array for name, one in volumes.items()}, affine)


def _legend_structures(path: Path) -> Drawn | None:
    legend = read_legend(path)
    if legend is None:
        return None
    volume = read_volume(path)
    known = {0, *(value for values in legend.structures.values() for value in values)}
    if not known.issuperset(np.unique(volume.array).tolist()):
        return None  # the map was painted over since: its legend is of another state
    return Drawn(dict(zip(legend.structures, legend.masks(volume.array), strict=True)), volume.affine)
