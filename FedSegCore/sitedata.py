"""One site's folder in a study: read and declared without knowing the others, then viewed as all agreed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from FedSegCore.data.case import Case, Dataset, read_dataset
from FedSegCore.data.choice import Choice, choose_cases
from FedSegCore.data.labels import Annotation, LabelSet, annotate, renamed
from FedSegCore.data.passport import make_passport
from FedSegCore.data.prepared import input_sources
from FedSegCore.errors import DataError, StudyError, nearest
from FedSegCore.federation.joining import Joining
from FedSegCore.study import StudySite


@dataclass(frozen=True, eq=False)
class SiteFolder:
    """One site's dataset and the study's picks from it, before anything is agreed on.

    Args:
        owned: those of its channels that the study lets it use.
        choice: the cases that it uses.
    """

    site: StudySite
    dataset: Dataset
    owned: tuple[str, ...]
    choice: Choice

    @property
    def label_names(self) -> tuple[str, ...]:
        """Every structure that the site could annotate in a study: what it brings, its own names, its groups."""
        own = () if self.site.labels is not None else self.dataset.labels.names
        brought = site_labels(self.site, self.dataset.labels)
        return tuple(dict.fromkeys([*brought, *self.site.label_map, *own]))


@dataclass(frozen=True, eq=False)
class SiteData:
    """One site's view of its own dataset in this study.

    Args:
        modalities: those of its channels that it owns here and that feed an input.
        sources: the dataset's channel for each network input, None for an absent one.
    """

    folder: SiteFolder
    annotation: Annotation
    modalities: tuple[str, ...]
    sources: tuple[int | None, ...]

    @property
    def site(self) -> StudySite:
        """The site in the study."""
        return self.folder.site

    @property
    def dataset(self) -> Dataset:
        """Its dataset, unrestricted."""
        return self.folder.dataset

    @property
    def training(self) -> tuple[Case, ...]:
        """The cases that it trains with."""
        return self.folder.choice.training

    @property
    def validation(self) -> tuple[Case, ...]:
        """The cases that it validates with."""
        return self.folder.choice.validation

    @property
    def test(self) -> tuple[Case, ...]:
        """The test cases that have a label map."""
        return self.folder.choice.test

    @property
    def unlabelled(self) -> tuple[Case, ...]:
        """The test cases without one, which are not scored."""
        return self.folder.choice.unlabelled

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the study's structures that the site annotates."""
        pairs = zip(self.annotation.labels, self.annotation.annotated, strict=True)
        return tuple(label for label, known in pairs if known)


def read_site(site: StudySite) -> SiteFolder:
    """Read the site's dataset.json and pick its cases; no image is opened.

    Raises:
        DataError: a folder or dataset.json that cannot be used; names the site.
        StudyError: a modality or case that it does not have, no case to train or to test with.
    """
    try:
        dataset = read_dataset(site.data)
    except DataError as error:
        raise DataError(f"Site {site.name}: {error.message}", error.fix) from None
    owned, choice = _owned(site, dataset), _choice(site, dataset)
    _check_channels(site, dataset, (*choice.training, *choice.validation, *choice.test))
    return SiteFolder(site, dataset, owned, choice)


def site_labels(site: StudySite, own: LabelSet) -> tuple[str, ...]:
    """The structures that a site brings into a study: what it says, else its own names, merged as it maps them."""
    mapped = {name for group in site.label_map.values() for name in group}
    return site.labels or (*(name for name in own.names if name not in mapped), *site.label_map)


def annotation_of(folder: SiteFolder, labels: Sequence[str]) -> Annotation:
    """What the site's label maps say about some structures.

    Raises:
        DataError: a name of the site in the study that is not known, or none of the structures is here.
    """
    site = folder.site
    return annotate(labels, folder.dataset.labels, annotates=site.labels, label_map=site.label_map)


def declare(
    folder: SiteFolder,
    *,
    within: Sequence[str] | None,
    passport: bool,
    progress: Callable[[float], None] | None = None,
) -> Joining:
    """What the site tells when it joins.

    Args:
        within: the study's structures, of which the site tells those that it has; None: all of its own, since the
            study's are yet to be found.
        passport: whether the plan depends on the site's images, which are all read for it.
        progress: is told the finished share of that reading, 0..1.

    Raises:
        DataError: as `annotation_of`; an image that cannot be read.
    """
    site, dataset = folder.site, folder.dataset
    annotation = annotation_of(folder, folder.label_names if within is None else within)
    values = renamed(dataset.labels, annotation).values
    told = {}
    if passport:
        training = replace(dataset, training=folder.choice.training, validation=(), test=())
        told = make_passport(
            training, annotation=annotation, modalities=folder.owned, progress=progress
        ).to_dict()
    return Joining(
        name=site.name,
        modalities=folder.owned,
        labels=site_labels(site, dataset.labels) if within is None else tuple(values),
        values=values,
        num_cases=len(folder.choice.training),
        licence=dataset.licence,
        passport=told,
    )


def feeding(owned: Sequence[str], inputs: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Those of a site's modalities that feed an input; an only one feeds an only input, whatever its name."""
    if len(inputs) == len(owned) == 1:
        return tuple(owned)
    chosen = {next((name for name in owned if name in choices), None) for choices in inputs}
    return tuple(name for name in owned if name in chosen)


def view_site(folder: SiteFolder, annotation: Annotation, *, inputs: Sequence[Sequence[str]]) -> SiteData:
    """The site's view of its dataset; what it owns beyond the inputs, as an outside site may, is left aside.

    Raises:
        DataError: it has none of the inputs.
    """
    owned = folder.owned
    names = [next((name for name in owned if name in choices), choices[0]) for choices in inputs]
    sources = input_sources(names, owned=owned, channel_names=folder.dataset.channel_names)
    return SiteData(folder, annotation, feeding(owned, inputs), sources)


def _owned(site: StudySite, dataset: Dataset) -> tuple[str, ...]:
    """Those of its channels that the study lets the site use."""
    for name in site.modalities or ():
        if name not in dataset.channel_names:
            raise StudyError(
                f'Site {site.name} has no modality "{name}"; its channels are {", ".join(dataset.channel_names)}.',
                nearest(name, dataset.channel_names),
            )
    return site.modalities or dataset.channel_names


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
