"""How well hospitals outside a federation were served: ways against the oracle, and whether abstaining helps.

python Resources/results/outside.py runs/outside_east runs/outside_island

For each way the Dice of every outside scan (mean over structures, then over seeds), and how much of the gap between
the global model and the oracle it closes. The oracle is the best of the experts on the mean over a site's scans,
known only with the labels; no row but the oracle's has seen one. Then the area under the ROC curve of the models'
disagreement as a foreteller of a Dice below 0.5, over all scans and seeds, with an interval by bootstrap over
patients.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

POOR = 0.5
DRAWS = 2000
WAYS = ("global", "single", "uniform", "ensemble", "batchnorm", "tent", "routed")

Case = tuple[str, str]
"""Site and case."""
Found = dict[tuple[str, str], dict[Case, dict[str, float]]]
"""By way and owner, then by case and seed: Dice."""


def main(folders: Sequence[Path]) -> None:
    """Print both tables."""
    found: Found = defaultdict(lambda: defaultdict(dict))
    verdicts: list[dict[str, str]] = []
    for folder in folders:
        _read(folder / "scores.csv", found)
        for path in sorted(folder.glob("**/routing.csv")):
            with path.open(newline="", encoding="utf-8") as file:
                verdicts += list(csv.DictReader(file))
    outside = {(line["site"], line["case"]) for line in verdicts}
    for site in sorted({site for site, _ in outside}):
        _print_ways(site, found, {case for case in outside if case[0] == site})
    _print_verdict(verdicts)


def _read(path: Path, found: Found) -> None:
    sums: dict[tuple[str, str, str, Case], list[float]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["dice"]:
                key = (row["model"], row["owner"], row["seed"], (row["site"], row["case"]))
                sums[key].append(float(row["dice"]))
    for (way, owner, seed, case), dices in sums.items():
        found[way, owner][case][seed] = float(np.mean(dices))


def _print_ways(site: str, found: Found, cases: set[Case]) -> None:
    means = {way: _by_case(found[way, ""], cases) for way in WAYS if (way, "") in found}
    experts = {owner: _by_case(found[way, owner], cases) for way, owner in found if way == "personal"}
    experts = {owner: values for owner, values in experts.items() if values}
    best = max(experts, key=lambda owner: float(np.mean(list(experts[owner].values()))))
    best_mean = max(
        float(np.mean(list(experts[best].values()))), float(np.mean(list(means["global"].values())))
    )
    base = float(np.mean(list(means["global"].values())))
    print(f"| {site}: way | Dice | Difference to global | Worst scan's loss | Share of the gap closed |")
    print("|---|---:|---:|---:|---:|")
    rows = {**means, f"oracle: {best}'s model": experts[best]}
    for way, values in rows.items():
        difference = np.array([values[case] - means["global"][case] for case in sorted(cases)])
        gap = f"{(np.mean(difference)) / (best_mean - base):.0%}" if best_mean - base > 0.005 else "no gap"
        print(f"| {way} | {_interval(list(values.values()))} | {_interval(difference, sign=True)} | "
              f"{difference.min():+.3f} | {gap} |")  # fmt: skip
    seeds = {seed for case in cases for seed in found["global", ""][case]}
    print(f"\n{len(cases)} patients, {len(seeds)} seeds.\n")


def _by_case(values: Mapping[Case, Mapping[str, float]], cases: set[Case]) -> dict[Case, float]:
    return {case: float(np.mean(list(values[case].values()))) for case in cases if case in values}


def _interval(values: Sequence[float] | np.ndarray, *, sign: bool = False) -> str:
    array = np.asarray(values)
    draws = np.random.default_rng(0).choice(array, (DRAWS, len(array))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    form = "+.3f" if sign else ".3f"
    return f"{array.mean():{form}} [{low:{form}} to {high:{form}}]"


def _print_verdict(lines: Sequence[Mapping[str, str]]) -> None:
    cases = [(line["site"], line["case"]) for line in lines]
    # Where nothing was found there is nothing to disagree on, and the verdict keeps it back.
    score = np.array([float(line["disagreement"] or 1.0) for line in lines])
    poor = np.array([float(line["dice"]) < POOR for line in lines])
    print(
        f"Disagreement as a foreteller of a Dice below {POOR}: {poor.sum()} of {len(poor)} routed segmentations."
    )
    if not 0 < poor.sum() < len(poor):
        print("AUROC: undefined.")
        return
    patients = sorted(set(cases))
    places = {patient: [i for i, case in enumerate(cases) if case == patient] for patient in patients}
    generator, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = [place for index in generator.integers(len(patients), size=len(patients))
                  for place in places[patients[index]]]  # fmt: skip
        if 0 < poor[chosen].sum() < len(chosen):
            drawn.append(_auroc(score[chosen], poor[chosen]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    print(f"AUROC {_auroc(score, poor):.3f} [{low:.3f} to {high:.3f}], {len(patients)} patients.")
    known = [line["abstain"] for line in lines if line["abstain"]]
    if known:
        kept_back = np.array([line["abstain"] == "yes" for line in lines])
        print(
            f"Kept back: {kept_back[poor].mean():.0%} of the poor, {kept_back[~poor].mean():.0%} of the others."
        )


def _auroc(score: np.ndarray, poor: np.ndarray) -> float:
    """The chance that a poor case has more disagreement than another, ties counted half."""
    above = score[poor][:, None] - score[~poor][None]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
