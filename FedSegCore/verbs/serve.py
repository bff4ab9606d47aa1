"""`fedseg serve`: the coordinator's end of a study across hospitals."""

from __future__ import annotations

import os
from argparse import Namespace

from FedSegCore.console import Console
from FedSegCore.errors import UsageError
from FedSegCore.interrupt import sigterm_as_ctrl_c
from FedSegCore.memory import give_back_large_blocks


def run(arguments: Namespace, console: Console) -> int:
    """Lead the study until its last round; exit 0 once the sites have their models."""
    from FedSegCore.coordinator.desk import FOLDER, Place
    from FedSegCore.coordinator.serve import serve
    from FedSegCore.device import choose_device
    from FedSegCore.study import read_study

    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together.", "Give both, or neither.")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port is {arguments.port}, expected 0 to 65535.", "Choose another.")
    # A coordinator calls nobody but its own engine on this machine, and Flower's clients would ask a proxy for that.
    os.environ["no_proxy"] = "*"
    give_back_large_blocks()
    study = read_study(arguments.study)
    place = Place(arguments.host, arguments.port, arguments.address, arguments.tls_cert, arguments.tls_key)
    login = arguments.out / FOLDER / "login"
    console.say(f"Status page: /status at the study's address; its login token stands in {login}")
    device = choose_device(arguments.device)
    with sigterm_as_ctrl_c():
        summary = serve(study, arguments.out, place, device=device, keep=arguments.keep, emit=console.emit)
    for path in summary["models"]:
        console.say(f"Model: {path}")
    console.result(summary, path=arguments.out)
    return 0
