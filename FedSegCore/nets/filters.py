"""The filters of a network's layers, and what is counted, weighted and moved filter by filter.

A filter is one output channel: its kernel and its bias, which always share their fate. Layers are found by type.
Everything here is a tensor's operation over all filters of a layer.

FedMEPD (for the paper see `FedSegCore.methods.fedmepd`), for filter j at site i, with the moves Δ of one round:

    δ = cos(Δ_server,j , Δ_i,j)                     kernels alone; the bias follows its filter
    δ < 0: one disagreement more;  δ > 0: none again;  δ = 0: as before
    personal for ever, once `patience` disagreements came in a row
    h_ij ← 0.95 h_ij + 0.05 · (‖Δ_server,j‖ / ‖Δ_i,j‖) · n_i / Σ n         the site's weight in the mean

Departures from the published code: the ratio is held between 0.1 and 10, and is 1 where both moves are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from FedSegCore.tensors.weights import Weights

_SMOOTHING: Final = 0.95
_RATIO: Final = (0.1, 10.0)
_TINY: Final = 1e-12

PerFilter = Mapping[str, Tensor]
"""One value a filter (F), by the name of the layer."""


@dataclass(frozen=True)
class FilterLayer:
    """One layer's filters.

    Args:
        name: of the layer's module.
        tensors: for each of its tensors' names the axis that counts the filters; the kernel comes first.
        filters: their number, F.
    """

    name: str
    tensors: tuple[tuple[str, int], ...]
    filters: int


def filter_layers(net: nn.Module, parts: Sequence[str]) -> tuple[FilterLayer, ...]:
    """The convolutions and linear layers of some parts of a network.

    A transposed convolution counts its outputs along its kernel's second axis, the others along the first.

    Raises:
        ValueError: a tensor of these parts that belongs to no filter.
    """
    children = dict(net.named_children())
    layers = [
        _layer(f"{part}.{name}" if name else part, module)
        for part in parts
        for name, module in children[part].named_modules()
        if isinstance(module, _ConvNd | nn.Linear)
    ]
    known = {name for layer in layers for name, _ in layer.tensors}
    held = {name for part in parts for name in children[part].state_dict(prefix=f"{part}.")}
    if strays := sorted(held - known):
        raise ValueError(f"expected every tensor of {tuple(parts)} in a filter, got besides {strays}")
    return tuple(layers)


def _layer(name: str, module: _ConvNd | nn.Linear) -> FilterLayer:
    axis = 1 if isinstance(module, _ConvTransposeNd) else 0
    bias = ((f"{name}.bias", 0),) if module.bias is not None else ()
    return FilterLayer(name, ((f"{name}.weight", axis), *bias), module.weight.shape[axis])


def spread(values: PerFilter, layers: Sequence[FilterLayer], weights: Weights) -> dict[str, Tensor]:
    """For each tensor of the layers, its filters' values in a shape that broadcasts against it."""
    return {
        name: values[layer.name].view(*[-1 if at == axis else 1 for at in range(weights[name].ndim)])
        for layer in layers
        for name, axis in layer.tensors
    }


def pick(
    mask: PerFilter, layers: Sequence[FilterLayer], chosen: Weights, other: Weights
) -> dict[str, Tensor]:
    """The `chosen` value of every filter where the mask holds, bit for bit, and the `other` one elsewhere."""
    masks = spread(mask, layers, chosen)
    return {name: torch.where(known, chosen[name], other[name]) for name, known in masks.items()}


def kernels(after: Weights, before: Weights, layer: FilterLayer) -> Float[Tensor, "f n"]:
    """How every filter's kernel moved, flat; in float64, since moves are small differences."""
    name, axis = layer.tensors[0]
    return (after[name].double() - before[name].double()).movedim(axis, 0).flatten(1)


def disagreements(
    before: Int[Tensor, " f"],
    server: Float[Tensor, "f n"],
    site: Float[Tensor, "f n"],
    *,
    patience: int,
    counts: Bool[Tensor, " f"] | None = None,
) -> Int[Tensor, " f"]:
    """How often in a row each filter's moves at the server and at the site pointed apart.

    Args:
        patience: a filter with as many is personal, and stays as it is.
        counts: which filters the site trained; none: all.
    """
    agreement = (server * site).sum(1)
    now = torch.where(agreement < 0, before + 1, torch.where(agreement > 0, 0, before))
    still = before < patience
    return torch.where(still if counts is None else still & counts, now, before).to(before.dtype)


def contribution(
    before: Float[Tensor, " f"], server: Float[Tensor, "f n"], site: Float[Tensor, "f n"], *, share: float
) -> Float[Tensor, " f"]:
    """h after the round; `share` is the site's n_i / Σ n."""
    ratio = (server.norm(dim=1) + _TINY) / (site.norm(dim=1) + _TINY)
    h: Tensor = _SMOOTHING * before + (1 - _SMOOTHING) * ratio.clamp(*_RATIO) * share
    return h.to(before.dtype)
