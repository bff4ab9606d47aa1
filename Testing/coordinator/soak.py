"""Power cuts at random, by the hundred: every study ends in the bits of the undisturbed one.

python -m Testing.coordinator.soak DIR [--kills 200] [--seed 0]

Small studies in real processes, the sites behind a proxy. At random moments a random process is killed (SIGKILL):
`serve`, its SuperLink, a site's `join`, its SuperNode, the proxy. What a person would start again is started again
after a moment; the rest mends itself. A line for each run goes to DIR/soak.jsonl, from which the table is made;
a second call goes on after the last of them. The folder of a run that failed is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from FedSegCore.federation.child import free_port
from FedSegCore.federation.ledger import append_line, read_lines, verify_ledger
from Testing.hospitals import ROOT, Hospitals, Process, write_study

SITES = {"north": "publish_personal = true", "south": ""}
METHODS = ("fedavg", "ditto")
"""One whose sites keep nothing, one whose sites keep a model of their own; runs take turns."""
ROUNDS = 8
MOST_KILLS = 16
"""Of one run: then it is let finish."""
PATIENCE_S = 900.0
AT_ONCE, RESTART_S = 0.2, 2.0
"""How often the next kill comes at once, and until when somebody has started a killed process again."""


def write(folder: Path, method: str) -> Path:
    """The study of a run."""
    folder.mkdir(parents=True)
    more = 'outside_models = ["global"]'
    return write_study(folder, SITES, methods=[method], rounds=ROUNDS, more=more, cases=2)


def bits(out: Path) -> dict[str, str]:
    """The published models of a study, each with the hash of its file."""
    found = sorted(path for path in out.rglob("*.safetensors") if path.parent.name == "models")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def undisturbed(folder: Path, method: str) -> dict[str, str]:
    """What the study ends in when it is simulated."""
    study, out = write(folder, method), folder / "out"
    words = [sys.executable, "-m", "FedSegCore", "simulate", str(study), "--out", str(out)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return bits(out)


@dataclass
class Run:
    """One study, its processes and what was done to them."""

    hospitals: Hospitals
    dice: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    late: list[tuple[float, Process]] = field(default_factory=list)

    def start(self) -> None:
        """Let everything run, the proxy first."""
        port = free_port()
        self.hospitals.environment["HTTPS_PROXY"] = f"http://127.0.0.1:{port}"
        self.proxy = Process(["Testing.hospital.proxy", str(port)], self.hospitals.folder / "proxy.log")
        started = time.monotonic()
        self.hospitals.serve("--keep")  # a site may be down for longer than `serve` stays for it at the end
        self.longest = time.monotonic() - started
        for name, keys in SITES.items():
            self.hospitals.join(name, *(["--publish-personal"] if keys else []))

    @property
    def processes(self) -> dict[str, Process]:
        """Those that a person starts."""
        joins = {f"join ({name})": process for name, process in self.hospitals.sites.items()}
        return {"serve": self.hospitals.coordinator, **joins, "proxy": self.proxy}

    def kill_some(self, most: int) -> None:
        """Kill until the study ends or there were so many; the time between two is at most a start's."""
        while self.killed.total() < most and not self.over:
            if self.dice.random() > AT_ONCE:
                self._wait(self.dice.uniform(0.1, self.longest))
            if not self.over:
                self._kill_one()

    @property
    def over(self) -> bool:
        """Whether every site has its models."""
        joins = self.hospitals.sites.values()
        return not self.late and all(join.popen.poll() is not None for join in joins)

    def finish(self) -> None:
        """Wait for the end.

        Raises:
            AssertionError: a process failed or did not end.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self.over:
            self._wait(0.5)
            assert time.monotonic() < deadline, "it does not end"

    def stop(self) -> None:
        """End everything."""
        self.hospitals.stop()
        self.proxy.kill()

    def _wait(self, seconds: float) -> None:
        """Let time pass, in which what was killed is started again."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            now = time.monotonic()
            for _, process in [one for one in self.late if one[0] <= now]:
                process.start()
            self.late = [one for one in self.late if one[0] > now]
            for name, process in self.processes.items():
                waits = any(process is one for _, one in self.late)
                code = process.popen.poll()
                assert waits or code in (None, 0), f"{name} ended with {code}: {process.end_of_log()}"
            time.sleep(0.05)

    def _kill_one(self) -> None:
        up = {name: one for name, one in self.processes.items() if one.popen.poll() is None}
        engines = {
            name.replace("serve", "SuperLink").replace("join", "SuperNode"): pid
            for name, one in up.items() if name != "proxy" for pid in one.engine()
        }  # fmt: skip
        victim = self.dice.choice(sorted([*up, *engines]))
        if victim in engines:
            os.kill(engines[victim], signal.SIGKILL)
        else:
            up[victim].kill()
            self.late.append((time.monotonic() + self.dice.uniform(0.0, RESTART_S), up[victim]))
        self.killed[victim] += 1


def check(hospitals: Hospitals, expected: dict[str, str]) -> None:
    """See that nothing shows of what was done.

    Raises:
        AssertionError: something does.
    """
    assert bits(hospitals.out) == expected, "other bits"
    lines = read_lines(hospitals.out / "rounds.jsonl")
    assert [line["round"] for line in lines] == list(range(1, ROUNDS + 1)), "rounds are missing or twice"
    assert all(line["took_part"] == sorted(SITES) for line in lines), "a round went on without a site"
    came = {line["sha256"] for line in read_lines(hospitals.out / "ledger.jsonl")}
    verify_ledger(hospitals.out / "ledger.jsonl")
    left = set()
    for name in SITES:
        verify_ledger(hospitals.home(name) / "ledger.jsonl")
        left |= {line["sha256"] for line in read_lines(hospitals.home(name) / "ledger.jsonl")}
        assert bits(hospitals.home(name)).items() >= expected.items(), f"{name} has not its models"
    assert came <= left, "something came that no site's ledger has"


def one_run(folder: Path, number: int, seed: int, most: int, expected: dict[str, str]) -> dict[str, Any]:
    """One study with its kills; returns its line."""
    method = METHODS[number % len(METHODS)]
    run = Run(Hospitals(folder, write(folder, method)), random.Random(f"{seed}/{number}"))
    started, failure = time.monotonic(), ""
    try:
        run.start()
        run.kill_some(most)
        run.finish()
        check(run.hospitals, expected)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        failure = str(error)
    finally:
        run.stop()
    if not failure:
        shutil.rmtree(folder)
    return {"run": number, "method": method, "seed": seed, "killed": dict(sorted(run.killed.items())),
            "seconds": round(time.monotonic() - started, 1), "failure": failure}  # fmt: skip


def table(lines: list[dict[str, Any]]) -> str:
    """What was killed how often, and how the runs ended."""
    killed: Counter[str] = Counter()
    for line in lines:
        killed.update(line["killed"])
    rows = [f"| {name} | {count} |" for name, count in sorted(killed.items())]
    failed = [line for line in lines if line["failure"]]
    told = f"{len(lines)} studies, {killed.total()} kills, {len(failed)} failures."
    return "\n".join(["| Killed | Times |", "|---|---:|", *rows, "", told])


def main() -> None:
    """Kill until it was often enough, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    log = arguments.folder / "soak.jsonl"
    arguments.folder.mkdir(parents=True, exist_ok=True)
    done = read_lines(log)
    expected: dict[str, dict[str, str]] = {}
    for number in itertools.count(len(done)):
        left = arguments.kills - sum(sum(line["killed"].values()) for line in done)
        if left <= 0:
            break
        method = METHODS[number % len(METHODS)]
        if method not in expected:
            place = arguments.folder / f"undisturbed-{method}"
            shutil.rmtree(place, ignore_errors=True)
            expected[method] = undisturbed(place, method)
        line = one_run(
            arguments.folder / f"run{number}", number, arguments.seed, min(left, MOST_KILLS), expected[method]
        )
        done.append(append_line(log, line))
        print(line, flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
