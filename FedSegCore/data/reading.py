"""A labelled case, read once from its files: for training and for scoring the same checks hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from FedSegCore.data.geometry import Geometry
from FedSegCore.data.io import read_volume
from FedSegCore.data.segments import read_label_map
from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError

if TYPE_CHECKING:
    from FedSegCore.data.case import Case, Dataset
    from FedSegCore.data.labels import Annotation
    from FedSegCore.data.plan import Plan


@final
@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A case as the network sees it, with its structures as they were drawn.

    Attributes:
        image: one channel a network input; 0 where the site lacks the input.
        geometry: the way from the prepared grid back to the image's.
        scan: the first channel as it was read.
        structures: the study's structures on the scan's grid; empty masks where not annotated.
    """

    image: Float[Tensor, "c u v w"]
    geometry: Geometry
    scan: Volume
    structures: Bool[np.ndarray, "l x y z"]


def read_labelled_case(
    case: Case, dataset: Dataset, plan: Plan, annotation: Annotation, *, channels: Sequence[int | None]
) -> LabelledCase:
    """Read a case's channels and label map and prepare the channels.

    Args:
        case: a case with a label map.
        dataset: the dataset it belongs to.
        plan: orientation, spacing and intensity rules; the rule hangs on each channel's modality.
        annotation: which structures the site annotates, by which of its own names.
        channels: the dataset's channel for each network input, None for an absent one.

    Raises:
        DataError: no label map, no channel, channels or label map on different grids.
    """
    owned = [channel for channel in channels if channel is not None]
    if case.label is None or not owned:
        raise DataError(
            f"Expected case {case.name} with a label map and at least one input channel.",
            "Add its label to dataset.json, or leave the case out.",
        )
    volumes = [read_volume(case.images[channel]) for channel in owned]
    first = volumes[0]
    label = read_label_map(case.label, dataset.labels, like=first)
    if not same_grid(label.shape, label.affine, other_shape=first.shape, other_affine=first.affine):
        raise DataError(
            f"Expected case {case.name}'s label on its image's grid of {first.shape}, got another grid "
            f"of {label.shape}.",
            "Export the label map on the image's grid; `fedseg check` lists all such files.",
        )
    prepared = plan.prepare(volumes, [dataset.channel_names[channel] for channel in owned])
    image = torch.from_numpy(prepared.image)
    if len(owned) < len(channels):
        image = torch.zeros(len(channels), *prepared.image.shape[1:])
        image[[channel is not None for channel in channels]] = torch.from_numpy(prepared.image)
    structures = dataset.labels.encode(label.array, annotation.groups)
    return LabelledCase(image, prepared.geometry, first, structures)
