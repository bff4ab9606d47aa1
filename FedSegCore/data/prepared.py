"""A site's cases as training takes them: read and prepared once, in memory or in files that patches are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from FedSegCore.data.casefiles import CaseFiles, FiledArrays, digest_of
from FedSegCore.data.reading import read_labelled_case
from FedSegCore.errors import DataError, nearest

if TYPE_CHECKING:
    from FedSegCore.data.case import Case, Dataset
    from FedSegCore.data.labels import Annotation
    from FedSegCore.data.plan import Plan


@final
@dataclass(frozen=True, eq=False)
class CachedCase:
    """A prepared case in memory.

    Attributes:
        name: the case's name; stays at the site.
        image: one channel a network input; 0 where the site lacks the input. In a 2-D study Z counts slices.
        target: 1 inside the structure; 0 outside and where the structure is not annotated.
        annotated: which structures the site annotates.
    """

    name: str
    image: Float[Tensor, "c x y z"]
    target: UInt8[Tensor, "l x y z"]
    annotated: Bool[Tensor, " l"]


@final
@dataclass(frozen=True, eq=False)
class FiledCase:
    """A prepared case in files; `image` and `target` are those of a `CachedCase`, mapped anew at each access."""

    name: str
    arrays: FiledArrays
    annotated: Bool[Tensor, " l"]

    @property
    def image(self) -> Float[Tensor, "c x y z"]:
        """The image; its memory is the file's."""
        return self._array("image")

    @property
    def target(self) -> UInt8[Tensor, "l x y z"]:
        """The structures; their memory is the file's."""
        return self._array("target")

    def _array(self, name: str) -> Tensor:
        if f"{name}_slices" in self.arrays:
            return torch.from_numpy(self.arrays[f"{name}_slices"]).movedim(1, -1)
        return torch.from_numpy(self.arrays[name])


PreparedCase = CachedCase | FiledCase


def input_sources(
    inputs: Sequence[str], *, owned: Sequence[str], channel_names: Sequence[str]
) -> tuple[int | None, ...]:
    """Which of a dataset's channels feeds each input of the network; None where the site has none.

    One input and one owned modality belong together whatever their names, so that a CT site and an MR site
    train one network. Otherwise names decide.

    Args:
        inputs: the study's network inputs by modality name.
        owned: the modalities that the site uses in this study.
        channel_names: the dataset's channels in file order.

    Raises:
        DataError: an owned modality that the dataset lacks, or none of the inputs owned.
    """
    for name in owned:
        if name not in channel_names:
            raise DataError(
                f'Expected modality "{name}" among the dataset\'s channels {tuple(channel_names)}.',
                nearest(name, channel_names),
            )
    if len(inputs) == 1 and len(owned) == 1:
        return (channel_names.index(owned[0]),)
    sources = tuple(channel_names.index(name) if name in owned else None for name in inputs)
    if all(source is None for source in sources):
        raise DataError(
            f"Expected one of the network's inputs {tuple(inputs)}, got a site with {tuple(owned)}.",
            "Name the site's modalities as the study's others do.",
        )
    return sources


def cache_case(
    case: Case, dataset: Dataset, plan: Plan, annotation: Annotation, *, channels: Sequence[int | None]
) -> CachedCase:
    """Read and prepare a case once, for training.

    Args and errors are those of `read_labelled_case`; for `channels` see `input_sources`.
    """
    read = read_labelled_case(case, dataset, plan, annotation, channels=channels)
    target = torch.from_numpy(plan.prepare_target(read.structures, read.geometry))
    return CachedCase(case.name, read.image, target, torch.tensor(annotation.annotated))


def file_case(
    case: Case,
    dataset: Dataset,
    plan: Plan,
    annotation: Annotation,
    *,
    channels: Sequence[int | None],
    files: CaseFiles,
) -> FiledCase:
    """The same as `cache_case`, in files; not prepared again where these hold it already.

    Raises:
        StorageError: the files cannot be written.
    """

    def make() -> dict[str, np.ndarray]:
        read = cache_case(case, dataset, plan, annotation, channels=channels)
        arrays = {"image": read.image.numpy(), "target": read.target.numpy()}
        if plan.dims == 3:
            return arrays
        # A slice is to be one piece of its file.
        return {f"{name}_slices": np.moveaxis(array, -1, 1) for name, array in arrays.items()}

    key = key_of(case, dataset, plan, annotation, channels=channels, purpose="training")
    return FiledCase(case.name, files.keep(key, make), torch.tensor(annotation.annotated))


def key_of(
    case: Case,
    dataset: Dataset,
    plan: Plan,
    annotation: Annotation,
    *,
    channels: Sequence[int | None],
    purpose: str,
) -> str:
    """The name of what is prepared from a case for a purpose: a digest of its files and all that matters."""
    used = [None if channel is None else dataset.channel_names[channel] for channel in channels]
    names = {name for group in annotation.groups for name in group}
    settings = {
        "purpose": purpose,
        "plan": plan.to_dict(),
        "channels": used,
        "groups": annotation.groups,
        "values": {name: dataset.labels.values[name] for name in sorted(names)},
    }
    owned = [case.images[channel] for channel in channels if channel is not None]
    return digest_of([*owned, *([case.label] if case.label else [])], settings)
