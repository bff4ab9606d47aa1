"""What the panel says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from FedSegLib.cards import MIXTURE, Card, Choice, modelName
from FedSegLib.dataset import SiteDataset
from FedSegLib.events import Message, Problem, Round, Story
from FedSegLib.matching import Matching, Segment
from FedSegLib.review import APPROVED, FLAGGED, REJECTED, Result, verdictWord
from FedSegLib.translation import tr as _


def choiceText(choice: Choice) -> str:
    """A line of the list of models."""
    return _("Mixture of all, fitted to the volume") if choice.key == MIXTURE else modelName(choice.path)


def cardText(card: Card) -> str:
    """A card, line by line."""
    lines = [
        _("Segments: {labels}").format(labels=", ".join(card.labels)),
        _("Takes: {modalities}").format(modalities=_(" or ").join(card.modalities)),
        _("Learnt at: {sites}").format(
            sites=", ".join(_("{site} ({cases} cases)").format(site=s, cases=n) for s, n in card.sites)
        ),
        _("Study: {study} ({method})").format(study=card.study, method=card.method),
    ]
    return "\n".join([*lines, *_diceLines(card)])


def _diceLines(card: Card) -> list[str]:
    """The Dice that was reported, the sites in one line; none where nobody reported one."""
    if not card.dice:
        return []
    told = [
        "{site} {dice}".format(
            site=site,
            dice=" / ".join(
                "?" if (value := of.get(label)) is None else f"{value:.2f}" for label in card.labels
            ),
        )
        for site, of in card.dice.items()
    ]
    return [
        _("Dice of {labels} on the test cases of each site:").format(labels=" / ".join(card.labels)),
        ", ".join(told),
    ]


def verdictText(result: Result) -> str:
    """Whether a mixture's segmentation is to be kept back; empty where one model made it."""
    if not result.mixture:
        return ""
    word, _separator, reason = result.verdict.partition(": ")
    verdict = {
        verdictWord(True): _("ABSTAIN: do not use this segmentation unseen. {reason}"),
        verdictWord(False): _("The models agree; review it all the same. {reason}"),
    }.get(word, _("Whether to trust it is unknown. {reason}"))
    return verdict.format(reason=reason)


def messageText(messages: list[Message]) -> str:
    """Warnings or an error, each with what to do."""
    return "\n\n".join(f"{message.text}\n{message.fix}".strip() for message in messages)


def fileMessage(error: OSError) -> Message:
    """A file that could not be read or written."""
    told = f"{error.filename}: {error.strerror}." if error.filename and error.strerror else str(error)
    return Message(told, _("Check the disk's space and your rights."))


def missingText(
    *, hasVolume: bool, hasModel: bool, card: Card | None, lacking: Sequence[str], hasModality: bool
) -> str:
    """What is still needed before a segmentation can begin; empty: nothing.

    Args:
        lacking: the modalities of a case of several images that no volume was selected for.
    """
    if not hasVolume:
        return _("Load a volume and select it.")
    if not hasModel:
        return _("Choose a folder that holds a published model (*.safetensors).")
    if card is None:
        return _("The model's card is being read.")
    if lacking and (not card.anyOf or len(lacking) == len(card.modalities)):
        return _("Select the volume that is the {names}.").format(
            names=(_(" or ") if card.anyOf else ", ").join(lacking)
        )
    if not hasModality:
        return _("Say which modality the volume is.")
    return ""


def datasetText(folder: str, dataset: SiteDataset | None, problem: Message | None) -> str:
    """What a dataset folder holds."""
    if not folder:
        return _("Choose the folder of this hospital's training cases; an empty one begins a dataset.")
    if problem is not None:
        return messageText([problem])
    if dataset is None:
        return _("The first case that you add begins a dataset in this folder.")
    return "\n".join(
        [
            _("Cases: {number}").format(number=dataset.numCases),
            _("Images of a case: {modalities}").format(modalities=", ".join(dataset.modalities)),
            _("Structures: {names}").format(names=", ".join(dataset.structures)),
        ]
    )


def matchingText(matching: Matching, segments: Sequence[Segment]) -> str:
    """What a drawing of these segments would add to a dataset."""
    names = {segment.segmentId: segment.name for segment in segments}
    lines = [
        structure if names[segmentId] == structure else f"{structure} ({names[segmentId]})"
        for segmentId, structure in matching.structures.items()
    ]
    told = [_("Adds: {names}").format(names=", ".join(lines))] if lines else []
    if matching.ignored:
        told.append(_("Leaves out: {names}").format(names=", ".join(matching.ignored)))
    if matching.absent and lines:
        told.append(
            _("Not drawn, so taken as absent from this image: {names}").format(
                names=", ".join(matching.absent)
            )
        )
    return "\n".join([*told, *([messageText(list(matching.problems))] if matching.problems else [])])


def addMissingText(
    *,
    hasFolder: bool,
    folderProblem: Message | None,
    modalities: Sequence[str],
    volumes: Mapping[str, Any],
    matching: Matching | None,
) -> str:
    """What is still needed before a case can be added; empty: nothing."""
    lacking = [name for name in modalities if name not in volumes]
    if not hasFolder:
        return _("Choose a folder for the dataset.")
    if folderProblem is not None:
        return _("Choose another folder.")
    if not modalities:
        return _("Say what the images of a case are, such as CT, or T1, FLAIR.")
    if lacking:
        return _("Select the volume that is the {names}.").format(names=", ".join(lacking))
    if matching is None:
        return _("Select a segmentation.")
    if matching.problems:
        return _("Correct the segmentation first.")
    return ""


def checkText(problems: Sequence[Problem]) -> str:
    """How many problems a check found."""
    errors = sum(problem.isError for problem in problems)
    if not problems:
        return _("No problem was found.")
    return _("Errors: {errors}, warnings: {warnings}. Click one to see its case.").format(
        errors=errors, warnings=len(problems) - errors
    )


def trainingText(story: Story) -> str:
    """How far a training is, and how well it does."""
    lines = roundLines(story.rounds) or [_("Reading the cases...")]
    left = timeLeftText(story.progress.secondsLeft if story.progress else None)
    return "\n".join([*lines, left] if left else lines)


def roundLines(rounds: Sequence[Round]) -> list[str]:
    """The last round, and the last Dice that was measured; none before the first."""
    if not rounds:
        return []
    measured = next((told.dice for told in reversed(rounds) if told.dice), {})
    return [
        _("Round {number} of {total}").format(number=rounds[-1].number, total=rounds[-1].total),
        *(_("Dice of {label}: {dice}").format(label=k, dice=f"{v:.2f}") for k, v in measured.items()),
    ]


def timeLeftText(seconds: float | None) -> str:
    """How long it will take; empty where nobody knows."""
    if seconds is None:
        return ""
    minutes = seconds / 60
    if minutes >= 100:
        return _("About {hours} hours left").format(hours=round(minutes / 60))
    return (
        _("About {minutes} minutes left").format(minutes=round(minutes))
        if minutes >= 1.5
        else _("About a minute left")
    )


def statusText(result: Result) -> str:
    """Whether a person has decided, and who."""
    names = {APPROVED: _("approved"), FLAGGED: _("flagged"), REJECTED: _("rejected")}
    told = names.get(result.status, _("unreviewed"))
    return f"{told}, {result.reviewer}" if result.reviewer else told


def queueRow(result: Result) -> tuple[str, str, str]:
    """A line of the queue."""
    doubt = "" if result.disagreement is None else f"{result.disagreement:.2f}"
    return result.name, doubt, statusText(result)


def problemRow(problem: Problem) -> tuple[str, str]:
    """A line of the list of a dataset's problems: file and flaw, and the fix."""
    kind = _("Error") if problem.isError else _("Warning")
    return f"{kind}: {problem.file}\n{problem.message.text}", problem.message.fix


def resultText(result: Result) -> str:
    """A result, line by line; a mixture's verdict stands beside it."""
    model = _("Mixture of all models, fitted to this volume") if result.mixture else result.model
    lines = [result.name, _("Model: {model}").format(model=model)]
    if result.mixture:
        lines.append(_("This scan is {sentence}.").format(sentence=result.mixture))
    decidedAt = f" ({result.reviewedAt})" if result.reviewedAt else ""
    lines.append(_("Status: {status}").format(status=statusText(result) + decidedAt))
    if not result.isDone:
        lines.append(_("Research use only; review every slice."))
    return "\n".join(lines)
