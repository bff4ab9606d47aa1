"""Numbers as words, and summary rows: one an arm, site and label, with every metric's interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from FedSegCore.report.cases import Arm, CaseMeans
from FedSegCore.report.scores import METRICS
from FedSegCore.report.statistics import Generator, Interval, interval_of

TITLES: Final[Mapping[str, str]] = {
    "local": "Local",
    "central": "Central",
    "fedavg": "FedAvg",
    "fedprox": "FedProx",
    "fedbn": "FedBN",
    "fedper": "FedPer",
    "ditto": "Ditto",
    "fedgin": "FedGIN",
    "iopfl": "IOP-FL",
    "segviz": "SegViz",
    "fedmepd": "FedMEPD",
}
METRIC_TITLES: Final[Mapping[str, str]] = {
    "dice": "Dice",
    "hd95_mm": "HD95 (mm)",
    "nsd_1mm": "Surface Dice at 1 mm",
}
ABSENT: Final = "\N{EN DASH}"


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign; a dash where it is undefined.

    >>> number(-0.126), number(float("nan"))
    ('−0.13', '–')
    """
    if not math.isfinite(value):
        return ABSENT
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign.

    >>> signed(0.3301), signed(-0.01)
    ('+0.330', '−0.010')
    """
    text = number(value, digits)
    return f"+{text}" if math.isfinite(value) and float(f"{value:.{digits}f}") > 0 else text


def ends(interval: Interval, digits: int = 2, *, sign: bool = False) -> str:
    """The interval's two ends; a dash with fewer than two patients."""
    if not math.isfinite(interval.low):
        return ABSENT
    write = signed if sign else number
    return f"{write(interval.low, digits)} to {write(interval.high, digits)}"


def p_text(p: float) -> str:
    """A p-value as journals print it.

    >>> p_text(0.00001), p_text(0.0312), p_text(float("nan"))
    ('< 0.001', '0.031', '–')
    """
    if math.isnan(p):
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "patient"), plural(3, "patient")
    ('1 patient', '3 patients')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def byte_text(count: float) -> str:
    """A number of bytes in the unit that reads best.

    >>> byte_text(512), byte_text(2_400_000)
    ('512 B', '2.4 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.{1 if count < 100 * size else 0}f} {unit}"
    return f"{count:.0f} B"


def duration_text(seconds: float) -> str:
    """A duration in the unit that reads best.

    >>> duration_text(75), duration_text(5000)
    ('1 min 15 s', '1 h 23 min')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"


def size_text(sizes: Iterable[float]) -> str:
    """Sizes along axes, e.g. of a patch or a tensor, with multiplication signs between them."""
    return " \N{MULTIPLICATION SIGN} ".join(words(size) for size in sizes)


def words(value: object) -> str:
    """A value in words: lists with commas, mappings with colons, numbers without a needless fraction."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {words(own)}" for key, own in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(own) for own in value)
    if isinstance(value, float):
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    return "" if value is None else str(value)


def method_title(method: str) -> str:
    """A method's name as its paper writes it."""
    return TITLES.get(method, method)


def arm_titles(arms: Sequence[Arm]) -> dict[Arm, str]:
    """What each arm is called: with its model where that says more, its study where there are several."""
    several = len({arm.study for arm in arms}) > 1
    titles = {}
    for arm in arms:
        title = method_title(arm.method)
        title = title if arm.model == arm.method else f"{title}, {arm.model}"
        title = f"{title} of {arm.owner}" if arm.owner else title
        titles[arm] = f"{arm.study}: {title}" if several else title
    return titles


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = "|---|" + "---:|" * (len(header) - 1)
    return "\n".join([line(header), rule, *(line(row) for row in rows)]) + "\n"


@final
@dataclass(frozen=True)
class Summary:
    """One arm at one site for one label.

    Args:
        arm: the method and model.
        site: the site; "" for the mean over sites.
        label: the label; "" for the mean over labels.
        metrics: metric -> its interval over patients.
    """

    arm: Arm
    site: str
    label: str
    metrics: Mapping[str, Interval]


def summarize(
    means: CaseMeans, arm: Arm, *, sites: Sequence[str], labels: Sequence[str], generator: Generator = 0
) -> list[Summary]:
    """An arm's summary rows for every site and label in the orders given, where any score is defined.

    Args:
        means: the study's case means.
        arm: the method and model.
        sites: which sites, "" for the mean over all.
        labels: which labels, "" for the mean over all.
        generator: for the intervals.
    """
    rows = [
        Summary(
            arm,
            site,
            label,
            {
                metric: interval_of(means.by_case(metric, arm, site=site, label=label), generator)
                for metric in METRICS
            },
        )
        for site in sites
        for label in labels
    ]
    return [row for row in rows if any(interval.n for interval in row.metrics.values())]
