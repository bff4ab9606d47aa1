"""Model cards: `models/index.json`, what a person should know before using a published model."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from FedSegCore.files import write_atomic
from FedSegCore.report.scores import Score
from FedSegCore.simulation.publishing import WrittenModel
from FedSegCore.tensors.header import read_header

_POOR = 0.5
"""A structure whose Dice is below this is counted as a failure; cards travel, so they name no case."""


def write_cards(
    folder: Path, models: Sequence[WrittenModel], scores: Sequence[Score], rounds: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Write and return `models/index.json`: the header of each model plus what may change from run to run.

    Args:
        folder: the run's folder.
        models: its public models.
        scores: the run's scores; a card tells the Dice of its own model by site and structure.
        rounds: the lines of rounds.jsonl; a card tells how many of them a site was left out of, and not why.
    """
    cards = {model.path.name: card(model, scores, rounds) for model in models}
    target = folder / "models" / "index.json"
    write_atomic(target, (json.dumps(cards, indent=1, ensure_ascii=False) + "\n").encode())
    return cards


def card(model: WrittenModel, scores: Sequence[Score], rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One model's card."""
    header = read_header(model.path)
    own = [score for score in scores if score.model == model.kind and score.owner == model.owner]
    poor = Counter(f"{score.site}, {score.label}" for score in own if score.dice < _POOR)
    left_out = Counter(site for line in rounds for site in line["left_out"])
    return {
        **{key: value for key, value in header.items() if key != "format"},
        "file_sha256": hashlib.sha256(model.path.read_bytes()).hexdigest(),
        "rounds": len(rounds),
        "dice_by_site": _dice(own),
        "failures": {
            "dice_below_half": poor.total(),
            "where": dict(sorted(poor.items())),
            "undefined_scores": sum(math.isnan(score.dice) for score in own),
            "sites_left_out": dict(sorted(left_out.items())),
        },
    }


def _dice(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, list[float]]] = {}
    for score in scores:
        if not math.isnan(score.dice):
            values.setdefault(score.site, {}).setdefault(score.label, []).append(score.dice)
    return {
        site: {label: round(sum(dices) / len(dices), 4) for label, dices in labels.items()}
        for site, labels in sorted(values.items())
    }
