"""Segment images with a published model, on their own grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from FedSegCore.data.geometry import Geometry
from FedSegCore.data.io import image_suffix, read_volume, write_label_map, write_segments
from FedSegCore.data.labels import paint
from FedSegCore.data.legend import Legend, make_legend
from FedSegCore.data.named import read_named
from FedSegCore.data.plan import undo
from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError, UsageError, nearest
from FedSegCore.inference.modelfile import Model, ModelHeader
from FedSegCore.learning.predict import predict
from FedSegCore.learning.windows import Tell, nobody
from FedSegCore.nets.multiencoder import see


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One case, segmented.

    Args:
        regions: one mask a structure, on the image's grid.
        label_map: the masks as one map; where structures overlap the smaller one is seen.
        legend: which of the map's values make up each structure that the model knows.
    """

    regions: Bool[np.ndarray, "l x y z"]
    label_map: np.ndarray
    legend: Legend

    def hidden(self, header: ModelHeader) -> int:
        """The voxels that the label map shows in or out of a structure and the structure's own mask does not."""
        if not header.overlapping:
            return 0
        shown = self.legend.masks(self.label_map)
        return int(np.count_nonzero(shown != _known_regions(self.regions, header)))


def segment_volumes(model: Model, volumes: Mapping[str, Volume], *, tell: Tell = nobody) -> Segmentation:
    """Segment one case.

    Args:
        volumes: its images on one grid, by modality (see `match_modalities`); those that the model's owner
            did not train with are left aside.
        tell: is told how far it is.
    """
    image, geometry = prepare_case(model.header, volumes)
    see(model.net, [name for name in model.header.modalities if name in volumes])
    probabilities = predict(model.net, image, patch=model.header.plan.patch, tell=tell)
    del image  # each of these may take gigabytes
    regions = restore(model.header, probabilities, geometry)
    del probabilities
    return as_segmentation(model.header, regions)


def prepare_case(
    header: ModelHeader, volumes: Mapping[str, Volume]
) -> tuple[Float[Tensor, "c u v w"], Geometry]:
    """A case's images as the network sees them, and the way back."""
    names = list(volumes)
    prepared = header.plan.prepare(list(volumes.values()), names)
    given = [
        [names.index(name) for name in choices if name in volumes and name in header.modalities][-1:]
        for choices in header.inputs
    ]
    if given == [[place] for place in range(len(names))]:
        return torch.from_numpy(prepared.image), prepared.geometry
    image = torch.zeros(len(header.inputs), *prepared.image.shape[1:])
    for channel, places in zip(image, given, strict=True):
        for place in places:
            channel[:] = torch.from_numpy(prepared.image[place])
    return image, prepared.geometry


def as_segmentation(header: ModelHeader, regions: Bool[np.ndarray, "l x y z"]) -> Segmentation:
    """The masks as one label map, with its legend."""
    outer_first = np.argsort([-region.sum() for region in regions], kind="stable")
    label_map = paint(regions[outer_first], [header.labels[place][1] for place in outer_first])
    legend = make_legend(
        _known_regions(regions, header),
        label_map,
        _known_values(header),
        slices_along=header.plan.orientation[2] if header.plan.dims == 2 else "",
    )
    return Segmentation(regions, label_map, legend)


def _known_values(header: ModelHeader) -> dict[str, int]:
    return {name: value for name, value in header.labels if name in header.known}


def _known_regions(regions: Bool[np.ndarray, "l x y z"], header: ModelHeader) -> Bool[np.ndarray, "k x y z"]:
    """Of the structures that the model was trained on; the others' emptiness says nothing."""
    if len(header.known) == len(header.labels):
        return regions
    return regions[[name in header.known for name in header.label_names]]


def segment_prepared(
    model: Model, image: Float[Tensor, "c u v w"], geometry: Geometry
) -> Bool[np.ndarray, "l x y z"]:
    """Masks on the original grid from a prepared image."""
    return restore(model.header, predict(model.net, image, patch=model.header.plan.patch), geometry)


def restore(
    header: ModelHeader, probabilities: Float[Tensor, "l u v w"], geometry: Geometry
) -> Bool[np.ndarray, "l x y z"]:
    """Masks on the original grid from probabilities; structures that the model never learnt stay empty.

    The same as `decode` of all maps on that grid, which are there one at a time.
    """
    regions = np.zeros((len(probabilities), *geometry.shape), dtype=bool)
    most = np.full(geometry.shape, 0.5, dtype=np.float32)
    for place, name in enumerate(header.label_names):
        if name in header.known:
            (own,) = undo(probabilities[place : place + 1].numpy(), geometry)
            np.greater(own, most, out=regions[place])
            if not header.overlapping:
                regions[:place] &= ~regions[place]
                np.maximum(most, own, out=most)
    return regions


def match_modalities(header: ModelHeader, images: Sequence[tuple[str | None, Path]]) -> dict[str, Path]:
    """Which image is which of the model's modalities.

    One image without a name fits a model of one input, if that input's modalities share their intensity rule.

    Raises:
        UsageError: a number or name of images that does not fit the model, or one that it needs is missing.
    """
    known = [name for choices in header.inputs for name in choices]
    found: dict[str, Path] = {}
    for name, path in images:
        modality = name or _only_modality(header, len(images))
        if modality not in known:
            raise UsageError(f'The model has no modality "{modality}".', nearest(modality, known))
        if modality in found:
            raise UsageError(f"Two images are given as {modality}.", "Give one image a modality.")
        found[modality] = path
    if len(header.inputs) == 1 and len(found) > 1:
        raise UsageError(
            f"The model takes one image ({' or '.join(known)}), got {len(found)}.", "Give one of them."
        )
    if not set(found) & set(header.modalities):
        raise UsageError(
            f"The model learnt from {' and '.join(header.modalities)} alone, got {' and '.join(found)}.",
            f"Give --image {header.modalities[0]}=FILE, or use another model.",
        )
    _refuse_gaps(header, found)
    return found


def _refuse_gaps(header: ModelHeader, found: Mapping[str, Path]) -> None:
    """A model of several inputs is to see all that it learnt from; what it never saw may be absent.

    A model with an encoder for each modality takes whichever there are.
    """
    if header.network.kind == "multiencoder":
        return
    missing = [name for name in header.modalities if name not in found]
    if missing and len(header.inputs) > 1:
        raise UsageError(
            f"The model takes {' and '.join(header.modalities)} of a case, got {' and '.join(found)}.",
            "Add " + " ".join(f"--image {name}=FILE" for name in missing) + ", or use another model.",
        )


def _only_modality(header: ModelHeader, given: int) -> str:
    known = header.modalities
    if len(header.inputs) != 1 or given != 1:
        raise UsageError(
            f"The model takes {len(header.inputs)} images a case ({', '.join(known)}), "
            f"got {given} without {'its' if given == 1 else 'their'} modality.",
            "Say which is which: " + " ".join(f"--image {name}=FILE" for name in known),
        )
    if len({header.plan.rule(name) for name in known}) > 1:
        raise UsageError(
            f"The model was trained on {' and '.join(known)}, whose grey values are prepared differently.",
            f"Say which the image is: --image {known[0]}=FILE.",
        )
    return known[0]


def read_case(paths: Mapping[str, Path]) -> dict[str, Volume]:
    """Read a case's images.

    Raises:
        DataError: an image is missing or unreadable.
    """
    for path in paths.values():
        if not path.exists():
            raise DataError(f"There is no image {path}.", "Check the path.")
    return {name: read_volume(path) for name, path in paths.items()}


def write_segmentation(path: Path, segmentation: Segmentation, *, like: Volume, header: ModelHeader) -> None:
    """Write what the model knows on the image's grid, with names: a label map, or each structure whole."""
    values, legend = _known_values(header), segmentation.legend.to_text()
    if image_suffix(path) == ".seg.nrrd":
        regions = _known_regions(segmentation.regions, header)
        write_segments(path, regions, like=like, segments=values, legend=legend)
    else:
        write_label_map(path, segmentation.label_map, like=like, segments=values, legend=legend)


def volumes_of_result(path: Path) -> dict[str, float]:
    """The volumes in ml of the structures of a result that was written before; {} where it does not name any.

    Raises:
        DataError: the file cannot be read to its end.
    """
    drawn = read_named(path)
    if drawn is None:
        read_volume(path)
        return {}
    return volumes_in_ml(drawn.masks, drawn.affine)


def volumes_in_ml(
    regions: Mapping[str, Bool[np.ndarray, "x y z"]], affine: Float[np.ndarray, "4 4"]
) -> dict[str, float]:
    """The volumes of structures on one grid."""
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0
    return {name: round(float(region.sum()) * voxel_ml, 3) for name, region in regions.items()}
