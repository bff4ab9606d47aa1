"""A study with its folders read: who has what, and the plan, network and structures that all share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from FedSegCore.data.autoplan import auto_plan
from FedSegCore.data.batches import CachedCase, cache_case
from FedSegCore.data.case import Case, Dataset
from FedSegCore.data.labels import annotate, label_values, renamed
from FedSegCore.data.passport import Passport, make_passport
from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.errors import StudyError, nearest
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.nets.unet import Network, Norm, default_channels
from FedSegCore.sharing import refuse_leaks
from FedSegCore.sitedata import SiteData as SiteData
from FedSegCore.sitedata import owned_modalities, site_dataset, site_labels, view_site
from FedSegCore.study import IntensityTable, NetworkTable, PlanTable, Study

Progress = Callable[[str], Callable[[float], None]]
"""For the name of a site, what is told the finished share of its cases, 0..1, after each of them."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What every method of a study starts from.

    Args:
        labels: the study's structures, in the order of the network's outputs.
        values: their values in a label map.
        overlapping: whether some member's structures overlap.
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

    def modalities_of(self, sites: Iterable[SiteData]) -> tuple[str, ...]:
        """What some sites train with, in the order of the inputs."""
        owned = [name for data in sites for name in data.modalities]
        inputs = [name for choices in self.inputs for name in choices if name in owned]
        return tuple(dict.fromkeys([*inputs, *owned]))

    def network(self, norm: Norm) -> Network:
        """The study's network, of one encoder; channels that it does not give follow from the plan's depth."""
        table = self.study.network
        channels = table.channels or default_channels(dims=self.plan.dims, depth=self.depth)
        return Network(channels=channels, norm=table.norm or norm)

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

    def cache(self, data: SiteData, cases: Iterable[Case]) -> tuple[CachedCase, ...]:
        """Read and prepare cases of a site, once."""
        return tuple(
            cache_case(case, data.dataset, self.plan, data.annotation, channels=data.sources)
            for case in cases
        )


def read_setting(
    study: Study, *, like: ModelHeader | None = None, progress: Progress | None = None
) -> Setting:
    """Read every site's dataset.json and agree on structures, inputs and plan.

    Args:
        like: a model that the study goes on from: its structures, inputs and plan hold.
        progress: is told how far the reading of each site's cases for its passport has come.

    Raises:
        StudyError: labels or modalities that no site has, a member without training cases, an outside site
            without test cases, a case that trains at one site and is a test case at another.
        DataError: a folder or dataset.json that cannot be used.
    """
    datasets = {site.name: site_dataset(site) for site in study.sites}
    labels = like.label_names if like else _study_labels(study, datasets)
    annotations = {
        site.name: annotate(
            labels, datasets[site.name].labels, annotates=site.labels, label_map=site.label_map
        )
        for site in study.sites
    }
    modalities = {site.name: owned_modalities(site, datasets[site.name]) for site in study.sites}
    members = [site.name for site in study.sites if site.role != "outside"]
    inputs = like.inputs if like else _inputs([modalities[name] for name in members])
    if like is None:
        _check_intensity(study, modalities)
    sites = tuple(
        view_site(site, datasets[site.name], annotations[site.name], modalities[site.name], inputs=inputs)
        for site in study.sites
    )
    refuse_leaks(sites)
    passports = {
        data.site.name: make_passport(
            replace(data.dataset, training=data.training, validation=(), test=()),
            annotation=data.annotation,
            modalities=data.modalities,
            progress=progress(data.site.name) if progress else None,
        )
        for data in sites
        if data.site.role != "outside" and study.plan.auto
    }
    plan, depth = (like.plan, like.network.depth) if like else _plan(study, list(passports.values()))
    own = [renamed(data.dataset.labels, data.annotation) for data in sites]
    values = dict(like.labels) if like else label_values(own, labels)
    overlapping = (like is not None and like.overlapping) or any(
        data.dataset.labels.overlapping(data.annotation.groups) for data in sites if data.site.name in members
    )
    setting = Setting(study, labels, values, overlapping, inputs, plan, depth, sites, passports)
    _check_patch(plan, setting.network("instance").divisor)
    return setting


def _study_labels(study: Study, datasets: Mapping[str, Dataset]) -> tuple[str, ...]:
    """The study's own list; else every name that a site annotates, in the order of first appearance."""
    found: dict[str, None] = {}
    for site in study.sites:
        found.update(dict.fromkeys(site_labels(site, datasets[site.name].labels)))
    if study.labels is None:
        return tuple(found)
    for label in study.labels:
        if label not in found:
            raise StudyError(f'No site annotates "{label}", which the study lists.', nearest(label, found))
    return study.labels


def _check_intensity(study: Study, modalities: Mapping[str, tuple[str, ...]]) -> None:
    known = dict.fromkeys(name for names in modalities.values() for name in names)
    for name in study.plan.intensity:
        if name not in known:
            raise StudyError(
                f"[plan.intensity.{name}] is of a modality that no site has.", nearest(name, known)
            )


def _inputs(owned: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """One input where every site has one modality, whatever its name; else the union by first appearance."""
    union = tuple(dict.fromkeys(name for names in owned for name in names))
    if all(len(names) == 1 for names in owned):
        return (union,)
    return tuple((name,) for name in union)


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
