"""A file from the hub: in pieces, gone on with after a break, checked, and there in one step or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn, final

from requests import Response

from FedSegCore.errors import StorageError
from FedSegCore.hospital.answers import HubUnreachable, NotAHub

_PIECE: Final = 64 * 1024
"""Bytes; what a break costs at most, so that a line that breaks off every megabyte still gets on."""
_FIX: Final = "Do not use what the hub sends; tell the coordinator."


@final
class Download:
    """One file on its way; `take` answers until `finished`.

    What has arrived stands in a hidden file beside the target, where a later process finds it too.

    Args:
        target: where the file is to stand.
        sha256: of the whole file, hexadecimal.
        size: its bytes; None: what the first answer says, and what an earlier process left is not gone on with.
        address: the hub, for messages.
    """

    def __init__(self, target: Path, sha256: str, size: int | None, address: str) -> None:
        self._target = target
        self._partial = target.with_name(f".{target.name}.partial")
        self._sha256 = sha256.lower()
        self._size = size
        self._address = address
        self._digest = hashlib.sha256()
        self.offset = 0
        with self._storing():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._there = target.is_file() and _digest_of(target).hexdigest() == self._sha256
            if not self._there and size is not None and self._partial.is_file():
                self._digest, self.offset = _digest_of(self._partial), self._partial.stat().st_size
        self._from_earlier = self.offset > 0

    @property
    def headers(self) -> dict[str, str]:
        """What to ask the hub for: the rest."""
        return {"Range": f"bytes={self.offset}-"} if self.offset else {}

    def finished(self) -> bool:
        """Whether the file is in its place, put there now if all of it has arrived.

        Raises:
            NotAHub: it is not the file that was told; nothing of it is kept.
        """
        if self._there:
            return True
        if self.offset > 0 and self._digest.hexdigest() == self._sha256:
            with self._storing():
                self._partial.replace(self._target)
            self._there = True
            return True
        if self._size is None or self.offset < self._size:
            return False
        self._restart_or_refuse("is not the file that was announced: its sha256 is another one")
        return False

    def take(self, response: Response) -> None:
        """Write what one answer brings.

        Raises:
            NotAHub: more bytes than told; nothing is kept.
            HubUnreachable: it broke off.
            StorageError: the disk takes no more; nothing is kept, which frees some.
        """
        if response.status_code == 200:
            self.forget()  # the whole file: asked for, or sent by a server that knows no parts
        elif not self._continues(response):
            self._refuse("comes in another part than was asked for")
        found = re.fullmatch(r"\d{1,15}", response.headers.get("Content-Length", ""))
        told = self.offset + int(found[0]) if found else None
        self._size = told if self._size is None else self._size
        if self._size is None:
            self._refuse("comes without its length")
        if told is not None and told > self._size:
            self._refuse(f"has {told} bytes, but {self._size} were announced")
        if self._surplus(response, self._size):
            self._refuse(f"has more than the {self._size} bytes that were announced")
        if self.offset < self._size:
            raise HubUnreachable(f"The connection to {self._address} broke off.", "It is tried again.")

    def _surplus(self, response: Response, size: int) -> bool:
        """Write until the answer ends, or would bring more than `size` bytes in all: whether it would."""
        with self._storing():
            file = self._partial.open("ab")
        with file:
            for piece in response.iter_content(_PIECE):
                if self.offset + len(piece) > size:
                    return True
                with self._storing():
                    file.write(piece)
                    file.flush()
                self._digest.update(piece)
                self.offset += len(piece)
            with self._storing():
                os.fsync(file.fileno())
        return False

    def forget(self) -> None:
        """Keep nothing of what has arrived."""
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
        self._digest, self.offset, self._from_earlier = hashlib.sha256(), 0, False

    def _continues(self, response: Response) -> bool:
        """Whether an answer begins where the file here ends."""
        found = re.match(r"bytes (\d{1,15})-", response.headers.get("Content-Range", ""))
        return response.status_code == 206 and found is not None and int(found[1]) == self.offset

    def _restart_or_refuse(self, what: str) -> None:
        """What an earlier process left may be of another file of that name: that is no fault of the hub."""
        if not self._from_earlier:
            self._refuse(what)
        self.forget()

    def _refuse(self, what: str) -> NoReturn:
        self.forget()
        raise NotAHub(f"{self._target.name} from {self._address} {what}.", _FIX)

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.forget()
            raise StorageError(self._target, error) from error


def _digest_of(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest
