"""One HTML page that holds a whole report: no script, nothing fetched, readable on a phone and on paper."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

from FedSegCore.files import write_atomic
from FedSegCore.report import account, findings, patients, training
from FedSegCore.report.inputs import ReportInputs, gather
from FedSegCore.report.markup import Markup, element, escape, join
from FedSegCore.report.tables import method_title, plural

BANNER: Final = (
    "Research software, not a medical device, not FDA-cleared or CE-marked. "
    "Every segmentation must be reviewed by a qualified person."
)
CONTENTS: Final = (
    ("weakest", "Weakest first"),
    ("study", "Study"),
    ("dice", "Dice"),
    ("gains", "Gains and losses"),
    ("cases", "Cases"),
    ("patients", "Patients"),
    ("learning", "Learning"),
    ("sent", "What was sent"),
    ("failures", "Failures"),
    ("scores", "All scores"),
    ("models", "Models"),
    ("limits", "Limits"),
)
PAGE: Final = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<div class="banner" role="note">$banner</div>
<header>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
<nav aria-label="Contents">$contents</nav>
</header>
<main>
$sections
</main>
<footer>$banner</footer>
</body>
</html>
""")


def write_report(out: Path, report: ReportInputs) -> Path:
    """Write the page, whole or not at all.

    Args:
        out: the file to write, e.g. `DIR/report.html`; its folder is made where it is absent.
        report: what to show; any part may be absent.

    Returns:
        `out`.

    Raises:
        UsageError: the report names a baseline or focus that has no scores.
        StorageError: the page could not be written.
    """
    write_atomic(out, render(report).encode())
    return out


def render(report: ReportInputs) -> str:
    """The page as text: the same for the same inputs."""
    evidence = gather(report)
    sections = [
        findings.summary(report, evidence),
        training.trained(report),
        findings.by_place(evidence),
        findings.versus(evidence),
        patients.cases(report),
        patients.spread(evidence),
        training.learning(report, evidence),
        account.left_hospitals(report),
        account.failures(report, evidence),
        findings.all_scores(evidence),
        account.cards(report),
        account.limits(report, evidence),
    ]
    links = join((element("a", title, href=f"#{anchor}") for anchor, title in CONTENTS), " ")
    return PAGE.substitute(
        title=escape(_title(report)),
        subtitle=escape(_subtitle(report)),
        style=Path(__file__).with_name("report.css").read_text(encoding="utf-8"),
        banner=escape(BANNER),
        contents=links,
        sections=Markup("\n".join(map(str, sections))),
    )


def _title(report: ReportInputs) -> str:
    named = list(dict.fromkeys(score.study for score in report.scores))
    return str(report.study.get("name") or ", ".join(filter(None, named)) or "Report of a federated study")


def _subtitle(report: ReportInputs) -> str:
    """Methods, sites and seeds in one line."""
    study = report.study
    methods = study.get("methods") or [study.get("method")]
    named = [method_title(str(own)) for own in methods if own] or [
        method_title(own) for own in dict.fromkeys(score.method for score in report.scores)
    ]
    sites = len(study.get("sites") or {score.site for score in report.scores})
    seeds = len(study.get("seeds") or {score.seed for score in report.scores})
    parts = [", ".join(named), plural(sites, "site") if sites else "", plural(seeds, "seed") if seeds else ""]
    return " · ".join(part for part in parts if part)
