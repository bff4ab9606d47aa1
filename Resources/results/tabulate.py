"""Turn the scores.csv of a finished study into the Markdown table that stands in this folder.

python Resources/results/tabulate.py DIR/scores.csv [MORE/scores.csv ...] --baseline METHOD[/MODEL] [--sites A,B]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from FedSegCore.report.results import results_table
from FedSegCore.report.scores import read_all


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scores", nargs="+", type=Path)
    parser.add_argument("--baseline", required=True)
    parser.add_argument("--sites", default="")
    parser.add_argument("--metric", default="dice")
    arguments = parser.parse_args()
    rows = read_all(arguments.scores)
    sites = arguments.sites.split(",") if arguments.sites else sorted({row.site for row in rows})
    print(results_table(rows, baseline=arguments.baseline, sites=sites, metric=arguments.metric))


if __name__ == "__main__":
    main()
