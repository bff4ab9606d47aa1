"""`python -m Testing.coordinator.recording FOLDER WORDS`: the fedseg command, its port recorded.

Every request that reaches the port is kept as it came: its line and headers in NUMBER.head, its body in NUMBER.body.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

from FedSegCore.cli import main
from FedSegCore.coordinator import gateway


class Recorded:
    """An ASGI application that keeps what it is asked."""

    def __init__(self, app: Any, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.numbers = itertools.count()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        place, body = self.folder / f"{next(self.numbers):06d}", bytearray()

        async def heard() -> Any:
            told = await receive()
            body.extend(told.get("body", b""))
            return told

        try:
            await self.app(scope, heard, send)
        finally:
            head = [scope["method"], scope["raw_path"].decode(), scope["query_string"].decode("latin-1"),
                    {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}]  # fmt: skip
            place.with_suffix(".body").write_bytes(body)
            place.with_suffix(".head").write_text(json.dumps(head))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    make_app = gateway.make_app
    gateway.make_app = lambda hub, routes: Recorded(make_app(hub, routes), folder)  # type: ignore[assignment,return-value]
    sys.exit(main(sys.argv[2:]))
