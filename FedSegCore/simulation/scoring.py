"""Final models on test cases: every structure of every case on the image's own grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from FedSegCore.data.case import Case
from FedSegCore.data.casefiles import CaseFiles
from FedSegCore.data.geometry import Geometry
from FedSegCore.data.prepared import key_of
from FedSegCore.data.reading import read_labelled_case
from FedSegCore.data.volume import spacing_of
from FedSegCore.inference.modelfile import Model, ModelHeader
from FedSegCore.inference.segment import segment_prepared
from FedSegCore.learning.metrics import CaseScore, score_case
from FedSegCore.nets.multiencoder import see
from FedSegCore.setting import Setting, SiteData


@dataclass(frozen=True, eq=False)
class TestCase:
    """A test case, read once and scored with every model.

    Args:
        arrays: `image`, `scan` and `reference`, in memory or in files.
    """

    name: str
    geometry: Geometry
    arrays: Mapping[str, np.ndarray]

    @property
    def image(self) -> Float[Tensor, "c u v w"]:
        """As the network sees it."""
        return torch.from_numpy(self.arrays["image"])

    @property
    def scan(self) -> Float[np.ndarray, "x y z"]:
        """The first channel as it was read, for pictures."""
        return self.arrays["scan"]

    @property
    def reference(self) -> Bool[np.ndarray, "l x y z"]:
        """The annotated structures on the image's grid; empty masks where not annotated."""
        return self.arrays["reference"]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Of the image's own grid."""
        return spacing_of(self.geometry.affine)


def read_test_cases(
    setting: Setting, data: SiteData, cases: Iterable[Case], *, files: CaseFiles | None = None
) -> tuple[TestCase, ...]:
    """Test cases of a site, read and prepared, in memory or in `files`.

    Raises:
        DataError: an image or reference that cannot be used, or that lies on another grid.
    """
    return tuple(_read(setting, data, case, files) for case in cases)


def _read(setting: Setting, data: SiteData, case: Case, files: CaseFiles | None) -> TestCase:
    given = (case, data.dataset, setting.plan, data.annotation)

    def make() -> dict[str, np.ndarray]:
        read = read_labelled_case(*given, channels=data.sources)
        scan = np.asarray(read.scan.array, np.float32)
        return {"image": read.image.numpy(), "scan": scan, "reference": read.structures,
                "affine": read.scan.affine}  # fmt: skip

    arrays: Mapping[str, np.ndarray]
    if files is None:
        arrays = make()
    else:
        arrays = files.keep(key_of(*given, channels=data.sources, purpose="test"), make)
    x, y, z = arrays["scan"].shape
    return TestCase(case.name, setting.plan.geometry((x, y, z), np.array(arrays["affine"])), arrays)


@dataclass(frozen=True, eq=False)
class Measured:
    """One test case, segmented by one model and measured.

    Args:
        scores: of the structures that the site annotates and the model knows.
        modalities: what the model was given, joined by "+".
    """

    case: TestCase
    prediction: Bool[np.ndarray, "l x y z"]
    scores: tuple[CaseScore, ...]
    modalities: str

    @property
    def dice(self) -> float:
        """The mean Dice over its defined scores; nan without any."""
        defined = [score.dice for score in self.scores if not math.isnan(score.dice)]
        return sum(defined) / len(defined) if defined else math.nan


def measure(model: Model, setting: Setting, data: SiteData, cases: Sequence[TestCase]) -> Iterator[Measured]:
    """Segment one site's test cases with one model and measure them."""
    for case in cases:
        yield measure_case(model, setting, data, case, fed(model.header, setting, case))


def fed(header: ModelHeader, setting: Setting, case: TestCase) -> Float[Tensor, "c u v w"]:
    """What a model is given of a case: only the modalities that its owner trained with.

    A study of one input feeds it always, whatever the modality is called.
    """
    single = len(setting.inputs) == 1
    known = [single or any(name in header.owned for name in choices) for choices in setting.inputs]
    return case.image * torch.tensor(known, dtype=torch.float32).view(-1, 1, 1, 1)


def measure_case(
    model: Model, setting: Setting, data: SiteData, case: TestCase, image: Float[Tensor, "c u v w"]
) -> Measured:
    """Segment one case's prepared image and measure it."""
    see(model.net, [name for name in data.modalities if name in model.header.owned] or model.header.owned)
    return measured(segment_prepared(model, image, case.geometry), model.header, setting, data, case)


def measured(
    prediction: Bool[np.ndarray, "l x y z"],
    header: ModelHeader,
    setting: Setting,
    data: SiteData,
    case: TestCase,
) -> Measured:
    """Measure one case's segmentation."""
    single = len(setting.inputs) == 1
    scores = score_case(
        prediction,
        case.reference,
        labels=setting.labels,
        spacing_mm=case.spacing_mm,
        slices=case.geometry.axes[2] if header.plan.dims == 2 else None,
    )
    kept = tuple(one for one in scores if one.label in data.labels and one.label in header.known)
    modalities = "+".join(name for name in data.modalities if single or name in header.owned)
    return Measured(case, prediction, kept, modalities)
