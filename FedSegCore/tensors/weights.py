"""Weights and their algebra: named tensors, copied, loaded, averaged by name.

Weights are always CPU copies with storage of their own. Live tensors of a model that is trained further
must never be kept as values (IOP-FL's official code keeps them, and the next site overwrites them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from FedSegCore.errors import FedSegError

Weights: TypeAlias = Mapping[str, Tensor]
"""Tensors by their name in the model's state, parameters and buffers alike."""

Share: TypeAlias = "float | Mapping[str, Tensor | float]"
"""A weight in an average: one number, or one number or broadcastable tensor for each name (0: no owner)."""

_PIECE: Final = 2**15
"""Numbers that are averaged at once."""


def copy(weights: Weights) -> dict[str, Tensor]:
    """CPU copies that share no storage with `weights`."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in weights.items()}


def of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's whole state: parameters and buffers."""
    return copy(model.state_dict())


def select(weights: Weights, names: Iterable[str]) -> dict[str, Tensor]:
    """The entries called `names`, in the order of `weights`."""
    wanted = frozenset(names)
    return {name: tensor for name, tensor in weights.items() if name in wanted}


def load(model: nn.Module, weights: Weights) -> None:
    """Copy each tensor into the model's entry of the same name; other entries stay as they are.

    Raises:
        FedSegError: a name that the model lacks, or another shape.
    """
    state = model.state_dict()
    for name, tensor in weights.items():
        if name not in state:
            raise FedSegError(f'The model has no entry "{name}".', "Use weights of the same network.")
        if state[name].shape != tensor.shape:
            raise FedSegError(
                f'"{name}" has shape {tuple(tensor.shape)}, but the model has {tuple(state[name].shape)}.',
                "Use weights of the same network.",
            )
    with torch.no_grad():
        for name, tensor in weights.items():
            state[name].copy_(tensor)


def weighted_mean(old: Weights, items: Iterable[tuple[Weights, Share]]) -> dict[str, Tensor]:
    """The weighted mean of each named tensor, Σ w·t / Σ w.

    Sums are kept in float64 and only one item is held at a time. A share may be a tensor that broadcasts
    against its entry (a weight for each filter). Where the weights sum to 0 the old value stays. Integers
    (counters of batch norm) are never averaged: the largest contributed value is taken.

    Args:
        old: the values before; their names, shapes and types are the result's.
        items: pairs of weights and share; weights may lack names, which then do not contribute.
    """
    integers = {name: tensor.clone() for name, tensor in old.items() if not tensor.is_floating_point()}
    averaged = [name for name in old if name not in integers]
    sums = {name: torch.zeros(old[name].shape, dtype=torch.float64) for name in averaged}
    # A share is one number or a few that broadcast, and so is their sum: no copy of the network.
    totals = {name: torch.zeros((), dtype=torch.float64) for name in averaged}
    for weights, share in items:
        for name, tensor in weights.items():
            if name in integers:
                integers[name] = torch.maximum(integers[name], tensor)
                continue
            given = share if isinstance(share, float | int) else share.get(name, 0.0)
            part = torch.as_tensor(given, dtype=torch.float64)
            totals[name] = totals[name] + part
            _add(sums[name], tensor, part)
    mean: dict[str, Tensor] = {}
    for name, tensor in old.items():
        if name in integers:
            mean[name] = integers[name]
            continue
        total, average = totals[name], sums.pop(name)
        average /= torch.where(total > 0, total, 1.0)
        mean[name] = torch.where(total > 0, average, tensor.double()).to(tensor.dtype)
    return mean


def _add(total: Tensor, tensor: Tensor, part: Tensor) -> None:
    """Add the tensor times its part to the float64 total; nothing where the part is 0, for 0 x NaN is NaN."""
    if part.ndim > 0:
        total += torch.where(part > 0, tensor.double() * part, 0.0)
    elif part > 0:
        # In pieces that stay in the cache; a whole kernel in float64 would be a third of the network.
        for to, piece in zip(total.view(-1).split(_PIECE), tensor.reshape(-1).split(_PIECE), strict=True):
            to += piece.double().mul_(part)


def finite(tensor: Tensor) -> bool:
    """Whether every number is one; integers are."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # The least and the largest are NaN if any is: a twentieth of the time of looking at each.
    return all(bool(torch.isfinite(edge)) for edge in torch.aminmax(tensor))


def mix(first: Weights, second: Weights, momentum: float) -> dict[str, Tensor]:
    """momentum · first + (1 − momentum) · second, integers copied from `second`; IOP-FL's moving average."""
    return {
        name: torch.lerp(tensor, first[name], momentum) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in second.items()
    }
