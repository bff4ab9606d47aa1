"""`python -m Testing.benchmarks.traced FILE WORDS`: the fedseg command, with the moments of a round written down.

Of each step that a message takes through `serve` and `join` a line goes to FILE: what, from when and until when, in
seconds since 1970, which two processes of one machine agree on. Calls of the sites' SuperNodes bear the site's name.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from FedSegCore.cli import main
from FedSegCore.coordinator import engine, gateway, hub
from FedSegCore.federation import client, flower, rounds, store
from FedSegCore.hospital import resident
from FedSegCore.methods import averaging


class Trace:
    """Lines of one process."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def line(self, what: str, start: float, about: str = "") -> None:
        """One step that ends now."""
        self._file.write(json.dumps([what, about, start, time.time()]) + "\n")

    def wrap(self, owner: Any, name: str, what: str, about: Callable[..., str] = lambda *_: "") -> None:
        """Let a function of a module or class write a line for each call."""
        inner = getattr(owner, name)

        def traced(*arguments: Any, **options: Any) -> Any:
            start = time.time()
            try:
                return inner(*arguments, **options)
            finally:
                self.line(what, start, about(*arguments))

        setattr(owner, name, traced)


def at_the_coordinator(trace: Trace) -> None:
    """What `serve` does with a round."""
    trace.wrap(rounds, "_one_round", "round", lambda method, state, round, *_: str(round.number))
    trace.wrap(engine.Engine, "post", "post", lambda _, site, *rest: site)
    trace.wrap(flower.SuperLink, "pull", "pull")
    trace.wrap(averaging.Averaging, "aggregate", "aggregate")
    trace.wrap(store.ServerStore, "save", "save")
    calling, engines = hub.StudyHub.calling, gateway._Doors.engine

    async def call(doors: Any, request: Any) -> Any:
        start, name = time.time(), request.path_params["call"]
        answer = await engines(doors, request)
        if name != "pull-messages" or answer.body:
            trace.line(name, start, calling(doors._hub, request.headers))
        return answer

    gateway._Doors.engine = call  # type: ignore[method-assign]


def at_a_site(trace: Trace) -> None:
    """What `join` does with a message; the site's dataset has its name."""
    name = Path(sys.argv[sys.argv.index("--data") + 1]).name
    trace.wrap(flower, "_task_input", "got", lambda *_: name)
    trace.wrap(resident.Resident, "answer", "answer", lambda *_: name)
    trace.wrap(client.Client, "_read", "unpack")
    trace.wrap(averaging.Averaging, "local_update", "train")
    trace.wrap(store.ClientStore, "save", "own state")
    trace.wrap(client.Client, "_leave", "pack, ledger")
    trace.wrap(resident, "write_atomic", "keep the answer")
    trace.wrap(flower, "push_message", "hand over", lambda *_: name)


if __name__ == "__main__":
    trace = Trace(Path(sys.argv[1]))
    (at_the_coordinator if sys.argv[2] == "serve" else at_a_site)(trace)
    sys.exit(main(sys.argv[2:]))
