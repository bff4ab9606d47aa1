"""`fedseg status`: how a study goes, from the file that its process keeps."""

from __future__ import annotations

import json
from argparse import Namespace

from FedSegCore.console import Console
from FedSegCore.errors import UsageError


def run(arguments: Namespace, console: Console) -> int:
    """Read `status.json` of a served folder or of a site's."""
    path = arguments.folder / "status.json" if arguments.folder.is_dir() else arguments.folder
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            f"{arguments.folder} is not the folder of a study across hospitals.",
            "Give the folder of `fedseg serve --out` or of `fedseg join --site-dir`.",
        ) from None
    console.say(
        f"{facts['study']}: {facts['state']}, {facts['run'] or 'no run yet'}, "
        f"round {facts['round']} of {facts['total']}"
    )
    for name, told in sorted(facts["sites"].items()):
        console.say(f"{name:20s} {told if isinstance(told, str) else told['state']}")
    console.result(facts, path=arguments.folder)
    return 0
