"""A made-up study whose numbers look like a real one's, for the report's tests only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from FedSegCore.report.inputs import ReportInputs
from FedSegCore.report.overlays import Overlay
from FedSegCore.report.scores import Score

SITES = ("north", "east", "south", "west", "island")
LABELS = ("Anterior", "Posterior")
LEVEL = {
    "local": {"north": 0.83, "east": 0.80, "south": 0.78, "west": 0.78, "island": 0.47},
    "fedavg": {"north": 0.81, "east": 0.82, "south": 0.79, "west": 0.80, "island": 0.33},
    "fedgin": {"north": 0.80, "east": 0.80, "south": 0.80, "west": 0.78, "island": 0.66},
}


def made_up_scores(
    *,
    sites: Sequence[str] = SITES,
    methods: Sequence[str] = ("local", "fedavg", "fedgin"),
    labels: Sequence[str] = LABELS,
    seeds: Sequence[int] = (0, 1, 2),
    cases: int = 8,
) -> list[Score]:
    """Cases differ by how hard they are, seeds by a little noise; one structure at `island` is missed."""
    draw = np.random.default_rng(11)
    hardness = draw.normal(0, 0.035, size=(len(sites), cases))
    rows = []
    for method in methods:
        for s, site in enumerate(sites):
            for c in range(cases):
                for seed in seeds:
                    for label in labels:
                        level = LEVEL.get(method, LEVEL["fedavg"]).get(site, 0.75)
                        dice = level + hardness[s, c] + draw.normal(0, 0.012) - 0.02 * (label == "Posterior")
                        rows.append(
                            _row(method, site, seed, f"case_{s}{c:02d}", label, float(np.clip(dice, 0, 0.97)))
                        )
    missed = [i for i, row in enumerate(rows) if row.site == "island" and row.method == "fedavg"][:2]
    for i in missed:
        rows[i] = _row("fedavg", "island", rows[i].seed, rows[i].case, rows[i].label, 0.0)
    return rows


def _row(method: str, site: str, seed: int, case: str, label: str, dice: float) -> Score:
    local = method == "local"
    return Score(
        study="hippocampus across five scanners",
        method=method,
        seed=seed,
        round=20,
        model="local" if local else "global",
        owner=site if local else "",
        site=site,
        modalities="MRI",
        case=case,
        label=label,
        dice=dice,
        hd95_mm=math.nan if dice == 0 else 0.8 + 6 * (1 - dice),
        nsd_1mm=min(1.0, dice + 0.12) if dice else 0.0,
    )


def made_up_rounds(
    *,
    sites: Sequence[str] = SITES,
    methods: Sequence[str] = ("local", "fedavg", "fedgin"),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[dict[str, Any]]:
    draw = np.random.default_rng(5)
    lines = []
    for method in methods:
        for seed in seeds:
            for number in range(1, 21):
                facts = {}
                for site in sites:
                    level = LEVEL.get(method, LEVEL["fedavg"]).get(site, 0.75)
                    dice = level * (1 - math.exp(-number / 4)) + draw.normal(0, 0.01)
                    facts[site] = {
                        "loss": 1.4 * math.exp(-number / 6) + 0.3,
                        "dice": {"Anterior": dice + 0.01, "Posterior": dice - 0.01},
                        "seconds": 6.1,
                        "bytes": 2_400_000,
                    }
                lost = (
                    {"south": "no answer within 3600 s"}
                    if number in (7, 8) and (method, seed) == ("fedgin", 1)
                    else {}
                )
                for site in lost:
                    facts.pop(site, None)
                lines.append(
                    {
                        "method": method,
                        "seed": seed,
                        "round": number,
                        "total": 20,
                        "seconds": 31.0,
                        "bytes_up": 0 if method == "local" else 2_400_000 * len(facts),
                        "bytes_down": 0 if method == "local" else 2_400_000 * len(facts),
                        "loss": 0.5,
                        "sites": facts,
                        "took_part": list(facts),
                        "left_out": lost,
                    }
                )
    return lines


def made_up_ledger(*, sites: Sequence[str] = SITES) -> list[dict[str, Any]]:
    tensors = {f"encoder.{i}.weight": [16 * 2 ** (i // 4), 16, 3, 3, 3] for i in range(24)}
    return [
        {
            "round": number,
            "site": site,
            "kind": "update",
            "tensors": tensors,
            "scalars": {"cases": 30, "loss": 0.41, "dice.Anterior": 0.81},
            "bytes": 2_400_000 - 7 * len(site),
            "sha256": f"{number:04x}{'9f86d081884c7d65' * 4}"[:64],
        }
        for number in range(1, 21)
        for site in sites
    ]


def made_up_overlay(
    title: str, dice: float, *, shift: int, site: str = "island", spacing: float = 1.0
) -> Overlay:
    """Two ellipsoids, end to end, in a textured scan; the prediction is the reference moved by `shift`."""
    shape = (56, 64, 40)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    draw = np.random.default_rng(shift)

    def ellipsoid(centre: Sequence[float], radii: Sequence[float]) -> np.ndarray:
        return sum(((grid[i] - centre[i]) / radii[i]) ** 2 for i in range(3)) < 1  # type: ignore[return-value]

    front, back = ellipsoid((26, 40, 20), (7, 9, 7)), ellipsoid((30, 24, 20), (5, 11, 6))
    reference = np.stack([front & ~back, back])
    prediction = np.roll(reference, (shift, shift // 2), axis=(1, 2))
    texture = sum(np.sin(grid[i] / (4 + i) + i) for i in range(3))
    image = 300 + 40 * texture + 90 * reference.any(axis=0) + draw.normal(0, 14, shape)
    return Overlay(
        title, site, "case_403", dice, image, reference, prediction, LABELS, (spacing,) * 3, model="FedGIN"
    )


def made_up_study() -> dict[str, Any]:
    return {
        "name": "hippocampus across five scanners",
        "methods": ["local", "fedavg", "fedgin"],
        "seeds": [0, 1, 2],
        "rounds": 20,
        "labels": list(LABELS),
        "modalities": ["MRI"],
        "device": "CPU, 1 thread a site",
        "seconds": 5410.0,
        "licence": "CC BY-SA 4.0",
        "stand_in": "One hospital's images with simulated scanner shifts stand in for five hospitals.",
        "command": "fedseg simulate hippo_shift.toml --out runs/shift",
        "plan": {
            "dims": 3,
            "orientation": "RAS",
            "spacing_mm": [1.0, 1.0, 1.0],
            "patch": [40, 56, 40],
            "intensity": {"MRI": {"rule": "zscore", "lower": 0.5, "upper": 99.5}},
        },
        "network": {"kind": "unet", "channels": [16, 32, 64, 128], "norm": "instance"},
        "train": {"batch_size": 4, "learning_rate": 0.001, "augment": "gin"},
        "sites": [
            {
                "name": site,
                "role": "member",
                "modalities": ["MRI"],
                "labels": list(LABELS),
                "training": 6 if site == "island" else 30,
                "validation": 6,
                "test": 8,
            }
            for site in SITES
        ],
    }


def made_up_report(*, cases: int = 8) -> ReportInputs:
    return ReportInputs(
        study=made_up_study(),
        scores=made_up_scores(cases=cases),
        rounds=made_up_rounds(),
        ledger=made_up_ledger(),
        overlays=[
            made_up_overlay("Best case", 0.93, shift=1, site="north"),
            made_up_overlay("Median case", 0.79, shift=3, site="west"),
            made_up_overlay("Worst case", 0.41, shift=7),
        ],
        cards={
            "global.safetensors": {
                "method": "fedgin",
                "sites": list(SITES),
                "labels": list(LABELS),
                "modalities": ["MRI"],
                "dice": {"north": 0.8, "island": 0.66},
                "failure modes": ["low contrast at island"],
                "licence": "CC BY-SA 4.0",
                "use": "research use only",
            }
        },
    )


@pytest.fixture
def whole_report() -> ReportInputs:
    return made_up_report()


@pytest.fixture
def scores_of() -> Callable[..., list[Score]]:
    return made_up_scores


@pytest.fixture
def overlay_of() -> Callable[..., Overlay]:
    return made_up_overlay
