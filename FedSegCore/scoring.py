"""Final models on test cases: every structure of every case on the image's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from FedSegCore.data.geometry import Geometry
from FedSegCore.data.io import read_volume
from FedSegCore.data.segments import read_label_map
from FedSegCore.inference.modelfile import Model
from FedSegCore.inference.segment import segment_prepared
from FedSegCore.learning.metrics import score_case
from FedSegCore.report.scores import Score
from FedSegCore.setting import Setting, SiteData


@dataclass(frozen=True, eq=False)
class TestCase:
    """A test case, read once and scored with every model.

    Args:
        image: as the network sees it.
        scan: the first channel as it was read, for pictures.
        reference: the annotated structures on the image's grid; empty masks where not annotated.
    """

    name: str
    image: Float[Tensor, "c u v w"]
    geometry: Geometry
    scan: Float[np.ndarray, "x y z"]
    reference: Bool[np.ndarray, "l x y z"]
    spacing_mm: tuple[float, float, float]


def read_test_cases(setting: Setting, data: SiteData) -> tuple[TestCase, ...]:
    """The site's test cases that have a label map."""
    return tuple(
        _read(setting, data, place) for place, case in enumerate(data.test) if case.label is not None
    )


def _read(setting: Setting, data: SiteData, place: int) -> TestCase:
    case = data.test[place]
    assert case.label is not None
    owned = [channel for channel in data.sources if channel is not None]
    volumes = [read_volume(case.images[channel]) for channel in owned]
    prepared = setting.plan.prepare(volumes, [data.dataset.channel_names[channel] for channel in owned])
    image = torch.zeros(len(data.sources), *prepared.image.shape[1:])
    image[[source is not None for source in data.sources]] = torch.from_numpy(prepared.image)
    label = read_label_map(case.label, data.dataset.labels, like=volumes[0])
    reference = data.dataset.labels.encode(label.array, data.annotation.groups)
    first = volumes[0]
    x, y, z = (float(side) for side in first.spacing_mm)
    return TestCase(
        case.name, image, prepared.geometry, np.asarray(first.array, np.float32), reference, (x, y, z)
    )


@dataclass(frozen=True)
class Row:
    """What the scores of one model at one site have in common."""

    study: str
    method: str
    seed: int
    round: int
    model: str
    owner: str


def score_model(
    model: Model, setting: Setting, data: SiteData, cases: Sequence[TestCase], *, row: Row
) -> Iterator[tuple[list[Score], TestCase, Bool[np.ndarray, "l x y z"]]]:
    """Score one model on one site's test cases: for each case its rows, itself and the prediction.

    Only structures that the site annotates and the model knows are scored; the model is given only the
    modalities that its owner trained with.
    """
    header = model.header
    fed = [any(name in header.owned for name in choices) for choices in setting.inputs]
    if len(setting.inputs) == 1:
        fed = [True]
    modalities = "+".join(
        name for name in data.modalities if len(setting.inputs) == 1 or name in header.owned
    )
    for case in cases:
        image = case.image * torch.tensor(fed, dtype=torch.float32).view(-1, 1, 1, 1)
        prediction = segment_prepared(model, image, case.geometry)
        measured = score_case(prediction, case.reference, labels=setting.labels, spacing_mm=case.spacing_mm)
        scores = [
            Score(
                row.study,
                row.method,
                row.seed,
                row.round,
                row.model,
                row.owner,
                data.site.name,
                modalities,
                case.name,
                one.label,
                one.dice,
                one.hd95_mm,
                one.nsd_1mm,
            )
            for one in measured
            if one.label in data.labels and one.label in header.known
        ]
        yield scores, case, prediction
