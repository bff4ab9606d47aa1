"""A study that its sites have agreed on: who has what, and the plan, network and structures that all share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from FedSegCore.agreement import Agreement, agree, network_of, refuse_unknown
from FedSegCore.data.case import Case
from FedSegCore.data.casefiles import CaseFiles
from FedSegCore.data.io import read_header
from FedSegCore.data.plan import Plan
from FedSegCore.data.prepared import PreparedCase, cache_case, file_case
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.method import ClientInfo
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.nets.unet import Network, Norm
from FedSegCore.sharing import refuse_leaks
from FedSegCore.sitedata import SiteData as SiteData
from FedSegCore.sitedata import SiteFolder, annotation_of, declare, feeding, read_site, view_site
from FedSegCore.study import IntensityTable, NetworkTable, PlanTable, Study, StudySite

Progress = Callable[[str], Callable[[float], None]]
"""For the name of a site, what is told the finished share of its cases, 0..1, after each of them."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What every method of a study starts from.

    Args:
        agreement: what all sites agreed on.
        joined: what each site told that takes part, whether or not its folder is here.
        sites: those whose folders are here.
    """

    study: Study
    agreement: Agreement
    joined: Mapping[str, Joining]
    sites: tuple[SiteData, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The study's structures, in the order of the network's outputs."""
        return self.agreement.labels

    @property
    def values(self) -> Mapping[str, int]:
        """Their values in a label map."""
        return self.agreement.values

    @property
    def overlapping(self) -> bool:
        """Whether some member's structures overlap."""
        return self.agreement.overlapping

    @property
    def inputs(self) -> tuple[tuple[str, ...], ...]:
        """For each network input, the modalities that may feed it."""
        return self.agreement.inputs

    @property
    def plan(self) -> Plan:
        """What every site does to an image before the network sees it."""
        return self.agreement.plan

    def info(self, name: str) -> ClientInfo:
        """What a method knows of a site that has joined: of what it told, that which the study uses."""
        joining = self.joined[name]
        labels = tuple(label for label in self.labels if label in joining.values)
        return ClientInfo(name, feeding(joining.modalities, self.inputs), labels, joining.num_cases)

    def infos(self, role: str) -> tuple[ClientInfo, ...]:
        """The sites of one role that have joined, sorted by name."""
        names = (site.name for site in self.study.sites if site.role == role and site.name in self.joined)
        return tuple(self.info(name) for name in sorted(names))

    def with_role(self, role: str) -> tuple[SiteData, ...]:
        """The sites of one role whose folders are here, sorted by name."""
        chosen = (data for data in self.sites if data.site.role == role)
        return tuple(sorted(chosen, key=lambda data: data.site.name))

    def modalities_of(self, sites: Iterable[ClientInfo]) -> tuple[str, ...]:
        """What some sites train with, in the order of the inputs."""
        owned = [name for info in sites for name in info.modalities]
        inputs = [name for choices in self.inputs for name in choices if name in owned]
        return tuple(dict.fromkeys([*inputs, *owned]))

    def network(self, norm: Norm) -> Network:
        """The study's network, of one encoder; channels that it does not give follow from the plan's depth."""
        return network_of(self.study.network, self.agreement, norm=norm)

    @property
    def channel_modalities(self) -> tuple[str, ...]:
        """One modality for each network input."""
        return tuple(choices[0] for choices in self.inputs)

    def settled_study(self, norm: Norm) -> Study:
        """The study with everything written out that was agreed on, so that reading it again agrees at once."""
        plan, network = self.plan, self.network(norm)
        intensity = {name: IntensityTable(r.rule, r.lower, r.upper) for name, r in plan.intensity.items()}  # type: ignore[arg-type]
        table = PlanTable(False, plan.dims, plan.orientation, plan.spacing_mm, plan.patch, intensity)  # type: ignore[arg-type]
        return replace(
            self.study,
            labels=self.labels,
            plan=table,
            network=NetworkTable(self.study.network.kind, network.channels, network.norm),
        )

    def cache(
        self, data: SiteData, cases: Iterable[Case], *, files: CaseFiles | None = None
    ) -> tuple[PreparedCase, ...]:
        """Read and prepare cases of a site, once: in memory, or in `files`."""
        how = cache_case if files is None else partial(file_case, files=files)
        return tuple(
            how(case, data.dataset, self.plan, data.annotation, channels=data.sources) for case in cases
        )

    @cached_property
    def prepared_bytes(self) -> int:
        """What the prepared cases of all sites that are here take, told from the images' headers alone.

        Raises:
            DataError: an image that cannot be read.
        """
        trained = ((data, case) for data in self.sites for case in (*data.training, *data.validation))
        tested = ((data, case) for data in self.sites for case in data.test)
        voxel = 4 * len(self.inputs) + len(self.labels)
        total = sum(voxel * math.prod(self._grids(*one)[1]) for one in trained)
        for grid, prepared in (self._grids(*one) for one in tested):
            # The scan and its reference on the image's own grid, too; see `TestCase`.
            total += 4 * len(self.inputs) * math.prod(prepared) + (4 + len(self.labels)) * math.prod(grid)
        return total

    def _grids(self, data: SiteData, case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shape of a case's first image, and of what it is prepared to."""
        channel = next(source for source in data.sources if source is not None)
        header = read_header(case.images[channel])
        x, y, z = (*header.shape, 1)[:3]
        return (x, y, z), self.plan.geometry((x, y, z), header.affine).prepared_shape


def read_setting(
    study: Study, *, like: ModelHeader | None = None, progress: Progress | None = None
) -> Setting:
    """Read every site's folder and agree on structures, inputs and plan.

    Args:
        like: a model that the study goes on from: its structures, inputs and plan hold.
        progress: is told how far the reading of each site's cases for its passport has come.

    Raises:
        StudyError: labels or modalities that no site has, a member without training cases, an outside site
            without test cases, a case that trains at one site and is a test case at another.
        DataError: a folder or dataset.json that cannot be used.
    """
    folders = read_sites(study.sites)
    within = like.label_names if like else study.labels
    if like is None:
        labels = [name for folder in folders for name in folder.label_names]
        refuse_unknown(study, labels=labels, modalities=[name for one in folders for name in one.owned])
    # Every name is looked at before the first image is read.
    joined = {folder.site.name: declare(folder, within=within, passport=False) for folder in folders}
    for folder in folders:
        name = folder.site.name
        if study.plan.auto and folder.site.role != "outside":
            tell = progress(name) if progress else None
            joined[name] = declare(folder, within=within, passport=True, progress=tell)
    return setting_of(study, agree(study, joined, like=like), joined, folders)


def read_sites(sites: Iterable[StudySite]) -> tuple[SiteFolder, ...]:
    """The folders of some of a study's sites, in their order; no image is opened.

    Raises:
        DataError, StudyError: as `read_site`; a case that trains at one of them and is a test case at another.
    """
    folders = tuple(read_site(site) for site in sites)
    refuse_leaks(folders)
    return folders


def setting_of(
    study: Study, agreement: Agreement, joined: Mapping[str, Joining], folders: Sequence[SiteFolder]
) -> Setting:
    """A study as it was agreed on, with the folders that are at hand: a hospital has its own only.

    Raises:
        DataError: a site at hand has none of the network's inputs, or none of the structures.
    """
    sites = tuple(
        view_site(folder, annotation_of(folder, agreement.labels), inputs=agreement.inputs)
        for folder in folders
    )
    return Setting(study, agreement, joined, sites)
