"""One site's view of its own dataset in a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from FedSegCore.data.batches import input_sources
from FedSegCore.data.case import Case, Dataset, read_dataset
from FedSegCore.data.choice import Choice, choose_cases
from FedSegCore.data.labels import Annotation, LabelSet
from FedSegCore.errors import DataError, StudyError, nearest
from FedSegCore.federation.method import ClientInfo
from FedSegCore.study import StudySite


@dataclass(frozen=True, eq=False)
class SiteData:
    """One site's view of its own dataset in this study.

    Args:
        modalities: those of its channels that it owns here and that feed an input.
        sources: the dataset's channel for each network input, None for an absent one.
        training, validation, test: the cases that it uses; those that test have a label map.
        unlabelled: test cases without one, which are not scored.
    """

    site: StudySite
    dataset: Dataset
    annotation: Annotation
    modalities: tuple[str, ...]
    sources: tuple[int | None, ...]
    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    unlabelled: tuple[Case, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the study's structures that the site annotates."""
        pairs = zip(self.annotation.labels, self.annotation.annotated, strict=True)
        return tuple(label for label, known in pairs if known)

    @property
    def info(self) -> ClientInfo:
        """What the site tells when it joins."""
        return ClientInfo(self.site.name, self.modalities, self.labels, len(self.training))


def site_dataset(site: StudySite) -> Dataset:
    """Read the site's dataset.json.

    Raises:
        DataError: names the site.
    """
    try:
        return read_dataset(site.data)
    except DataError as error:
        raise DataError(f"Site {site.name}: {error.message}", error.fix) from None


def site_labels(site: StudySite, own: LabelSet) -> tuple[str, ...]:
    """The structures that a site brings into a study: what it says, else its own names, merged as it maps them."""
    mapped = {name for group in site.label_map.values() for name in group}
    return site.labels or (*(name for name in own.names if name not in mapped), *site.label_map)


def owned_modalities(site: StudySite, dataset: Dataset) -> tuple[str, ...]:
    """Those of its channels that the study lets the site use.

    Raises:
        StudyError: one that it does not have.
    """
    for name in site.modalities or ():
        if name not in dataset.channel_names:
            raise StudyError(
                f'Site {site.name} has no modality "{name}"; its channels are {", ".join(dataset.channel_names)}.',
                nearest(name, dataset.channel_names),
            )
    return site.modalities or dataset.channel_names


def view_site(
    site: StudySite, dataset: Dataset, annotation: Annotation, owned: tuple[str, ...],
    *, inputs: Sequence[Sequence[str]],
) -> SiteData:  # fmt: skip
    """The site's view of its dataset; what it owns beyond the inputs, as an outside site may, is left aside."""
    names = [next((name for name in owned if name in choices), choices[0]) for choices in inputs]
    sources = input_sources(names, owned=owned, channel_names=dataset.channel_names)
    fed = tuple(name for name in owned if dataset.channel_names.index(name) in sources)
    choice = _choice(site, dataset)
    _check_channels(site, dataset, (*choice.training, *choice.validation, *choice.test))
    return SiteData(
        site, dataset, annotation, fed, sources,
        choice.training, choice.validation, choice.test, choice.unlabelled,
    )  # fmt: skip


def _choice(site: StudySite, dataset: Dataset) -> Choice:
    """The cases that the study picks for the site."""
    trains = site.role != "outside"
    try:
        choice = choose_cases(
            dataset, trains=trains, cases=site.cases, test_cases=site.test_cases, limit=site.limit
        )
    except StudyError as error:
        raise StudyError(f"Site {site.name}: {error.message}", error.fix) from None
    if trains and not choice.training:
        raise StudyError(f"Site {site.name} has no training cases.", 'Give it some, or role = "outside".')
    if not trains and not choice.test:
        raise StudyError(
            f"Site {site.name} has no labelled case to test on.", "Give it some, or leave it out."
        )
    return choice


def _check_channels(site: StudySite, dataset: Dataset, cases: Sequence[Case]) -> None:
    for case in cases:
        if len(case.images) != len(dataset.channel_names):
            raise DataError(
                f"Site {site.name}: case {case.name} has {len(case.images)} images, but {dataset.folder} has "
                f"{len(dataset.channel_names)} channels ({', '.join(dataset.channel_names)}).",
                "List one image for each channel in dataset.json.",
            )
