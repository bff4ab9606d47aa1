"""A study with its folders read: who has what, and the plan, network and structures that all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from FedSegCore.data.autoplan import auto_plan
from FedSegCore.data.batches import CachedCase, cache_case, input_sources
from FedSegCore.data.case import Case, Dataset, read_dataset
from FedSegCore.data.labels import Annotation, LabelSet, annotate, label_values
from FedSegCore.data.passport import Passport, make_passport
from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.errors import DataError, StudyError, nearest
from FedSegCore.federation.method import ClientInfo
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.nets.unet import Network, Norm
from FedSegCore.study import IntensityTable, NetworkTable, PlanTable, Study, StudySite


@dataclass(frozen=True, eq=False)
class SiteData:
    """One site's view of its own dataset in this study.

    Args:
        modalities: those of its channels that it owns here.
        sources: the dataset's channel for each network input, None for an absent one.
        training, validation, test: the cases that it uses.
    """

    site: StudySite
    dataset: Dataset
    annotation: Annotation
    modalities: tuple[str, ...]
    sources: tuple[int | None, ...]
    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the study's structures that the site annotates."""
        pairs = zip(self.annotation.labels, self.annotation.annotated, strict=True)
        return tuple(label for label, known in pairs if known)

    @property
    def info(self) -> ClientInfo:
        """What the site tells when it joins."""
        return ClientInfo(self.site.name, self.modalities, self.labels, len(self.training))


@dataclass(frozen=True, eq=False)
class Setting:
    """What every method of a study starts from.

    Args:
        labels: the study's structures, in the order of the network's outputs.
        values: their values in a label map.
        overlapping: whether some site's structures overlap.
        inputs: for each network input, the modalities that may feed it.
        depth: the number of network levels that the plan's patch allows for.
        passports: the pooled numbers that each training site tells when it joins; none where the plan is given.
    """

    study: Study
    labels: tuple[str, ...]
    values: Mapping[str, int]
    overlapping: bool
    inputs: tuple[tuple[str, ...], ...]
    plan: Plan
    depth: int
    sites: tuple[SiteData, ...]
    passports: Mapping[str, Passport]

    def with_role(self, role: str) -> tuple[SiteData, ...]:
        """The sites of one role, sorted by name."""
        chosen = (data for data in self.sites if data.site.role == role)
        return tuple(sorted(chosen, key=lambda data: data.site.name))

    def network(self, norm: Norm) -> Network:
        """The study's network; channels that it does not give double from level to level of the plan's depth."""
        table = self.study.network
        channels = table.channels or tuple(min(16 * 2**level, 256) for level in range(self.depth))
        return Network(kind=table.kind, channels=channels, norm=table.norm or norm)

    def settled_study(self, norm: Norm) -> Study:
        """The study with everything written out that was agreed on, so that reading it again agrees at once."""
        plan, network = self.plan, self.network(norm)
        intensity = {name: IntensityTable(r.rule, r.lower, r.upper) for name, r in plan.intensity.items()}  # type: ignore[arg-type]
        table = PlanTable(False, plan.dims, plan.orientation, plan.spacing_mm, plan.patch, intensity)  # type: ignore[arg-type]
        return replace(
            self.study,
            labels=self.labels,
            plan=table,
            network=NetworkTable("unet", network.channels, network.norm),
        )

    def cache(self, data: SiteData, cases: Sequence[Case]) -> tuple[CachedCase, ...]:
        """Read and prepare cases of a site, once."""
        return tuple(
            cache_case(case, data.dataset, self.plan, data.annotation, channels=data.sources)
            for case in cases
        )


def read_setting(study: Study, *, like: ModelHeader | None = None) -> Setting:
    """Read every site's dataset.json and agree on structures, inputs and plan.

    Args:
        like: a model that the study goes on from: its structures, inputs and plan hold.

    Raises:
        StudyError: labels or modalities that no site has, a member without training cases.
        DataError: a folder or dataset.json that cannot be used.
    """
    datasets = {site.name: _dataset(site) for site in study.sites}
    labels = like.label_names if like else _study_labels(study, datasets)
    annotations = {
        site.name: annotate(
            labels, datasets[site.name].labels, annotates=site.labels, label_map=site.label_map
        )
        for site in study.sites
    }
    modalities = {site.name: _modalities(site, datasets[site.name]) for site in study.sites}
    inputs = like.inputs if like else _inputs([modalities[site.name] for site in study.sites])
    names = [choices[0] for choices in inputs]
    sites = []
    for site in study.sites:
        dataset, owned = datasets[site.name], modalities[site.name]
        sources = input_sources(names, owned=owned, channel_names=dataset.channel_names)
        training, validation, test = _cases(site, dataset)
        _check_channels(site, dataset, (*training, *validation, *test))
        sites.append(
            SiteData(site, dataset, annotations[site.name], owned, sources, training, validation, test)
        )
    passports = {
        data.site.name: make_passport(
            replace(data.dataset, training=data.training, validation=(), test=()),
            annotation=data.annotation,
            modalities=data.modalities,
        )
        for data in sites
        if data.site.role != "outside" and study.plan.auto
    }
    plan, depth = (like.plan, like.network.depth) if like else _plan(study, list(passports.values()))
    values = dict(like.labels) if like else label_values([_renamed(data) for data in sites], labels)
    overlapping = any(data.dataset.labels.overlapping(data.annotation.groups) for data in sites)
    setting = Setting(study, labels, values, overlapping, inputs, plan, depth, tuple(sites), passports)
    _check_patch(plan, setting.network("instance").divisor)
    return setting


def _dataset(site: StudySite) -> Dataset:
    try:
        return read_dataset(site.data)
    except DataError as error:
        raise DataError(f"Site {site.name}: {error.message}", error.fix) from None


def _study_labels(study: Study, datasets: Mapping[str, Dataset]) -> tuple[str, ...]:
    """The study's own list; else every name that a site annotates, in the order of first appearance."""
    found: dict[str, None] = {}
    for site in study.sites:
        mapped = {name for group in site.label_map.values() for name in group}
        own = [name for name in datasets[site.name].labels.values if name not in mapped]
        found.update(dict.fromkeys(site.labels or [*own, *site.label_map]))
    if study.labels is None:
        return tuple(found)
    for label in study.labels:
        if label not in found:
            raise StudyError(f'No site annotates "{label}", which the study lists.', nearest(label, found))
    return study.labels


def _renamed(data: SiteData) -> LabelSet:
    """The site's label set under the study's names."""
    pairs = zip(data.annotation.labels, data.annotation.groups, strict=True)
    return LabelSet(
        {label: tuple(sorted(data.dataset.labels.numbers(group))) for label, group in pairs if group}
    )


def _modalities(site: StudySite, dataset: Dataset) -> tuple[str, ...]:
    for name in site.modalities or ():
        if name not in dataset.channel_names:
            raise StudyError(
                f'Site {site.name} has no modality "{name}"; its channels are {", ".join(dataset.channel_names)}.',
                nearest(name, dataset.channel_names),
            )
    return site.modalities or dataset.channel_names


def _inputs(owned: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """One input where every site has one modality, whatever its name; else the union by first appearance."""
    union = tuple(dict.fromkeys(name for names in owned for name in names))
    if all(len(names) == 1 for names in owned):
        return (union,)
    return tuple((name,) for name in union)


def _cases(site: StudySite, dataset: Dataset) -> tuple[tuple[Case, ...], tuple[Case, ...], tuple[Case, ...]]:
    """The site's training, validation and test cases, as the study picks them by name or number."""
    training, validation, test = dataset.training, dataset.validation, dataset.test
    if site.test_cases is not None:
        test = _pick(site, (*training, *validation, *test), site.test_cases)
    chosen = {case.name for case in test}
    training = tuple(case for case in training if case.name not in chosen)
    validation = tuple(case for case in validation if case.name not in chosen)
    if site.cases is not None:
        picked = _pick(site, (*training, *validation), site.cases)
        training = tuple(case for case in picked if case not in validation)
        validation = tuple(case for case in picked if case in validation)
    training = training[: site.limit]
    if site.role != "outside" and not training:
        raise StudyError(f"Site {site.name} has no training cases.", 'Give it some, or role = "outside".')
    if site.role == "outside":
        return (), (), test or (*training, *validation)
    return training, validation, test


def _check_channels(site: StudySite, dataset: Dataset, cases: Sequence[Case]) -> None:
    for case in cases:
        if len(case.images) != len(dataset.channel_names):
            raise DataError(
                f"Site {site.name}: case {case.name} has {len(case.images)} images, but {dataset.folder} has "
                f"{len(dataset.channel_names)} channels ({', '.join(dataset.channel_names)}).",
                "List one image for each channel in dataset.json.",
            )


def _pick(site: StudySite, cases: Sequence[Case], names: Sequence[str]) -> tuple[Case, ...]:
    by_name = {case.name: case for case in cases}
    for name in names:
        if name not in by_name:
            raise StudyError(f'Site {site.name} has no case "{name}".', nearest(name, by_name))
    return tuple(by_name[name] for name in names)


def _plan(study: Study, passports: Sequence[Passport]) -> tuple[Plan, int]:
    """The plan that the passports of all who train come to, with what the study fixes laid over it."""
    table = study.plan
    given = {
        name: getattr(table, name)
        for name in ("orientation", "spacing_mm", "patch")
        if getattr(table, name) is not None
    }
    intensity = {name: Intensity(rule.rule, rule.lower, rule.upper) for name, rule in table.intensity.items()}
    if table.auto:
        plan, depth = auto_plan(passports, dims=table.dims, given=given)
        patch = (
            plan.patch if table.patch else _whole_blocks(plan.patch, study.network.channels or (0,) * depth)
        )
        return replace(plan, patch=patch, intensity={**plan.intensity, **intensity}), depth
    if table.patch is None:
        raise StudyError("[plan] auto = false needs a patch.", "Give patch = [...], or auto = true.")
    plan = Plan(dims=table.dims, intensity=intensity, **given)
    depth = len(study.network.channels or (0,) * 4)
    return plan, depth


def _whole_blocks(patch: tuple[int, ...], channels: Sequence[int]) -> tuple[int, ...]:
    """The patch, grown to what a network of so many levels can halve."""
    block = 2 ** (len(channels) - 1)
    return tuple(-(-side // block) * block for side in patch)


def _check_patch(plan: Plan, block: int) -> None:
    if any(side % block for side in plan.patch):
        raise StudyError(
            f"The patch {list(plan.patch)} does not fit the network, which halves each side to 1/{block}.",
            f"Give [plan] a patch of multiples of {block}, or [network] fewer channels.",
        )
