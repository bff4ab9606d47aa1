"""Small sites of several modalities in memory, and a FedMEPD federation over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from FedSegCore.data.batches import Batches, CachedCase
from FedSegCore.federation.method import ClientInfo, Site
from FedSegCore.learning.train import Training
from FedSegCore.methods.fedmepd import FedMEPD, FedMEPDServer, FedMEPDUpdate
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.unet import Network, build
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import LABELS, SIDE, TRAINING, Federation, cached_case, seeded

INPUTS = ("T1", "T2", "T2", "FLAIR")
"""T2 has two channels."""
MODALITIES = ("T1", "T2", "FLAIR")


def multi_net(
    *, dims: int = 2, anchors: int = 2, labels: int = 2, seed: int = 0, residual: bool = False
) -> MultiEncoderNet:
    network = Network(kind="multiencoder", channels=(4, 8), anchors=anchors, residual=residual)
    net = build(
        network, dims=dims, in_channels=len(INPUTS), out_channels=labels, generator=seeded(seed),
        modalities=INPUTS,
    )  # fmt: skip
    assert isinstance(net, MultiEncoderNet)
    return net


def multi_case(
    name: str, *, seed: int, modalities: Sequence[str] = MODALITIES, annotated: Sequence[bool] = (True, True),
    absent: float = 0.0, depth: int = 2,
) -> CachedCase:  # fmt: skip
    """The two blocks of `cached_case`, in every owned channel with another strength; `absent` elsewhere."""
    case = cached_case(name, seed=seed, annotated=annotated)
    image = case.image.repeat(1, 1, 1, depth // 2) * torch.tensor([1.0, 0.5, -1.0, 2.0]).view(-1, 1, 1, 1)
    owned = torch.tensor([channel in modalities for channel in INPUTS]).view(-1, 1, 1, 1)
    return replace(
        case, image=torch.where(owned, image, absent), target=case.target.repeat(1, 1, 1, depth // 2)
    )


def multi_site(
    name: str,
    modalities: Sequence[str] = MODALITIES,
    *,
    cases: int = 2,
    labels: Sequence[str] = LABELS,
    training: Training = TRAINING,
    anchors: int = 2,
    dims: int = 2,
    absent: float = 0.0,
    validation: int = 0,
    publish: bool = False,
    residual: bool = False,
) -> Site:
    """One hospital of some modalities, or with all of them the server."""
    known = [label in labels for label in LABELS]
    number = sum(map(ord, name))
    options: dict[str, Any] = {"modalities": modalities, "annotated": known, "absent": absent}
    options["depth"] = 2 if dims == 2 else SIDE
    made = [multi_case(f"case_{k}", seed=100 * number + k, **options) for k in range(cases + validation)]
    patch = (SIDE,) * dims
    return Site(
        ClientInfo(name, tuple(modalities), tuple(labels), cases),
        LABELS,
        patch,
        multi_net(anchors=anchors, dims=dims, residual=residual),
        training,
        seeded(number),
        Batches(made[:cases], patch=patch, batch_size=2, dims=dims) if cases else None,
        tuple(made[cases:]),
        publish,
    )


def multi_sites(**options: Any) -> list[Site]:
    """One site of one modality, one of two, one of all."""
    return [
        multi_site("a", ["T2"], **options),
        multi_site("b", ["T1", "FLAIR"], cases=3, **options),
        multi_site("c", MODALITIES, **options),
    ]


def federation(
    folder: Path, method: FedMEPD, *, sites: Sequence[Site] | None = None, rounds: int = 2, **options: Any
) -> Federation:
    """A whole federation with a server that has everything."""
    options["anchors"] = method.anchors
    options["residual"] = method.residual
    run = Federation(folder, method, sites or multi_sites(**options), rounds=rounds)  # type: ignore[arg-type]
    run.server = multi_site("server", training=run.sites[0].training, anchors=method.anchors,
                            residual=method.residual)  # fmt: skip
    return run


def filled(state: FedMEPDServer, client: ClientInfo, value: float) -> FedMEPDUpdate:
    """The update of a site all of whose weights are one number."""
    weights = {
        name: torch.full_like(tensor, value)
        for name, tensor in state.weights.items()
        if name not in state.modalities or state.modalities[name] in client.modalities
    }
    return FedMEPDUpdate(weights, 0.5, {}, 0.5)


def first_state(method: FedMEPD, server: Site, value: float | None = None) -> FedMEPDServer:
    """The state after round 0; with a value, all of its weights are that number."""
    state = method.initialize(server, [])
    if value is None:
        return state
    return replace(state, weights={name: torch.full_like(t, value) for name, t in state.weights.items()})


def weights_of(site: Site) -> dict[str, torch.Tensor]:
    return algebra.of(site.model)
