"""What the panel says in words."""

from __future__ import annotations

from FedSegLib.cards import MIXTURE, Card, Choice
from FedSegLib.events import Message
from FedSegLib.segmenting import Mixture
from FedSegLib.translation import tr as _


def choiceText(choice: Choice) -> str:
    """A line of the list of models."""
    return _("Mixture of all, fitted to the volume") if choice.key == MIXTURE else choice.path.stem


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
    lines += [
        _("Reported Dice at {site}: {dice}").format(site=site, dice=_dice(of))
        for site, of in card.dice.items()
    ]
    return "\n".join(lines)


def _dice(of) -> str:
    return ", ".join(
        "{label} {value}".format(label=label, value=_("unknown") if value is None else f"{value:.2f}")
        for label, value in of.items()
    )


def verdictText(mixture: Mixture) -> str:
    """Which hospitals a scan resembles, and whether its segmentation is to be kept back."""
    verdict = {
        True: _("ABSTAIN: do not use this segmentation unseen. {reason}"),
        False: _("The models agree; review it all the same. {reason}"),
        None: _("Whether to trust it is unknown. {reason}"),
    }[mixture.abstain]
    return "{resembles}\n{verdict}".format(
        resembles=_("This scan is {sentence}.").format(sentence=mixture.sentence),
        verdict=verdict.format(reason=mixture.reason),
    )


def messageText(messages: list[Message]) -> str:
    """Warnings or an error, each with what to do."""
    return "\n\n".join(f"{message.text}\n{message.fix}".strip() for message in messages)


def missingText(*, hasVolume: bool, hasModel: bool, card: Card | None, hasModality: bool) -> str:
    """What is still needed before a segmentation can begin; empty: nothing."""
    if not hasVolume:
        return _("Load a volume and select it.")
    if not hasModel:
        return _("Choose a folder that holds a published model (*.safetensors).")
    if card is None:
        return _("The model's card is being read.")
    if card.inputs > 1:
        return _("This model takes {number} images of a case; the panel can give it one only.").format(
            number=card.inputs
        )
    if not hasModality:
        return _("Say which modality the volume is.")
    return ""
