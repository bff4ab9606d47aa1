"""What a round costs besides training, all sites in one process.

    python -m Testing.benchmarks.engine DIR

Sites whose training takes no time and moves every weight a little: what is left is broadcast, encoding, hashing,
checks, spool, average, checkpoint and ledger. The sites' own states (the optimizer's moments, twice the network) are
timed apart, beside a bare write of as many bytes. Beside the round stands what nobody can do without: copying and
hashing each message once. The peak is that of the average, pages of files not counted, in networks of float32 beside
what there was before. Every row is a process of its own. The bars: 0.5 s for 5 sites of 20 MB; 2.5 networks; a
thousand small sites within 4 GB.
"""

from __future__ import annotations

import hashlib
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from FedSegCore.data.batches import Batches
from FedSegCore.federation.client import Client
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.rounds import federate
from FedSegCore.federation.store import ClientStore, ServerStore
from FedSegCore.files import write_atomic
from FedSegCore.learning.train import Trained
from FedSegCore.methods import averaging
from FedSegCore.methods.averaging import Averaging
from FedSegCore.nets.unet import Network, build
from FedSegCore.tensors import weights as algebra
from Testing.benchmarks.machine import described
from Testing.phantoms import make_site, seeded

WIDE, HALF, SMALL = (32, 64, 128, 224), (22, 45, 90, 160), (4, 8)
"""Channels of networks of 20 MB, of half of that, and of 20 kB."""
ROWS = ((1, WIDE), (5, HALF), (5, WIDE), (10, WIDE), (4, WIDE), (16, WIDE), (64, WIDE), (1000, SMALL))
ROUNDS = 4


def main(folder: Path) -> None:
    """Print the table."""
    print(described(), "\n")
    print("| Sites | MB of network | Round s | Own states s | Bare write s | Copy and hash s | Peak of the average,"
          " networks | Process GB |")  # fmt: skip
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for number, channels in ROWS:
        row = folder / f"{number}-{channels[0]}"
        command = [sys.executable, "-m", __spec__.name, str(row), str(number), *map(str, channels)]
        # What is freed goes back to the system at once, or the peak could not be told.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        print(done.stdout.strip(), flush=True)


def one_row(folder: Path, number: int, channels: tuple[int, ...]) -> None:
    """Run one federation and print its row."""
    torch.set_num_threads(1)
    averaging.train = _trained_at_once
    own, peak = _watch_states(), _watch_average()
    model = build(Network(channels=channels), dims=3, in_channels=1, out_channels=2, generator=seeded())
    size = sum(tensor.nbytes for tensor in algebra.of(model).values())
    server = ServerStore(folder / "server", {})
    federate(
        Averaging(),
        replace(make_site("server"), model=model),
        InProcess(dict(_clients(folder, number, model))),
        ROUNDS,
        store=server,
        min_sites=number,
        emit=lambda *_, **__: None,
    )
    # The first round reads no state and makes every folder.
    rounds = [line["seconds"] for line in read_lines(server.log)][1:]
    states = [sum(own[place * number : (place + 1) * number]) for place in range(1, ROUNDS)]
    message, state = bytes(size), bytes(2 * size)
    bare = _median(lambda: write_atomic(folder / "bare", state)) * number
    hashed = _median(lambda: hashlib.sha256(bytearray(message)).digest()) * 2 * number
    took = statistics.median(whole - part for whole, part in zip(rounds, states, strict=True))
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {number} | {size / 1e6:.2f} | {took:.2f} | {statistics.median(states):.2f} | {bare:.2f} | {hashed:.2f}"
          f" | {max(peak) / size:.1f} | {process:.2f} |")  # fmt: skip


def _clients(folder: Path, number: int, model: nn.Module) -> Iterator[tuple[str, Client]]:
    for name in (f"site{place:04}" for place in range(number)):
        site = replace(make_site(name, cases=1), model=model)
        ledger = Ledger(folder / name / "ledger.jsonl")
        yield (
            name,
            Client(Averaging(), site, seed=0, store=ClientStore(folder / name), ledger=ledger, header={}),
        )


def _trained_at_once(model: nn.Module, batches: Batches, **_: Any) -> Trained:
    """Every weight a little further, and moments as large as AdamW's."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.001)
    moments = {kind: algebra.of(model) for kind in ("exp_avg", "exp_avg_sq")}
    return Trained(1.0, {f"{kind}/{name}": t for kind, named in moments.items() for name, t in named.items()})


def _watch_states() -> list[float]:
    """The seconds of every state that a site writes from now on."""
    seconds: list[float] = []
    save = ClientStore.save

    def timed(store: ClientStore, state: object, round_number: int) -> None:
        started = time.monotonic()
        save(store, state, round_number)
        seconds.append(time.monotonic() - started)

    ClientStore.save = timed
    return seconds


def _watch_average() -> list[int]:
    """The bytes of memory, pages of files not counted, that every aggregation from now on adds at its peak."""
    peaks: list[int] = []
    aggregate = Averaging.aggregate

    def watched(*arguments: Any) -> Any:
        before, ended, seen = _anonymous(), threading.Event(), [0]

        def watch() -> None:
            while not ended.wait(0.001):
                seen.append(_anonymous() - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            return aggregate(*arguments)
        finally:
            ended.set()
            watcher.join()
            peaks.append(max(seen))

    Averaging.aggregate = watched
    return peaks


def _anonymous() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _median(work: Callable[[], object], *, repeats: int = 3) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.monotonic()
        work()
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        one_row(Path(sys.argv[1]), int(sys.argv[2]), tuple(map(int, sys.argv[3:])))
    else:
        main(Path(sys.argv[1]))
