"""A federation across hospitals in real processes on this machine's loopback, for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from Testing.command import SHAPE, fedseg

ROOT = Path(__file__).parents[1]
PATIENCE_S = 900.0

STUDY = """
name = "two hospitals"
methods = {methods}
rounds = {rounds}
{more}
[network]
channels = {channels}
norm = "batch"

[plan]
auto = true
patch = {patch}

[train]
threads = 1
validate_every = 2
{train}
"""


def write_study(folder: Path, sites: dict[str, str], *, methods: list[str], rounds: int = 2, more: str = "",
                train: str = "", cases: int = 3, channels: Sequence[int] = (4, 8), patch: int = 8,
                shape: tuple[int, int, int] = SHAPE) -> Path:  # fmt: skip
    """Datasets of some sites (name -> further lines of its [[site]]) and their study file.

    Args:
        channels, patch: of the network, and of what it is trained on.
        shape: voxels of the phantoms.
    """
    text = STUDY.format(
        methods=json.dumps(methods), rounds=rounds, more=more, train=train, channels=list(channels),
        patch=[patch] * 3,
    )  # fmt: skip
    for seed, (name, lines) in enumerate(sites.items()):
        style = STYLES["ct" if seed % 2 == 0 else "mr"]
        write_phantom_dataset(folder / name, cases=cases, test_cases=1, seed=seed, style=style, shape=shape)
        text += f'\n[[site]]\nname = "{name}"\ndata = "{name}"\n{lines}\n'
    path = folder / "study.toml"
    path.write_text(text)
    return path


def validate(dataset: Path) -> None:
    """Take one training case for validation, so that there is a Dice of some rounds."""
    path = dataset / "dataset.json"
    facts = json.loads(path.read_text())
    facts["validation"] = [facts["training"].pop()]
    path.write_text(json.dumps(facts))


@dataclass
class Process:
    """A Python program at work, such as `fedseg`; its events are read from a file.

    Args:
        words: what stands after `python -m`.
        environment: variables besides this process's own.
    """

    words: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, or the same command anew."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.environment}
        with self.log.open("ab") as out, self.log.with_suffix(".err").open("ab") as err:
            command = [sys.executable, "-m", *self.words]
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

    def engine(self) -> list[int]:
        """The numbers of the processes that it has started: Flower's."""
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(
                    line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
                )
            except OSError:
                continue
            if lines.get("PPid", "").strip() == str(self.popen.pid):
                found.append(int(status.parent.name))
        return found

    def end_of_log(self) -> str:
        """The last that it said."""
        return self.log.read_text()[-2000:] + self.log.with_suffix(".err").read_text()[-3000:]


@dataclass
class Hospitals:
    """A coordinator and its sites.

    Args:
        folder: holds the study, its datasets, and everything that the processes write.
        environment: variables of the sites' processes besides this process's own, such as a proxy.
        programs: what runs a command instead of `FedSegCore`, after `python -m`.
    """

    folder: Path
    study: Path
    environment: dict[str, str] = field(default_factory=dict)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    coordinator: Process = field(init=False)
    sites: dict[str, Process] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "hub"

    def serve(self, *more: str) -> None:
        """Start the coordinator on a free port, which it has from then on."""
        place = ["--out", str(self.out), "--host", "127.0.0.1", "--port", "0"]
        words = [*self._command("serve"), str(self.study), *more, *place]
        self.coordinator = Process(words, self.folder / "serve.log")
        self.coordinator.until("progress", stage="open")
        port = json.loads((self.out / "coordinator" / "served.json").read_text())["port"]
        self.coordinator.words[-1] = str(port)

    def invite(self, name: str) -> Path:
        """One site's invitation."""
        path = self.folder / f"{name}.fedseg"
        done = fedseg("invite", name, "--from", self.out, "-o", path, "--json")
        assert done.code == 0, done
        return path

    def join(self, name: str, *more: str) -> Process:
        """Let one site take part."""
        places = ["--data", str(self.study.parent / name), "--site-dir", str(self.home(name))]
        words = [*self._command("join"), str(self.invite(name)), *places, "--accept", *more]
        self.sites[name] = Process(words, self.folder / f"{name}.log", self.environment)
        return self.sites[name]

    def home(self, name: str) -> Path:
        """A site's own folder."""
        return self.folder / f"home-{name}"

    def finish(self) -> None:
        """Wait until the study has ended well at both ends."""
        assert self.coordinator.wait() == 0, self.coordinator.end_of_log()
        for process in self.sites.values():
            assert process.wait() == 0, process.end_of_log()

    def _command(self, verb: str) -> list[str]:
        return [*self.programs.get(verb, ["FedSegCore"]), verb, "--json"]

    def stop(self) -> None:
        """End everything."""
        for process in (*self.sites.values(), *([self.coordinator] if hasattr(self, "coordinator") else [])):
            process.kill()
