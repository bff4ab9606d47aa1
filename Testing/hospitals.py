"""A federation across hospitals in real processes on this machine's loopback, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from FedSegCore.data.phantom import STYLES, write_phantom_dataset

ROOT = Path(__file__).parents[1]
PATIENCE_S = 240.0

STUDY = """
name = "two hospitals"
methods = {methods}
rounds = {rounds}
{more}
[network]
channels = [4, 8]
norm = "batch"

[plan]
auto = true
patch = [16, 16, 16]

[train]
threads = 1
validate_every = 2
{train}
"""


def write_study(folder: Path, sites: dict[str, str], *, methods: list[str], rounds: int = 2, more: str = "",
                train: str = "", cases: int = 3) -> Path:  # fmt: skip
    """Datasets of some sites (name -> further lines of its [[site]]) and their study file."""
    text = STUDY.format(methods=json.dumps(methods), rounds=rounds, more=more, train=train)
    for seed, (name, lines) in enumerate(sites.items()):
        style = STYLES["ct" if seed % 2 == 0 else "mr"]
        write_phantom_dataset(folder / name, cases=cases, test_cases=1, seed=seed, style=style)
        text += f'\n[[site]]\nname = "{name}"\ndata = "{name}"\n{lines}\n'
    path = folder / "study.toml"
    path.write_text(text)
    return path


@dataclass
class Process:
    """A `fedseg` command at work; its events are read from a file."""

    words: list[str]
    log: Path
    popen: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, or the same command anew."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as out, self.log.with_suffix(".err").open("ab") as err:
            command = [sys.executable, "-m", "FedSegCore", *self.words, "--json"]
            self.popen = subprocess.Popen(
                command, stdout=out, stderr=err, env=environment, start_new_session=True
            )

    def events(self) -> list[dict[str, Any]]:
        """Every whole line so far."""
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n")[:-1] if line.endswith(b"}")]

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for an event; a process that ends without it is a failure."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            ended = self.popen.poll() is not None
            for told in self.events():
                if told["event"] == event and all(told.get(name) == value for name, value in fields.items()):
                    return told
            assert not ended, f"ended without {event} {fields}: {self.end_of_log()}"
            time.sleep(0.1)
        raise AssertionError(f"no {event} {fields}: {self.end_of_log()}")

    def wait(self) -> int:
        """Its exit code."""
        return self.popen.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it as a power cut would, and only it."""
        self.popen.kill()
        self.popen.wait()

    def end_of_log(self) -> str:
        """The last that it said."""
        return self.log.read_text()[-2000:] + self.log.with_suffix(".err").read_text()[-3000:]


@dataclass
class Hospitals:
    """A coordinator and its sites.

    Args:
        folder: holds the study, its datasets, and everything that the processes write.
    """

    folder: Path
    study: Path
    coordinator: Process = field(init=False)
    sites: dict[str, Process] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "hub"

    def serve(self) -> None:
        """Start the coordinator on a free port, which it has from then on."""
        words = ["serve", str(self.study), "--out", str(self.out), "--host", "127.0.0.1", "--port", "0"]
        self.coordinator = Process(words, self.folder / "serve.log")
        self.coordinator.until("progress", stage="open")
        port = json.loads((self.out / "coordinator" / "served.json").read_text())["port"]
        self.coordinator.words[-1] = str(port)

    def invite(self, name: str) -> Path:
        """One site's invitation."""
        path = self.folder / f"{name}.fedseg"
        words = ["invite", name, "--from", str(self.out), "-o", str(path), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "FedSegCore", *words], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0, done
        return path

    def join(self, name: str, *more: str) -> Process:
        """Let one site take part."""
        words = ["join", str(self.invite(name)), "--data", str(self.study.parent / name), "--site-dir",
                 str(self.home(name)), "--accept", *more]  # fmt: skip
        self.sites[name] = Process(words, self.folder / f"{name}.log")
        return self.sites[name]

    def home(self, name: str) -> Path:
        """A site's own folder."""
        return self.folder / f"home-{name}"

    def finish(self) -> None:
        """Wait until the study has ended well at both ends."""
        assert self.coordinator.wait() == 0, self.coordinator.end_of_log()
        for process in self.sites.values():
            assert process.wait() == 0, process.end_of_log()

    def stop(self) -> None:
        """End everything."""
        for process in (*self.sites.values(), *([self.coordinator] if hasattr(self, "coordinator") else [])):
            process.kill()
