"""The windows that cover a volume: where they lie, what the network says in them, and how that is blended.

Windows are as large as the training patch, because instance norms see a whole window. They are spread evenly, as few
as their least overlap allows; windows at a fixed step need one more wherever the last one hangs over the border.
Border planes that are of one value, air clipped to it, are left out but for a margin: they all get the answer that
the network gives such air. Along each axis the windows' shares add up to one at every voxel, so no second volume of
weights is kept.
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
    box = _body(image, sides)
    inner = image[(slice(None), *box)]
    axes = [starts(w, side, overlap=OVERLAP) for w, side in zip(inner.shape[1:], sides, strict=True)]
    shares = [_shares(*axis).to(image.device) for axis in zip(axes, inner.shape[1:], sides, strict=True)]
    places = list(itertools.product(*(range(len(axis)) for axis in axes)))
    answered, logits = 0, None
    for part in _batches(places, sides, image.device):
        corners = [[axis[at] for axis, at in zip(axes, place, strict=True)] for place in part]
        answers = _ask(model, [_cut(inner, corner, sides) for corner in corners], patch)
        if logits is None:
            with torch.inference_mode(False):  # the result may be changed by whoever gets it
                logits = image.new_zeros(answers.shape[1], *image.shape[1:])
            if inner.shape != image.shape:
                logits += _of_air(model, image, sides, patch)
                logits[(slice(None), *box)] = 0.0
        for answer, place, corner in zip(answers, part, corners, strict=True):
            x, y, z = (axis[at] for axis, at in zip(shares, place, strict=True))
            share = x[:, None, None] * y[:, None] * z
            _cut(logits[(slice(None), *box)], corner, sides).addcmul_(answer, share)
        answered += len(part)
        tell(answered / len(places))
    assert logits is not None
    return logits


def _body(image: Float[Tensor, "c x y z"], sides: _Corner) -> tuple[slice, ...]:
    """The volume without what surrounds it and is of one value, as clipped air is.

    A margin that wide as windows overlap stays around the rest, and no side becomes less than the window's.
    """
    varies = (image != image[:, :1, :1, :1]).any(0)
    box = []
    for axis, (whole, side) in enumerate(zip(image.shape[1:], sides, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        planes = varies.any(others[1]).any(others[0]).nonzero().flatten()
        margin = math.floor(OVERLAP * side)
        first = max(int(planes[0]) - margin, 0) if len(planes) else 0
        last = min(int(planes[-1]) + 1 + margin, whole) if len(planes) else 0
        lacking = max(side - (last - first), 0)
        first = min(max(first - lacking // 2, 0), whole - max(side, last - first))
        box.append(slice(first, max(last, first + side)))
    return tuple(box)


def _of_air(
    model: nn.Module, image: Tensor, sides: _Corner, patch: Sequence[int]
) -> Float[Tensor, "l 1 1 1"]:
    """The logits in the middle of a window that holds nothing but the value of the volume's first voxel."""
    air = image[:, :1, :1, :1].expand(-1, *sides)
    answer = _ask(model, [air] * _FEWEST, patch)[0]
    x, y, z = (side // 2 for side in sides)
    return answer[:, x, y, z].view(-1, 1, 1, 1)


def _ask(model: nn.Module, windows: Sequence[Tensor], patch: Sequence[int]) -> Float[Tensor, "n l x y z"]:
    stacked = torch.stack(list(windows))
    if len(patch) == 3:
        return model(stacked).float()  # type: ignore[no-any-return]
    return model(stacked[..., 0]).float()[..., None]  # type: ignore[no-any-return]


def _batches(
    places: Sequence[tuple[int, ...]], sides: _Corner, device: torch.device
) -> Iterator[Sequence[tuple[int, ...]]]:
    """The windows that are asked together, nearly equally many each time."""
    together = _TOGETHER.get(device.type, _TOGETHER["cpu"]) // math.prod(sides)
    number = math.ceil(len(places) / min(max(together, _FEWEST), _MOST))
    for part in range(number):
        yield places[part * len(places) // number : (part + 1) * len(places) // number]


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
