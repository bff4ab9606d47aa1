"""One run of a study across hospitals: the rounds, the last exchange, the models and what may be scored here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from FedSegCore.errors import TooFewSites
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.rounds import Emit, conclude, federate
from FedSegCore.federation.store import ServerStore
from FedSegCore.federation.transport import Transport
from FedSegCore.simulation.calibrating import calibrate
from FedSegCore.simulation.participants import server_site
from FedSegCore.simulation.publishing import write_models
from FedSegCore.simulation.run import Run
from FedSegCore.simulation.simulate import facts_of, measure_and_card

_PAUSE_S = 5.0
"""Before a round that came to nothing is tried again."""


def lead(
    run: Run,
    transport: Transport,
    *,
    joined: Callable[[], Mapping[str, Joining]],
    min_sites: int,
    emit: Emit,
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Run the rounds that are missing and publish; returns the public models' files with their cards.

    A round that too few sites answer is tried again: their state and the server's are as before it.

    Args:
        joined: what the sites told that take part now.
    """
    method, study = run.entry.method, run.study
    server = server_site(run)
    store = ServerStore(run.folder, facts_of(run))
    while True:
        try:
            state = federate(
                method, server, transport, study.rounds, store=store, min_sites=min_sites, emit=emit
            )
            published = conclude(
                method, state, server, transport, study.rounds, min_sites=min_sites, emit=emit
            )
            break
        except TooFewSites as few:
            emit("warning", message=few.message, fix="The round is tried again; nothing is lost.")
            time.sleep(_PAUSE_S)
    run = replace(run, setting=replace(run.setting, joined={**run.setting.joined, **joined()}))
    models = write_models(run, published)
    calibrate(run, models, transport, emit)
    return measure_and_card(run, models, emit)
