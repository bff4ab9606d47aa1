"""Which tensors of the network travel, which stay at a site, and which are trained; and who lacks what."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from FedSegCore.errors import StudyError
from FedSegCore.federation.method import ClientInfo, Site
from FedSegCore.methods.fedmepd.states import FedMEPDServer
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.parts import part_of
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights

DECODER: Final = ("decoder", "head")
"""The parts whose filters may turn personal."""


def refuse_server(server: Site, net: MultiEncoderNet) -> None:
    """See that there is a server whose cases have everything.

    Raises:
        StudyError: says what is missing.
    """
    fix = 'Give one site role = "server", with cases of all modalities in which all structures are annotated.'
    if server.batches is None:
        raise StudyError("FedMEPD needs training cases at the server, but no site has that role.", fix)
    for what, wanted, found in (
        ("modality", net.modalities, server.info.modalities),
        ("structure", server.study_labels, server.info.labels),
    ):
        if missing := [name for name in wanted if name not in found]:
            raise StudyError(f"FedMEPD's server lacks the study's {what} {', '.join(missing)}.", fix)


def owned(client: ClientInfo, net: MultiEncoderNet) -> tuple[str, ...]:
    """The modalities that a site trains with.

    Raises:
        StudyError: it has none.
    """
    names = tuple(name for name in net.modalities if name in client.modalities)
    if not names:
        raise StudyError(
            f"Site {client.name} owns none of the modalities {', '.join(net.modalities)}.",
            "Name its modalities as the study's others do, or leave it out.",
        )
    return names


def wanted(state: FedMEPDServer, client: ClientInfo) -> dict[str, Tensor]:
    """What a site is sent and sends: nothing of encoders whose modality it does not own."""
    return {
        name: tensor
        for name, tensor in state.weights.items()
        if name not in state.modalities or state.modalities[name] in client.modalities
    }


def trained_keys(net: MultiEncoderNet, *, attention: bool) -> frozenset[str]:
    """What is trained: not the encoders of other modalities, which weight decay alone would move."""
    own = net.encoder_keys(net.owned)
    kept = (*DECODER, "auxiliary", *(("attention",) if attention else ()))
    return frozenset(key for key, part in part_of(net).items() if part in kept or key in own)


def server_weights(net: MultiEncoderNet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies of encoders, decoder and head; of the auxiliary decoder."""
    whole, parts = algebra.of(net), part_of(net)
    shared = {name: tensor for name, tensor in whole.items() if parts[name] in ("encoder", *DECODER)}
    return shared, {name: tensor for name, tensor in whole.items() if parts[name] == "auxiliary"}


def decoder_weights(whole: Weights, net: MultiEncoderNet) -> dict[str, Tensor]:
    """Decoder and head among the network's tensors."""
    parts = part_of(net)
    return {name: tensor for name, tensor in whole.items() if parts[name] in DECODER}


def private_weights(whole: Weights, net: MultiEncoderNet) -> dict[str, Tensor]:
    """What never leaves a site: the auxiliary decoder, and the attention but for its anchors, which it is sent."""
    parts = part_of(net)
    anchors = anchor_tensors({str(place): torch.empty(0) for place in range(len(net.attention))})
    private = [name for name in whole if parts[name] in ("attention", "auxiliary") and name not in anchors]
    return algebra.select(whole, private)


def anchor_tensors(anchors: Weights) -> dict[str, Tensor]:
    """Anchors under their names in the network's state."""
    return {f"attention.{level}.anchors": tensor for level, tensor in anchors.items()}
