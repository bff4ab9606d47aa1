"""The ledger: one line for each message that leaves a site, written before it leaves.

Each line names the one before it by the sha256 of its bytes, so a line that is altered, removed, added or moved later
breaks the chain where it stands. Lines that were cut off the end are missed by comparing with the other end's ledger:
both write down the sha256 of every message.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, final

from FedSegCore.errors import InputError, StorageError
from FedSegCore.tensors.header import KEY, index_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@final
class Ledger:
    """An append-only file of JSON lines.

    A site that was interrupted may send a round's message again; the ledger then has both lines, for both left.
    Several processes may write into one ledger.

    Args:
        path: the file; an unfinished last line, left by a crash, is dropped when the ledger is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: Mapping[str, Any] = {}
        """The line that was recorded last, here."""
        path.parent.mkdir(parents=True, exist_ok=True)
        drop_unfinished_line(path)

    def record(self, data: bytes, *, site: str, round_number: int, kind: str) -> dict[str, Any]:
        """Write the line of one message; returns it."""
        line = ledger_line(data, site=site, round_number=round_number, kind=kind)
        self.last = written = append_line(self.path, line, chained=True)
        return written


def ledger_line(data: bytes, *, site: str, round_number: int, kind: str) -> dict[str, Any]:
    """What a message holds, in names, shapes and numbers: read from its bytes, not from what was meant.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is no message.
    """
    index = index_of(data)
    try:
        header = json.loads(index.pop("__metadata__")[KEY])
        scalars = dict(_scalars(header.get("fields", {})))
    except RecursionError:
        raise ValueError("a message nested without end") from None
    return {
        "round": round_number,
        "site": site,
        "kind": kind,
        "tensors": {name: entry["shape"] for name, entry in sorted(index.items())},
        "scalars": scalars,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def append_line(path: Path, line: Mapping[str, Any], *, chained: bool = False) -> dict[str, Any]:
    """Append one JSON line and see it onto the disk; half a line of a process that died before goes.

    Args:
        chained: whether the line gets `previous`, which names the line before it.

    Returns:
        The line as it was written.

    Raises:
        StorageError: the disk is full.
    """
    written = dict(line)
    try:
        with _alone(path) as file:
            _drop_unfinished(file)
            if chained:
                written["previous"] = _named(_last_line(file))
            file.write((json.dumps(written, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(path, error) from error
    return written


def verify_ledger(path: Path) -> int:
    """The number of a ledger's lines, once each is seen to name the one before it.

    Raises:
        InputError: one does not; says which is the first.
    """
    before, count = b"", 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break  # cut short by a crash: what it was to tell of never left
            count += 1
            if parse_line(line, path, count).get("previous") != _named(before):
                raise InputError(
                    f"{path}, line {count}: the chain breaks here: this line or the one before it was altered, "
                    "removed, added or moved.",
                    "Compare it with the other end's ledger: both name each message by its sha256.",
                )
            before = line
    return count


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; none where it does not exist.

    Raises:
        InputError: a line is damaged; names the file and the line.
    """
    if not path.is_file():
        return []
    lines = enumerate(path.read_bytes().split(b"\n"), start=1)
    return [parse_line(line, path, number) for number, line in lines if line.strip()]


def parse_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """What one JSON line says.

    Args:
        path, number: where it stands, counted from 1.

    Raises:
        InputError: it is no JSON object.
    """
    with contextlib.suppress(ValueError):
        if isinstance(told := json.loads(line.decode()), dict):
            return told
    raise InputError(
        f"{path}, line {number}: expected one JSON object, found a damaged line.",
        "Restore the file from a copy, or take that line out and keep it elsewhere, and run again with --resume.",
    )


def drop_unfinished_line(path: Path) -> None:
    """Cut off what stands after the last line's end, but never what another process is writing.

    Raises:
        StorageError: the file cannot be changed.
    """
    try:
        if path.is_file():
            with _alone(path) as file:
                _drop_unfinished(file)
    except OSError as error:
        raise StorageError(path, error) from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """The file, open to read and append, while every other process that wants it so waits.

    The system lets the next one in when this process dies, however it dies. A disk that knows no locks, as some
    network disks do, is written to without: one process alone needs none.
    """
    with path.open("a+b") as file:
        try:
            _lock(file, held=True)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            yield file
            return
        try:
            yield file
        finally:
            file.flush()
            _lock(file, held=False)


def _lock(file: BinaryIO, *, held: bool) -> None:
    if sys.platform == "win32":
        file.seek(_NO_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if held else msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX if held else fcntl.LOCK_UN)


_NO_BYTE = 2**31 - 2
"""What is locked on Windows: a byte that no ledger reaches, since nobody may read a locked one."""
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})


def _drop_unfinished(file: BinaryIO) -> None:
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _last_line(file: BinaryIO) -> bytes:
    """The last line with its end, found from the file's end: a ledger may be long."""
    end, found = file.seek(0, os.SEEK_END), b""
    while end > 0 and b"\n" not in found[:-1]:
        start = max(end - _PIECE, 0)
        file.seek(start)
        found, end = file.read(end - start) + found, start
    return found[found.rfind(b"\n", 0, -1) + 1 :]


_PIECE = 64 * 1024


def _named(line: bytes) -> str:
    """What the next line calls this one; "" for none."""
    return hashlib.sha256(line).hexdigest() if line else ""


def _scalars(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as `outer.inner` pairs; empty ones are nothing that is sent."""
    if isinstance(value, Mapping):
        return [
            pair
            for key in sorted(value)
            for pair in _scalars(value[key], f"{name}.{key}" if name else str(key))
        ]
    return [(name, value)]
