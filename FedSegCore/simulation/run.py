"""One method with one seed of a study, and the prepared cases that all of a study's runs share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from FedSegCore.data.case import Case
from FedSegCore.data.casefiles import IN_MEMORY, CaseFiles
from FedSegCore.data.prepared import PreparedCase
from FedSegCore.errors import UsageError
from FedSegCore.federation.method import ClientInfo
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.learning.train import Training
from FedSegCore.methods.registry import Named
from FedSegCore.nets.network import Network
from FedSegCore.setting import Progress, Setting, SiteData
from FedSegCore.simulation.scoring import TestCase, read_test_cases
from FedSegCore.study import Study
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.weights import Weights


@dataclass(frozen=True, eq=False)
class Cache:
    """What all runs of a study share: prepared cases.

    Args:
        files: where they are; None: in memory.
    """

    training: Mapping[str, tuple[PreparedCase, ...]]
    validation: Mapping[str, tuple[PreparedCase, ...]]
    test: Mapping[str, tuple[TestCase, ...]]
    files: CaseFiles | None = None

    def drop(self) -> None:
        """Delete the files, if there are any; the study has ended."""
        if self.files:
            self.files.remove()


@dataclass(frozen=True, eq=False)
class Run:
    """One method with one seed.

    Args:
        start: the first weights; none: drawn from the seed.
        init: the model file that they come from.
        workers: how many processes the sites train in.
    """

    setting: Setting
    cache: Cache
    entry: Named
    seed: int
    folder: Path
    device: torch.device
    start: Weights = field(default_factory=dict)
    init: Path | None = None
    workers: int = 1

    @property
    def study(self) -> Study:
        """The study that the run is part of."""
        return self.setting.study

    @property
    def network(self) -> Network:
        """The network that the method trains."""
        return self.entry.settle(self.setting.network(self.entry.norm), kind=self.study.network.kind)

    @property
    def trained_at(self) -> tuple[ClientInfo, ...]:
        """The sites whose cases the run learns from, sorted by name."""
        roles = {"server"} if self.entry.at_server else set()
        roles |= set() if self.entry.at_server and self.entry.pooled else {"member"}
        infos = (info for role in roles for info in self.setting.infos(role))
        return tuple(sorted(infos, key=lambda info: info.name))


def read_start(path: Path) -> tuple[ModelHeader, Weights]:
    """The model that training starts from.

    Raises:
        ModelFileError: not a model file.
        UsageError: a merged model, which is several networks.
    """
    raw, weights = tensorfile.load(path)
    header = ModelHeader.from_dict(raw, str(path))
    if header.members:
        raise UsageError(
            f"{path} is put together from {len(header.members)} sites' models and cannot be trained further.",
            "Start from a model of one network, such as a personal or local one.",
        )
    return header, weights


def files_for(setting: Setting, folder: Path) -> CaseFiles | None:
    """Where the prepared cases go: into a folder if those of all sites that are here are too large for memory.

    Raises:
        DataError: an image that cannot be read.
    """
    return CaseFiles(folder) if setting.prepared_bytes > IN_MEMORY else None


def read_cache(
    setting: Setting,
    trained: Sequence[SiteData],
    tested: Sequence[SiteData] = (),
    *,
    files: CaseFiles | None = None,
    progress: Progress | None = None,
) -> Cache:
    """Read and prepare once: the training cases of some sites, the test cases of others.

    Args:
        files: receive the prepared cases; None: they stay in memory.
        progress: is told how far the reading has come, of each site once for training and once for tests.
    """
    training: dict[str, tuple[PreparedCase, ...]] = {}
    validation: dict[str, tuple[PreparedCase, ...]] = {}
    test: dict[str, tuple[TestCase, ...]] = {}
    for data in trained:
        name, number = data.site.name, len(data.training)
        counted = _counted([*data.training, *_labelled(data)], name, progress)
        cases = setting.cache(data, counted, files=files)
        training[name], validation[name] = cases[:number], cases[number:]
    for data in tested:
        name = data.site.name
        test[name] = read_test_cases(setting, data, _counted(data.test, name, progress), files=files)
    return Cache(training, validation, test, files)


def _counted(cases: Sequence[Case], name: str, progress: Progress | None) -> Iterator[Case]:
    """The cases; each is told as read when the next one is asked for."""
    tell = progress(name) if progress else None
    for number, case in enumerate(cases, start=1):
        yield case
        if tell:
            tell(number / len(cases))


def _labelled(data: SiteData) -> list[Case]:
    return [case for case in data.validation if case.label is not None]


def training_of(run: Run) -> Training:
    """The study's training; augmentation and schedule are what its tables say, else the method's own."""
    train, entry = run.study.train, run.entry
    own = {"augment": train.augment or entry.augment, "schedule": train.schedule or entry.schedule}
    return replace(train, **{**own, **entry.training})
