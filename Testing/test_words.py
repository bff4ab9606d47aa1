"""What the README and the pages for people tell: commands that exist, links that lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from FedSegCore.cli import make_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "Resources" / "federation").glob("*.md"))]
COMMAND = re.compile(r"^(?:    )?fedseg ((?:.*\\\n)*.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_is_one_that_the_program_takes(page: Path) -> None:
    for told in COMMAND.findall(page.read_text(encoding="utf-8")):
        words = shlex.split(told.replace("\\\n", " "), comments=True)
        _, rest = make_parser().parse_known_args(words)
        assert not rest, told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_on_a_page_leads_to_a_file_that_is_there(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
