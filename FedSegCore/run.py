"""One method with one seed of a study, and the prepared cases that all of a study's runs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from FedSegCore.data.batches import CachedCase
from FedSegCore.data.case import Case
from FedSegCore.learning.train import Training
from FedSegCore.methods.registry import Named
from FedSegCore.scoring import TestCase, read_test_cases
from FedSegCore.setting import Setting, SiteData
from FedSegCore.study import Study
from FedSegCore.tensors.weights import Weights


@dataclass(frozen=True, eq=False)
class Cache:
    """What all runs of a study share: prepared cases in memory."""

    training: Mapping[str, tuple[CachedCase, ...]]
    validation: Mapping[str, tuple[CachedCase, ...]]
    test: Mapping[str, tuple[TestCase, ...]]


@dataclass(frozen=True, eq=False)
class Run:
    """One method with one seed.

    Args:
        start: the first weights; none: drawn from the seed.
    """

    setting: Setting
    cache: Cache
    entry: Named
    seed: int
    folder: Path
    device: torch.device
    start: Weights = field(default_factory=dict)

    @property
    def study(self) -> Study:
        """The study that the run is part of."""
        return self.setting.study


def read_cache(setting: Setting) -> Cache:
    """Read and prepare every case once."""
    trained = [data for data in setting.sites if data.site.role != "outside"]
    return Cache(
        training={data.site.name: setting.cache(data, data.training) for data in trained},
        validation={data.site.name: setting.cache(data, _labelled(data)) for data in trained},
        test={data.site.name: read_test_cases(setting, data) for data in setting.sites},
    )


def _labelled(data: SiteData) -> list[Case]:
    return [case for case in data.validation if case.label is not None]


def training_of(run: Run) -> Training:
    """The study's training with the method's own augmentation where the study gives none."""
    train = run.study.train
    return replace(train, augment=train.augment or run.entry.augment)  # type: ignore[arg-type]
