"""The command line called in this process, and the smallest study that it can run."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from FedSegCore.cli import main
from FedSegCore.data.phantom import STYLES, write_phantom_dataset

SHAPE = (16, 16, 12)
"""Voxels of a phantom: two windows of the patch along each axis."""

FEW_STEPS = """
rounds = 2

[network]
channels = [4, 8]

[plan]
patch = [8, 8, 8]

[train]
threads = 1
"""


@dataclass(frozen=True)
class Outcome:
    """What one call of the command left behind.

    Args:
        code: the exit code.
        out, err: everything it printed.
    """

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout; fails where a line is none."""
        return [json.loads(line) for line in self.out.splitlines()]

    def told(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [line for line in self.events if line["event"] == event]

    @property
    def result(self) -> dict[str, Any]:
        """The last event, which must be a result."""
        assert self.code in (0, 1), self
        last = self.events[-1]
        assert last["event"] == "result", last
        return last


@dataclass(frozen=True)
class Finished:
    """A study that was run once for all tests: its file, its output folder and what the command told."""

    study: Path
    out: Path
    outcome: Outcome

    @property
    def model(self) -> Path:
        """The global model."""
        return self.out / "models" / "global.safetensors"

    @property
    def scan(self) -> Path:
        """An image that the model may segment."""
        return self.study.parent / "ct" / "imagesTs" / "ct_002.nii.gz"


def fedseg(*words: object) -> Outcome:
    """`fedseg WORDS`, in this process and with one thread, which is quickest for networks of a few kilobytes."""
    out, err, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        torch.set_num_threads(threads)
    return Outcome(code, out.getvalue(), err.getvalue())


def refused(outcome: Outcome) -> str:
    """The one line of a command that refused its input; checks that it is one, without traceback."""
    assert outcome.code == 2, outcome
    assert "Traceback" not in outcome.err
    line = [line for line in outcome.err.splitlines() if not line.startswith(("[", "round "))]
    assert len(line) == 1 and line[0].startswith("fedseg: "), outcome.err
    return line[0]


@dataclass(frozen=True)
class SmallSite:
    """A hospital of generated images and its keys in the study."""

    name: str
    style: str = "ct"
    cases: int = 2
    test_cases: int = 1
    labels: Sequence[str] = ("Liver", "Kidney")
    keys: Mapping[str, Any] = field(default_factory=dict)


CT_AND_MR = (SmallSite("ct", "ct", 2), SmallSite("mr", "mr", 3))


def write_study(
    folder: Path,
    sites: Sequence[SmallSite] = CT_AND_MR,
    *,
    head: str = 'method = "fedavg"',
    rest: str = FEW_STEPS,
) -> Path:
    """The sites' datasets below `folder` and the study file that names them.

    Args:
        head: TOML that stands after the study's name.
        rest: TOML that stands before the sites.
    """
    for seed, site in enumerate(sites):
        write_phantom_dataset(
            folder / site.name,
            cases=site.cases,
            test_cases=site.test_cases,
            seed=seed,
            style=[STYLES[style] for style in site.style.split("+")],
            labels=site.labels,
            shape=SHAPE,
            prefix=site.name,
        )
    path = folder / "study.toml"
    path.write_text(f'name = "small"\n{head}\n{rest}\n{"".join(map(_site_table, sites))}')
    return path


def _site_table(site: SmallSite) -> str:
    keys = {"name": site.name, "data": site.name, **site.keys}
    return "\n[[site]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
