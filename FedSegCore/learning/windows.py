"""The windows that cover a volume: where they lie, what the network says in them, and how that is blended.

Windows are as large as the training patch, because instance norms see a whole window. They are spread evenly, as few
as their least overlap allows; windows at a fixed step need one more wherever the last one hangs over the border. A
network's answer to a constant window, air clipped to one value, is the same wherever that lies and is asked for once.
Along each axis the windows' shares add up to one at every voxel, so no second volume of weights is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

Tell = Callable[[float], None]
"""Is told the finished share of the work, 0..1, again and again; may end the work by raising."""

OVERLAP: Final = 0.25
"""The least share of a window's side that lies in its neighbour too."""

_SPREAD: Final = 0.125
"""Of the bell by which windows are blended, as a share of their side; MONAI's."""
_TOGETHER: Final = {"cpu": 2**19, "cuda": 2**22}
"""Voxels that go through the network at once, about; on CPUs more only take memory."""
_FEWEST, _MOST = 2, 16
"""Windows at once. A single small one leaves the fast path of torch's CPU convolutions and takes up to three times
as long."""

_Corner = tuple[int, int, int]


def nobody(share: float) -> None:
    """Nobody waits."""


def between(tell: Tell, start: float, end: float) -> Tell:
    """Tells of a part of the work as of the whole, of which it is what lies between two shares."""
    return lambda share: tell(start + share * (end - start))


def starts(whole: int, side: int, *, overlap: float) -> list[int]:
    """Where windows begin along an axis of at least their side, evenly spread, as few as overlap that much."""
    shared = math.floor(overlap * side)
    number = math.ceil((whole - shared) / (side - shared))
    return [round(place * (whole - side) / max(number - 1, 1)) for place in range(number)]


def slide(
    model: nn.Module, image: Float[Tensor, "c x y z"], patch: Sequence[int], *, tell: Tell = nobody
) -> Float[Tensor, "l x y z"]:
    """The network's logits over a whole volume, blended, on the image's device.

    Args:
        image: at least as large as the patch.
        patch: the window's sides; two of a 2-D study, whose windows lie in one slice each.
        tell: is told the share of the windows that are answered, after each batch of them.
    """
    sides: _Corner = (patch[0], patch[1], patch[2] if len(patch) == 3 else 1)
    axes = [starts(w, side, overlap=OVERLAP) for w, side in zip(image.shape[1:], sides, strict=True)]
    shares = [_shares(*axis) for axis in zip(axes, image.shape[1:], sides, strict=True)]
    shares = [axis.to(image.device) for axis in shares]
    total, answered, logits = math.prod(map(len, axes)), 0, None
    for places, alike in _batches(image, axes, sides):
        corners = [_corner(axes, place) for place in places]
        asked = corners[:1] * _FEWEST if alike else corners
        windows = torch.stack([_cut(image, corner, sides) for corner in asked])
        answers = model(windows[..., 0] if len(patch) == 2 else windows).float()
        answers = answers[..., None] if len(patch) == 2 else answers
        if logits is None:
            with torch.inference_mode(False):  # the result may be changed by whoever gets it
                logits = image.new_zeros(answers.shape[1], *image.shape[1:])
        for number, (place, corner) in enumerate(zip(places, corners, strict=True)):
            x, y, z = (axis[at] for axis, at in zip(shares, place, strict=True))
            share = x[:, None, None] * y[:, None] * z
            _cut(logits, corner, sides).addcmul_(answers[0 if alike else number], share)
        answered += len(places)
        tell(answered / total)
    assert logits is not None
    return logits


def _batches(
    image: Tensor, axes: Sequence[Sequence[int]], sides: _Corner
) -> Iterator[tuple[list[_Corner], bool]]:
    """The places of windows that are answered together, and whether these are alike: constant, of one value."""
    busy: list[_Corner] = []
    still: dict[tuple[float, ...], list[_Corner]] = {}
    for place in itertools.product(range(len(axes[0])), range(len(axes[1])), range(len(axes[2]))):
        value = _constant(image, _corner(axes, place), sides)
        (busy if value is None else still.setdefault(value, [])).append(place)
    yield from ((places, True) for places in still.values())
    together = _TOGETHER.get(image.device.type, _TOGETHER["cpu"]) // math.prod(sides)
    number = math.ceil(len(busy) / min(max(together, _FEWEST), _MOST))
    for part in range(number):
        yield busy[part * len(busy) // number : (part + 1) * len(busy) // number], False


def _constant(image: Tensor, corner: Sequence[int], sides: _Corner) -> tuple[float, ...] | None:
    """The only value of each channel in a window, if each has one."""
    window = _cut(image, corner, sides)
    first, last = window[:, 0, 0, 0], window[:, -1, -1, -1]
    if not torch.equal(first, last) or not bool((window == first.view(-1, 1, 1, 1)).all()):
        return None
    return tuple(first.tolist())


def _corner(axes: Sequence[Sequence[int]], place: Sequence[int]) -> _Corner:
    x, y, z = (axis[at] for axis, at in zip(axes, place, strict=True))
    return x, y, z


def _cut(image: Tensor, corner: Sequence[int], sides: _Corner) -> Tensor:
    return image[(slice(None), *(slice(a, a + side) for a, side in zip(corner, sides, strict=True)))]


def _shares(begins: Sequence[int], whole: int, side: int) -> Float[Tensor, "n side"]:
    """Each window's share of the answer at its voxels along one axis, a bell; exactly 1 where it is alone."""
    away = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    bell = torch.exp(-0.5 * (away / (_SPREAD * side)).square())
    total = torch.zeros(whole, dtype=torch.float64)
    for begin in begins:
        total[begin : begin + side] += bell
    return torch.stack([bell / total[begin : begin + side] for begin in begins]).float()
