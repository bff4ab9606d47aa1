"""What the panel Federation says in words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from FedSegLib.cards import readCard
from FedSegLib.dataset import SiteDataset
from FedSegLib.events import Message, Model, Story
from FedSegLib.federation import LEFT, PAUSED, Invitation, Membership, presentRounds
from FedSegLib.ledger import Sent
from FedSegLib.places import placeMessages
from FedSegLib.texts import roundLines, timeLeftText
from FedSegLib.translation import tr as _

if TYPE_CHECKING:
    from FedSegLib.participation import Participation

_SHOWN_WARNINGS = 3


def invitationText(invitation: Invitation | None) -> str:
    """What a study is, line by line."""
    if invitation is None:
        return _("Open the invitation that the study's coordinator sent to this hospital.")
    lines = [
        _("Study: {study}").format(study=invitation.study),
        _("Your hospital takes part as: {site}").format(site=invitation.site),
        _("Coordinated by: {coordinator}").format(coordinator=_coordinator(invitation)),
        _("Method: {methods}, {rounds} rounds").format(
            methods=", ".join(invitation.methods), rounds=invitation.rounds
        ),
        _("Structures: {labels}").format(labels=_named(invitation.labels)),
        _("Images: {modalities}").format(modalities=_named(invitation.modalities)),
    ]
    if invitation.expires is not None:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(invitation.expires))
        lines.append(_("To be accepted before: {when}").format(when=when))
    return "\n".join(lines)


def _coordinator(invitation: Invitation) -> str:
    """Who, and where; one that has no other name goes by its address."""
    who, address = invitation.coordinator, invitation.address
    return address if who in ("", address) else _("{who}, at {address}").format(who=who, address=address)


def _named(names: Sequence[str]) -> str:
    """A study that names none takes what each hospital's dataset has."""
    return ", ".join(names) or _("those of this hospital's dataset")


def listText(sentences: Sequence[str]) -> str:
    """Sentences, one below the other; they are long, so that there is room between them."""
    return "\n\n".join(f"\N{BULLET} {sentence}" for sentence in sentences)


def joinMissingText(*, hasDataset: bool, isApproved: bool, isAgreed: bool) -> str:
    """What is still needed before the study can be joined; empty: nothing."""
    if not hasDataset:
        return _("Choose the folder of this hospital's dataset; the tab My data and training makes one.")
    if not isApproved or not isAgreed:
        return _("Confirm both approvals first.")
    return ""


def datasetLine(dataset: SiteDataset | None) -> str:
    """What would be learnt from; empty where there is nothing."""
    if dataset is None:
        return ""
    return _("Cases: {cases}, images: {modalities}, structures: {names}").format(
        cases=dataset.numCases,
        modalities=", ".join(dataset.modalities),
        names=", ".join(dataset.structures),
    )


def studyText(part: Participation) -> str:
    """The study that this computer takes part in, or did."""
    if part.isRunning:
        return _liveText(part)
    return _overText(part) if part.isOver else _offerText(part.member, part.status)


def _offerText(membership: Membership, status: Mapping[str, Any]) -> str:
    """A study that rests; `fedseg status` told how far it was."""
    told = _("This computer takes part in {study} as {site}. It rests now.")
    lines = [told.format(study=membership.study, site=membership.site)]
    number, total = status.get("round"), status.get("total")
    if isinstance(number, int) and isinstance(total, int):
        lines.append(_("Last known: round {number} of {total}").format(number=number, total=total))
    lines.append(_("Its files: {folder}").format(folder=membership.folder))
    return "\n".join(lines)


def _overText(part: Participation) -> str:
    told = _("{study}, as {site}").format(study=part.member.study, site=part.member.site)
    return "\n".join([told, *roundLines(presentRounds(part.story.rounds))])


def _liveText(part: Participation) -> str:
    """What the site is doing, how far the study is, and how well it does here."""
    lines = [_doing(part.story, part.state), *roundLines(presentRounds(part.story.rounds))]
    told = part.story.progress.secondsLeft if part.story.progress else None
    if told is not None:
        lines.append(timeLeftText(told))
    elif part.secondsLeft is not None:
        # A study of several methods has a run for each.
        lines.append(_("{left} in this run").format(left=timeLeftText(part.secondsLeft)))
    return "\n".join(lines)


def _doing(story: Story, state: str) -> str:
    stages = {
        "connect": _("Connecting to the coordinator..."),
        "check": _("Checking the data..."),
        "data": _("Reading the data..."),
        "wait": _("Waiting for the other hospitals."),
        "train": _("Training on this computer."),
        "publish": _("Sending what is published after the last round."),
        "models": _("Fetching the models..."),
        "score": _("Measuring the models on this hospital's test cases; the scores stay here."),
    }
    states = {
        "joined": _("Joined. Waiting for a round."),
        "training": _("Training on this computer."),
        "sent": _("This round's update is sent. Waiting for the other hospitals."),
        "late": _("This round went on without this hospital; it takes part in the next one."),
        "lost": _("The connection is lost; it is tried again."),
        PAUSED: _("Paused. The study goes on without this hospital."),
        LEFT: _("Left the study."),
    }
    if state in states and story.news in ("wait", "train", *states):
        return states[state]
    return stages.get(story.news or "connect", _("Working..."))


def sentRow(sent: Sent) -> tuple[str, str, str, str, str]:
    """A line of the table of what was sent."""
    number = str(sent.round) if sent.round > 0 else ""
    return number, sent.kind, str(len(sent.tensors)), sizeText(sent.bytes), sent.sha256


def sentText(sent: Sent) -> str:
    """All that a message held: numbers and texts as they are, tensors by name and shape."""
    lines = [_("{size}, SHA-256 {sha256}").format(size=sizeText(sent.bytes), sha256=sent.sha256)]
    lines += [f"{name} = {value}" for name, value in sent.scalars.items()]
    lines += [
        f"{name}: {' x '.join(map(str, shape)) or _('one number')}" for name, shape in sent.tensors.items()
    ]
    return "\n".join(lines)


def sentTotalText(sent: Sequence[Sent]) -> str:
    """How much was sent in all."""
    total = sizeText(sum(message.bytes for message in sent))
    return _("Messages: {number}, {size} in all. Click one to see what it held.").format(
        number=len(sent), size=total
    )


def sizeText(size: int) -> str:
    """Bytes, in a unit that leaves few digits."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def modelRow(model: Model) -> tuple[str, str, str]:
    """A line of the table of models that have come."""
    try:
        card = readCard(model.card)
    except ValueError:
        return model.name, model.path.parent.name, ""
    return model.name, card.method, ", ".join(card.labels)


def notices(part: Participation) -> list[Message]:
    """What the user has to know besides."""
    if not part.isRunning:
        return part.told
    coming = placeMessages(part.member.data, part.member.folder)
    if part.isLeaving:
        coming.append(Message(_("This hospital leaves after the present round."), ""))
    elif part.isToPause and part.state != PAUSED:
        coming.append(Message(_("It pauses after the present round."), ""))
    elif part.state == PAUSED and not part.isToPause:
        coming.append(Message(_("It takes part again in the next round."), ""))
    return [*part.told, *coming, *part.story.warnings[-_SHOWN_WARNINGS:]]


def endText(*, hasLeft: bool, hasModels: bool) -> Message:
    """How a participation ended that nothing broke off."""
    if hasLeft:
        told = _("This hospital has left the study. Nothing more is sent.")
        return Message(told, _("What it sent before stays part of the study's models."))
    told = _("The study has ended.")
    return Message(told, _("Its models are below and in the tab Segment and review.") if hasModels else "")
