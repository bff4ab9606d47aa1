"""How far a network is through the windows of a volume, for whoever waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Tell = Callable[[float], None]
"""Is told the finished share of the work, 0..1, again and again."""


def nobody(share: float) -> None:
    """Nobody waits."""


def between(tell: Tell, start: float, end: float) -> Tell:
    """Tells of a part of the work as of the whole, of which it is what lies between two shares."""
    return lambda share: tell(start + share * (end - start))


@contextmanager
def watched(net: nn.Module, image: Tensor, patch: Sequence[int], tell: Tell) -> Iterator[None]:
    """Tells the share of an image's windows that the network has answered, after each batch of them.

    Between two batches whoever is told may end the work by raising.
    """
    total, answered = count_windows(image.shape[1:], patch), 0

    def told(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal answered
        answered += len(inputs[0])
        tell(min(answered / total, 1.0))

    hook = net.register_forward_hook(told)
    try:
        yield
    finally:
        hook.remove()


def count_windows(sides: Sequence[int], patch: Sequence[int]) -> int:
    """How many windows `predict` covers a volume with: they overlap by half; of a 2-D patch each slice's own."""
    slices = math.prod(sides[len(patch) :])
    along = (
        math.ceil(max(side - window, 0) / max(window // 2, 1)) + 1
        for side, window in zip(sides, patch, strict=False)
    )
    return slices * math.prod(along)
