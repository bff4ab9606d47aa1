"""Replies are fetched beside each other, so that one that a site is still sending holds up no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, final

from FedSegCore.federation.flower import Reply

_AT_ONCE: Final = 2
"""Replies in memory; with one on its way, or broken off, there is room for another."""


@final
class Pulls:
    """What has come back for messages, looked for in threads.

    Flower waits for all pieces of a reply that has begun to arrive: minutes, where its site broke off.

    Args:
        pull: what has come back for one message; nothing while there is none.
    """

    def __init__(self, pull: Callable[[str], Sequence[Reply]]) -> None:
        self._pull = pull
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pull")
        self._under_way: dict[str, Future[Sequence[Reply]]] = {}

    def collect(self, message_ids: Iterable[str]) -> Iterator[Reply]:
        """What has come back for these messages, each once; what was asked for others is forgotten.

        Raises:
            RunError: it could not be looked for.
        """
        wanted = list(message_ids)
        for message_id in self._under_way.keys() - set(wanted):
            self._under_way.pop(message_id).cancel()
        for message_id in wanted:
            if message_id not in self._under_way:
                self._under_way[message_id] = self._threads.submit(self._pull, message_id)
            elif self._under_way[message_id].done():
                yield from self._under_way.pop(message_id).result()

    def stop(self) -> None:
        """Look for nothing more; what is being looked for ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
