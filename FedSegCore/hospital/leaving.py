"""What leaves a hospital, in sentences for its ethics board: derived from the study and its methods, kind by kind.

The words stand beside the fields of the messages themselves, so that a message which tells more than a sentence
here says cannot be made without a word for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Final

from FedSegCore.data.passport import FEW_CASES, Passport
from FedSegCore.errors import StudyError, nearest
from FedSegCore.federation import calibration
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.method import Offer
from FedSegCore.methods.averaging import Averaging, AveragingUpdate
from FedSegCore.methods.fedmepd import FedMEPD
from FedSegCore.methods.fedmepd.states import FedMEPDUpdate
from FedSegCore.methods.registry import Named, named
from FedSegCore.study import Study, StudySite

JOIN: Final = "join"
UPDATE: Final = "update"
PUBLISH: Final = "publish"
CALIBRATE: Final = calibration.KIND

_JOINING: Final[Mapping[str, str]] = {
    "name": "this site's name in the study",
    "modalities": "the kinds of its images (modalities)",
    "labels": "the names of the structures that it annotates",
    "values": "the numbers that stand for them in its label maps",
    "num_cases": "the number of its training cases",
    "licence": "the licence of its images, as its dataset.json words it",
}
_PASSPORT: Final[Mapping[str, str]] = {
    "cases": "the number of cases",
    "channels": "the kinds of images",
    "licence": "the licence",
    "label_voxels": "for each structure the number of its voxels in all cases together",
    "label_cases": "the number of cases that contain it",
    "spacing_mm": "histograms of voxel sizes",
    "extent_mm": "of fields of view",
    "sides": "of numbers of voxels along each axis",
    "intensity": "and of intensities, over all voxels and over those of structures",
}
_MEASURED: Final[Mapping[str, str]] = {
    "loss": "the mean training loss",
    "entropy": "one number that says how evenly its voxels attend to the class anchors",
}
_PARTS: Final[Mapping[str, str]] = {
    "norm": "the norm layers",
    "encoder": "the encoder",
    "decoder": "the decoder",
    "head": "the last layer (head)",
    "attention": "the attention",
    "auxiliary": "the auxiliary decoder",
}


def what_leaves(study: Study, site: str) -> list[str]:
    """Everything that leaves a member of a study, a sentence each; whether its model is published the study says.

    Raises:
        StudyError: the study has no such member.
    """
    told = [sentence for sentences in leaving(study, site).values() for sentence in sentences]
    return [*told, _CONNECTION]


def leaving(study: Study, site: str) -> dict[str, list[str]]:
    """As `what_leaves`, by the kind of message that the ledger shows; a kind that is not here does not leave.

    Raises:
        StudyError: the study has no such member.
    """
    members = {one.name: one for one in study.sites if one.role == "member"}
    if site not in members:
        raise StudyError(f'The study has no member "{site}".', nearest(site, members))
    own = members[site]
    kinds: dict[str, list[str]] = {JOIN: _joining(study), UPDATE: [], PUBLISH: [], CALIBRATE: []}
    for name in study.methods:
        entry = named(name, study.method_options)
        if entry.pooled:
            continue  # trained at one place on what is there; no site takes part
        kinds[UPDATE].append(_update(study, own, entry))
        kinds[PUBLISH].append(_offer(study, own, entry))
        ways = entry.outside if study.outside_models is None else study.outside_models
        if "routed" in ways:
            kinds[CALIBRATE].append(_calibration(study, entry))
    return {kind: sentences for kind, sentences in kinds.items() if sentences}


def what_never_leaves() -> list[str]:
    """What stays at a hospital whatever the study."""
    return [
        "Images, and the drawings (label maps) of structures in them.",
        "Names of cases, files and folders, image headers, dates, and whatever else they say of a patient.",
        "Scores, segmentations and pictures of single cases; the report about them is written at this site alone.",
        "The private key that is made at this site, and the state of its training (the optimizer's moments).",
    ]


_CONNECTION: Final = (
    "For the connection itself: this computer's network address, the public half of a key that is made here, the "
    "FedSeg version, whether the site takes part or has left, and, when something fails here, one of a few fixed "
    "sentences with the kind of the error."
)


def _joining(study: Study) -> list[str]:
    words = [_JOINING[field.name] for field in fields(Joining) if field.name != "passport"]
    told = [
        f"Once, when it joins: {_listed(words)}. These texts leave as they stand there: they must name nobody "
        "(`fedseg check` looks for that)."
    ]
    if study.plan.auto:
        passport = ", ".join(_PASSPORT[field.name] for field in fields(Passport))
        told.append(
            f"Once, when it joins: a passport, pooled over all its training cases: {passport}. With fewer than "
            f"{FEW_CASES} cases it tells much about each of them."
        )
    return told


def _update(study: Study, site: StudySite, entry: Named) -> str:
    kind = FedMEPDUpdate if isinstance(entry.method, FedMEPD) else AveragingUpdate
    words = []
    for field in fields(kind):
        if field.name == "weights":
            words.append(_weights(study, entry))
        elif field.name == "dice":
            words.append(_dice(study, site))
        elif field.name == "scalars":
            weighted = isinstance(entry.method, Averaging) and entry.method.weighting == "modality"
            words += ["one number: how many distinct images it has in effect"] if weighted else []
        else:
            words.append(_MEASURED[field.name])
    return f"After each of {_rounds(study, entry)}: {_listed(words)}."


def _weights(study: Study, entry: Named) -> str:
    method = entry.method
    if isinstance(method, FedMEPD):
        return {
            "shared": "the trained weights of its encoders, of the decoder and of the last layer (head)",
            "partial": "the trained weights of its encoders, and of those filters of decoder and last layer (head) "
            "that are not personal",
            "private": "the trained weights of its encoders alone",
        }[method.decoder]
    if {"encoder", "decoder", "head"} <= set(method.private):
        return "no weights (each site trains for itself)"
    keeps_statistics = (study.network.norm or entry.norm) == "batch" and "norm" not in method.private
    beside = " (with the means and variances that its norm layers keep)" if keeps_statistics else ""
    but = f" but for {_listed(_PARTS[part] for part in method.private)}" if method.private else ""
    return f"all weights of the network{but}, as trained at this site{beside}"


def _dice(study: Study, site: StudySite) -> str:
    labels = site.labels or study.labels
    which = f" ({', '.join(labels)})" if labels else ""
    every = study.train.validate_every
    when = "" if every == 1 else f" every {every} rounds"
    return (
        f"if it has validation cases, their mean Dice for each structure{which}{when} (of one case alone that is the "
        "case's score)"
    )


def _offer(study: Study, site: StudySite, entry: Named) -> str:
    method, words = entry.method, []
    for field in fields(Offer):
        if field.name == "personal":
            granted = site.publish_personal and method.personalizes
            words += ["this site's own model, which everyone in the study is given"] if granted else []
        elif field.name == "private" and isinstance(method, Averaging) and method.publish_private:
            words.append(
                f"{_listed(_PARTS[part] for part in method.private)} of its network, which become part of the "
                "published model"
            )
    stays = "; this site's own model stays here" if method.personalizes and not site.publish_personal else ""
    told = _listed(words) if words else "a message without any weights"
    return f"Once, after the last round of {_runs(study, entry)}: {told}{stays}."


def _calibration(study: Study, entry: Named) -> str:
    return (
        f"Once, after the models of {_runs(study, entry)} are published, if there are at least two: how far they "
        "disagree on four of its validation cases at most, as two histograms (of those that were segmented well and "
        "of those that were not); with fewer than three validation cases they are empty."
    )


def _rounds(study: Study, entry: Named) -> str:
    return f"the {study.rounds} rounds of {_runs(study, entry)}"


def _runs(study: Study, entry: Named) -> str:
    """A method's run, or its runs with several seeds."""
    return entry.name if len(study.seeds) == 1 else f"{entry.name} (for each of {len(study.seeds)} seeds)"


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
