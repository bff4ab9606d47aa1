"""Published models and their cards: what a person should know before using one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INDEX = "index.json"
MIXTURE = "."
"""The key of all models of a folder at once: the folder itself."""
_OWN_MODEL = "personal.safetensors"
_SITE_FILE = "site.json"
"""What `fedseg join` writes into the folder that holds a site's runs."""


@dataclass(frozen=True)
class Card:
    """What a model says of itself.

    Args:
        modalities: what an image may be that the model segments.
        inputs: how many images it takes of one case; 1 where it is content with any of its modalities.
        anyOf: it takes as many of its modalities as there are, at least one.
        sites: whose training cases it learnt from, and how many.
        dice: site -> label -> mean Dice of its test cases; empty where nobody reported one.
    """

    name: str
    study: str
    method: str
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    inputs: int
    anyOf: bool
    sites: tuple[tuple[str, int], ...]
    dice: Mapping[str, Mapping[str, float | None]]

    @property
    def takesSeveral(self) -> bool:
        """Whether a case may have an image for each of its modalities."""
        return len(self.modalities) > 1 and (self.inputs > 1 or self.anyOf)


@dataclass(frozen=True)
class Choice:
    """One line of the list of models.

    Args:
        key: the model's file name, the way from the folder to a hospital's own model, or `MIXTURE`.
        path: what `fedseg segment` is given: the file, or the folder of all.
        example: a model file whose card holds for this choice.
        card: None where the folder has no index of cards.
    """

    key: str
    path: Path
    example: Path
    card: Card | None


def readCard(facts: Mapping[str, Any]) -> Card:
    """A card from `models/index.json` or from `fedseg info --json`.

    Raises:
        ValueError: these are not a model's facts.
    """
    try:
        owned = [str(name) for name in facts["owned"]]
        anyOf = facts["network"]["kind"] == "multiencoder"
        dice = facts.get("dice_by_site", {})
        return Card(
            name=str(facts["name"]),
            study=str(facts["study"]),
            method=str(facts["method"]),
            labels=tuple(str(name) for name, _value in facts["labels"]),
            modalities=tuple(owned),
            inputs=1 if anyOf or len(facts["inputs"]) == 1 else len(owned),
            anyOf=anyOf,
            sites=tuple((str(site), int(cases)) for site, cases in facts["sites"]),
            dice={str(site): dict(of) for site, of in dice.items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"no model's card: {error!r}") from None


def modelsIn(folder: Path) -> list[Choice]:
    """The models of a folder, the global one first, and last all of them together if there are several.

    Where the folder is of a run that this hospital took part in, its own model is listed too; no mixture holds it.
    """
    files = sorted(folder.glob("*.safetensors"), key=lambda file: (file.stem != "global", file.name))
    cards = _readIndex(folder / INDEX)
    choices = [Choice(file.name, file, file, cards.get(file.name)) for file in files]
    mixed = [choice.card for choice in choices]
    own = ownModel(folder.parent, _siteOf(folder.parent))
    if own is not None:
        choices.append(Choice(placeOf(own)[1], own, own, None))
    if len(files) > 1:
        choices.append(Choice(MIXTURE, folder, files[0], _common(mixed)))
    return choices


def ownModel(run: Path, site: str) -> Path | None:
    """A hospital's own model of a run, if it has one that does not stand among those of everybody too."""
    own = run / "sites" / site / _OWN_MODEL
    among = any((run / "models" / f"{kind}-{site}.safetensors").is_file() for kind in ("personal", "local"))
    return own if site and own.is_file() and not among else None


def modelName(file: Path) -> str:
    """What a model is called; each hospital's own has the same file name."""
    return f"personal-{file.parent.name}" if _isOwn(file) else file.stem


def placeOf(file: Path) -> tuple[Path, str]:
    """The folder in whose list a model stands, and its key there."""
    if not _isOwn(file):
        return file.parent, file.name
    run = file.parents[2]
    return run / "models", f"../{file.relative_to(run).as_posix()}"


def _isOwn(file: Path) -> bool:
    return file.name == _OWN_MODEL and file.parents[1].name == "sites"


def _siteOf(run: Path) -> str:
    """Whose folder a run stands in; empty: in no hospital's."""
    try:
        return str(json.loads((run.parent.parent / _SITE_FILE).read_text(encoding="utf-8"))["site"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _common(cards: list[Card | None]) -> Card | None:
    """The card of a mixture: it takes what one of its models takes, and no one has reported a Dice of it."""
    if not all(cards):
        return None
    first = cards[0]
    return Card(
        name="",
        study=first.study,
        method=first.method,
        labels=first.labels,
        modalities=tuple(dict.fromkeys(name for card in cards for name in card.modalities)),
        inputs=first.inputs,
        anyOf=first.anyOf,
        sites=tuple(dict(site for card in cards for site in card.sites).items()),
        dice={},
    )


def _readIndex(path: Path) -> dict[str, Card]:
    """The cards by file name; without a readable index each model is asked on its own."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): readCard(facts) for name, facts in index.items()}
    except (OSError, ValueError, AttributeError):
        return {}
