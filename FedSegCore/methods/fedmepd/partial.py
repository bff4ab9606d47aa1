"""Which filters a site shares, what they weigh, and how both change with what the site and the server did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from FedSegCore.federation.method import ClientInfo
from FedSegCore.methods.fedmepd.states import FedMEPDServer
from FedSegCore.nets import filters
from FedSegCore.nets.filters import FilterLayer
from FedSegCore.tensors.weights import Share, Weights

Sharing = Literal["partial", "shared", "private"]

Rows = Mapping[str, Tensor]
"""For the layers with one filter a structure: which structures the site annotates."""


def shared_filters(state: FedMEPDServer, site: str, *, sharing: Sharing, patience: int) -> dict[str, Tensor]:
    """B: whether the site shares each filter, by the name of the layer."""
    if sharing != "partial":
        return {name: torch.full((count,), sharing == "shared") for name, count in state.filters.items()}
    return {
        name: state.disagreements.get(f"{site}/{name}", torch.zeros(count)) < patience
        for name, count in state.filters.items()
    }


def share_in_mean(
    state: FedMEPDServer,
    client: ClientInfo,
    shared: Mapping[str, Tensor],
    layers: Sequence[FilterLayer],
    rows: Rows,
) -> Share:
    """The site's weight in the mean: 1 in each of its encoders, h · B in each filter of the decoder."""
    weights = {
        name: state.contributions.get(f"{client.name}/{name}", torch.ones(count)) * shared[name]
        for name, count in state.filters.items()
    }
    weights |= {name: weights[name] * known for name, known in rows.items()}
    encoders = {name: 1.0 for name, modality in state.modalities.items() if modality in client.modalities}
    return {**encoders, **filters.spread(weights, layers, state.weights)}


def compare(
    before: FedMEPDServer,
    after: FedMEPDServer,
    decoders: Mapping[ClientInfo, Weights],
    layers: Sequence[FilterLayer],
    *,
    patience: int,
    rows: Mapping[ClientInfo, Rows],
) -> FedMEPDServer:
    """Count disagreements and move h, for the sites that took part.

    The server's move is that of the whole round, its averaging and its training; a site's is that of its training
    from what it was sent. A personal filter was sent back as it came, and is compared no more.
    """
    counted, weighed = dict(after.disagreements), dict(after.contributions)
    cases = max(sum(client.num_cases for client in decoders), 1)
    for layer in layers:
        here = filters.kernels(after.weights, before.weights, layer)
        for client, decoder in decoders.items():
            there = filters.kernels(decoder, before.weights, layer)
            key = f"{client.name}/{layer.name}"
            old = counted.get(key, torch.zeros(layer.filters, dtype=torch.int32))
            counts = rows[client].get(layer.name)
            counted[key] = filters.disagreements(old, here, there, patience=patience, counts=counts)
            h = weighed.get(key, torch.ones(layer.filters))
            weighed[key] = filters.contribution(h, here, there, share=client.num_cases / cases)
    return replace(after, disagreements=counted, contributions=weighed)


def personal_share(masks: Sequence[Mapping[str, Tensor]]) -> float:
    """The share of personal filters among all filters of some sites."""
    if not masks:
        return 0.0
    shared = torch.cat([mask for one in masks for mask in one.values()])
    return int((~shared).sum()) / len(shared)
