"""What a run keeps on disk, so that a kill at any moment loses at most the round that was under way.

The server keeps one checkpoint, replaced atomically after each round. A site keeps its states of the last
two rounds by number: if the server falls back to round r - 1, the site starts round r again from its own
state of round r - 1, whether or not it had already finished r.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from FedSegCore.errors import ModelFileError, StorageError
from FedSegCore.federation import wire
from FedSegCore.federation.ledger import append_line, drop_unfinished_line, read_lines
from FedSegCore.files import write_atomic
from FedSegCore.learning.epochs import Epochs
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.header import read_header
from FedSegCore.tensors.weights import Weights

State = TypeVar("State")


@final
class ClientStore:
    """One site's private folder: `state-ROUND.safetensors` and `personal.safetensors`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, kind: type[State], round_number: int) -> State | None:
        """The newest state that is not newer than `round_number`; none where the site has none yet."""
        numbers = [number for number in self._saved() if number <= round_number]
        if not numbers:
            return None
        path = self._path(max(numbers))
        return wire.decode_with_header(kind, path.read_bytes(), str(path))[0]

    def save(self, state: object, round_number: int) -> None:
        """Write the state after `round_number`; older ones than the one before it go."""
        write_atomic(self._path(round_number), wire.encode(state, round=round_number))
        for number in sorted(n for n in self._saved() if n < round_number)[:-1]:
            self._path(number).unlink()

    def epochs(self, question: bytes) -> Epochs:
        """Where the trainings that answer a question keep their epochs; another question's go."""
        return Epochs(self.folder / "epochs").under(question)

    def save_personal(self, weights: Weights, header: Mapping[str, Any]) -> None:
        """Write this hospital's own model."""
        tensorfile.save(self.folder / "personal.safetensors", weights, header)

    def answers_once(self, kind: str, question: bytes) -> bool:
        """Whether a question of this kind is the first, or the same again after an interruption."""
        path, digest = self.folder / f"{kind}.sha256", hashlib.sha256(question).hexdigest()
        if path.is_file():
            return path.read_text(encoding="utf-8") == digest
        write_atomic(path, digest.encode())
        return True

    def _path(self, round_number: int) -> Path:
        return self.folder / f"state-{round_number}.safetensors"

    def _saved(self) -> list[int]:
        found = (re.fullmatch(r"state-(\d+)\.safetensors", p.name) for p in self.folder.glob("state-*"))
        return [int(match[1]) for match in found if match]


@final
class ServerStore:
    """The server's checkpoint and its log of rounds.

    Args:
        folder: where `checkpoint.safetensors` and `rounds.jsonl` stand.
        facts: JSON-able facts that a checkpoint must agree on to be continued (study, method, seed) and
            those that its bits depend on (`environment`).
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.checkpoint = folder / "checkpoint.safetensors"
        self.log = folder / "rounds.jsonl"

    def load(self, kind: type[State]) -> tuple[State, int] | None:
        """The state and the round it was written after; the log is mended to end with that round.

        Raises:
            ModelFileError: the checkpoint is of another run, or damaged.
        """
        if not self.checkpoint.is_file():
            return None
        state, header = wire.decode_with_header(kind, self.checkpoint.read_bytes(), str(self.checkpoint))
        for fact, value in self.facts.items():
            if fact != "environment" and header.get(fact) != value:
                raise ModelFileError(
                    f"{self.checkpoint} belongs to a run with {fact} {header.get(fact)}, expected {value}.",
                    "Choose another --out, or restore the study file.",
                )
        self._mend_log(int(header["round"]), header["line"])
        return state, int(header["round"])

    def _mend_log(self, number: int, last: Mapping[str, Any]) -> None:
        """Let the log end with round `number`'s line: one that was lost is added, a stopped round's goes."""
        drop_unfinished_line(self.log)
        lines = [line for line in read_lines(self.log) if line["round"] < number] + [last] * bool(last)
        if lines or self.log.is_file():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            write_atomic(self.log, text.encode())

    def moved(self) -> list[str]:
        """What the run's bits depend on and is no longer as when the checkpoint was written, in words."""
        then, now = read_header(self.checkpoint).get("environment", {}), self.facts.get("environment", {})
        return [
            f"{fact} {then.get(fact)} then, {now[fact]} now" for fact in now if then.get(fact) != now[fact]
        ]

    def save(self, state: object, round_number: int, line: Mapping[str, Any]) -> None:
        """Replace the checkpoint, then log the round; a kill between the two is mended by `load`."""
        data = wire.encode(state, round=round_number, line=dict(line), **self.facts)
        write_atomic(self.checkpoint, data)
        if line:
            append_line(self.log, line)

    def log_stopped(self, line: Mapping[str, Any]) -> None:
        """Log a round that came to nothing; `load` drops its line when the study goes on."""
        append_line(self.log, line)

    def spool(self, kind: type[State], round_number: int) -> Spool[State]:
        """A fresh place for this round's replies."""
        return Spool(self.folder / "spool", kind, round_number)


@final
class Spool(Generic[State]):
    """Replies on disk, that were decoded and checked before: the server never holds two sites' models.

    Args:
        folder: emptied when the spool is made and removed when it is closed.
    """

    def __init__(self, folder: Path, kind: type[State], round_number: int) -> None:
        self.folder = folder
        self.kind = kind
        self.round_number = round_number
        self.names: list[str] = []
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, site: str, data: bytes) -> None:
        """Keep one reply.

        Raises:
            StorageError: the disk is full.
        """
        path = self.folder / f"{len(self.names)}"
        try:
            path.write_bytes(data)
        except OSError as error:
            raise StorageError(path, error) from error
        self.names.append(site)

    def __iter__(self) -> Iterator[tuple[str, State]]:
        for place, site in sorted(enumerate(self.names), key=lambda item: item[1]):
            source = f"update of {site} in round {self.round_number}"
            yield site, wire.decode_mapped(self.kind, self.folder / str(place), source)

    def close(self) -> None:
        """Remove the replies."""
        shutil.rmtree(self.folder, ignore_errors=True)
