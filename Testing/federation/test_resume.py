"""A run that is killed at any moment and run again ends with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from FedSegCore.federation import ledger, store
from FedSegCore.federation.ledger import read_lines
from FedSegCore.methods.averaging import Averaging
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import Federation, equal, two_sites

METHOD = Averaging(private=("norm",), personal=0.5, publish_private=True)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it but the test."""


def run(folder: Path) -> tuple[Weights, Mapping[str, Weights]]:
    """A run of two rounds, or what is left of one: the server's weights and the published models."""
    federation = Federation(folder, METHOD, two_sites(norm="batch", publish=True, validation=1))
    state = federation.run()
    published = federation.finish(state)
    return state.weights, {name: model.weights for name, model in published.items()}


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file that must be equal, by its path; logs are compared line by line."""
    logs = ("rounds.jsonl", "ledger.jsonl", "checkpoint.safetensors")
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in logs)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def rounds_of(folder: Path) -> list[dict[str, Any]]:
    """The log of rounds without its times."""
    lines = read_lines(folder / "rounds.jsonl")
    for line in lines:
        line.pop("seconds")
        for site in line["sites"].values():
            site.pop("seconds")
    return lines


def sent_of(folder: Path) -> set[tuple[Any, ...]]:
    """Every different message that left: a repeated round must send the same bytes again."""
    lines = read_lines(folder / "ledger.jsonl")
    return {(line["site"], line["round"], line["kind"], line["sha256"]) for line in lines}


def spoil_writes(monkeypatch: pytest.MonkeyPatch, at: int, *, half: bool) -> list[int]:
    """Make the `at`-th write of the run the last thing it does, not begun or half done; counts writes."""
    count = [0]

    def killed(real: Callable[..., Any], *, append: bool) -> Callable[..., Any]:
        def write(path: Path, content: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] != at:
                return real(path, content, **options)
            if half and append:
                with path.open("a") as file:
                    file.write(json.dumps(content)[:20])
            elif half:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.partial").write_bytes(content[:20])
            raise Killed

        return write

    write, append = (
        killed(tensorfile.write_atomic, append=False),
        killed(ledger.append_line, append=True),
    )
    for module in (tensorfile, store):
        monkeypatch.setattr(module, "write_atomic", write)
    for module in (ledger, store):
        monkeypatch.setattr(module, "append_line", append)
    return count


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("half", [False, True], ids=["before", "half way through"])
def test_a_kill_at_any_write_changes_nothing(tmp_path: Path, half: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        count = spoil_writes(patch, -1, half=half)
        weights, published = run(tmp_path / "whole")
        writes = count[0]
    assert set(published) == {"global", "personal-a", "personal-b"}
    assert (
        writes == 19
    )  # a first checkpoint; a round: 2 states, 2 ledger lines, checkpoint, log; at the end 6
    for at in range(1, writes + 1):
        folder = tmp_path / f"{at}"
        with pytest.MonkeyPatch.context() as patch:
            spoil_writes(patch, at, half=half)
            with pytest.raises(Killed):
                run(folder)
        again, models = run(folder)
        assert equal(again, weights), f"killed at write {at}"
        assert all(equal(models[name], published[name]) for name in published), f"killed at write {at}"
        assert files_of(folder) == files_of(tmp_path / "whole"), f"killed at write {at}"
        assert rounds_of(folder) == rounds_of(tmp_path / "whole"), f"killed at write {at}"
        assert sent_of(folder) == sent_of(tmp_path / "whole"), f"killed at write {at}"


ZYGOTE = """
import json, os, sys, time
from pathlib import Path
import torch
import FedSegCore.simulation.simulate as simulation
from FedSegCore.study import read_study

simulation.report = lambda *arguments, **named: Path("report.html")  # drawn from the files that are compared

def begin(out):
    child = os.fork()
    if child:
        return child
    try:
        simulation.simulate(read_study(Path(sys.argv[1])), Path(out), device=torch.device("cpu"),
                            resume=True, emit=lambda *event, **fields: None)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)

for line in sys.stdin:
    out, delay = json.loads(line)
    started = time.monotonic()
    child = begin(out)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, 9)
    status = os.waitpid(child, 0)[1]
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started]), flush=True)
"""
"""A process that has imported everything; for each line it forks a run and kills it after a delay."""

STUDY = """
name = "killed"
method = "segviz"
rounds = 4
[method_options]
personal = 0.5
[network]
channels = [4, 8]
[plan]
auto = false
patch = [16, 16, 16]
[train]
batch_size = 1
threads = 1
precision = "float32"
[[site]]
name = "north"
data = "north"
publish_personal = true
[[site]]
name = "south"
data = "south"
"""


class Machine:
    """A computer that runs the study in a folder, and loses power when asked to."""

    def __init__(self, study: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE, str(study)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=study.parent,
        )

    def run(self, out: Path, *, kill_after: float | None = None) -> tuple[int, float]:
        """The exit code, negative for a signal, and the seconds it took."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([str(out), kill_after]) + "\n")
        self.process.stdin.flush()
        code, seconds = json.loads(self.process.stdout.readline())
        return code, seconds

    def off(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def write_study(folder: Path) -> Path:
    for seed, (name, style) in enumerate((("north", "ct"), ("south", "mr"))):
        write_phantom_dataset(
            folder / name, cases=2, test_cases=1, seed=seed, style=STYLES[style], shape=(16, 16, 16)
        )
    path = folder / "study.toml"
    path.write_text(STUDY)
    return path


def assert_same_results(found: Path, expected: Path) -> None:
    names = ("models/global.safetensors", "models/personal-north.safetensors")
    states = [path.relative_to(expected) for path in expected.glob("sites/*/*.safetensors")]
    assert len(states) == 6
    for name in (*names, *states):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    assert rounds_of(found) == rounds_of(expected)
    assert sent_of(found) == sent_of(expected)
    assert (found / "scores.csv").read_bytes() == (expected / "scores.csv").read_bytes()


def kill_and_resume(folder: Path, *, kills: int, seed: int) -> int:
    """Kill the study at random moments, each time in a new folder, resume, compare; how often it was hit."""
    random = Random(seed)
    machine = Machine(write_study(folder))
    hits = 0
    try:
        assert machine.run(folder / "whole")[0] == 0
        code, seconds = machine.run(folder / "again")
        assert code == 0
        assert_same_results(folder / "again", folder / "whole")
        for place in range(3 * kills):
            out = folder / f"killed-{place}"
            hit = machine.run(out, kill_after=random.uniform(0.0, 1.0) * seconds)[0] == -signal.SIGKILL
            seconds *= 1.0 if hit else 0.8  # a machine that became faster
            hits += hit
            assert machine.run(out)[0] == 0
            assert_same_results(out, folder / "whole")
            if hits == kills:
                break
    finally:
        machine.off()
    return hits


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_a_study_killed_twice_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, kills=2, seed=0) == 2


@needs_fork
@pytest.mark.slow
def test_a_study_killed_at_ten_random_points_ends_with_the_same_bits(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, kills=10, seed=1) == 10
