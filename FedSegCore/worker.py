"""A worker process of `simulate --workers N`: makes its sites' clients and answers messages on its pipes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from FedSegCore.errors import FedSegError
from FedSegCore.federation.frames import read_frame, write_frame


def main() -> int:
    """Answer until the other end closes the pipe."""
    # Whatever libraries print must not get between the frames.
    pipe: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr
    job, _ = read_frame(sys.stdin.buffer)
    clients = make_clients(job)
    while True:
        try:
            head, message = read_frame(sys.stdin.buffer)
        except EOFError:
            return 0
        try:
            reply = clients[head["site"]].handle(message)
        except Exception as error:
            # The process that trains the other sites goes on; the server writes the reason into its log.
            reason = error.message if isinstance(error, FedSegError) else f"{type(error).__name__}: {error}"
            write_frame(pipe, {"failed": reason})
        else:
            write_frame(pipe, {}, reply)


def make_clients(job: dict[str, Any]) -> dict[str, Any]:
    """The clients of this worker's sites, from the words of its job."""
    import torch

    from FedSegCore.device import choose_device
    from FedSegCore.methods.registry import named
    from FedSegCore.participants import member_client
    from FedSegCore.run import Run, read_cache, read_start
    from FedSegCore.setting import read_setting
    from FedSegCore.study import parse_study

    torch.set_num_threads(job["threads"])
    study = parse_study(job["study"], Path())
    header, start = read_start(Path(job["init"])) if job["init"] else (None, {})
    setting = read_setting(study, like=header)
    mine = [data for data in setting.with_role("member") if data.site.name in job["sites"]]
    run = Run(
        setting,
        read_cache(setting, mine),
        named(job["method"], study.method_options),
        job["seed"],
        Path(job["folder"]),
        choose_device(job["device"]),
        start,
    )
    return {data.site.name: member_client(run, data) for data in mine}


if __name__ == "__main__":
    raise SystemExit(main())
