"""What FedMEPD's server does with its own cases: training, and the anchors."""

from __future__ import annotations

from typing import Final

from FedSegCore.federation.method import Site
from FedSegCore.federation.seeds import generator
from FedSegCore.learning.anchors import case_prototypes, choose_members, move_anchors
from FedSegCore.learning.supervision import deep_supervision
from FedSegCore.learning.train import train
from FedSegCore.methods.fedmepd.keys import server_weights, trained_keys
from FedSegCore.methods.fedmepd.states import FedMEPDServer
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.weights import Weights

MEMBERS: Final = "members"


def teach(
    server: Site, net: MultiEncoderNet, optimizer: Weights, *, span: tuple[float, float], round_number: int
) -> Weights:
    """The server's own epochs, on all modalities and without calibration; the optimizer's moments."""
    assert server.batches is not None
    net.own(net.modalities)
    net.calibrated = False
    kept = None
    if server.epochs is not None and server.training.epochs > 1:
        weights, auxiliary = server_weights(net)
        kept = server.epochs.under(tensorfile.pack({**weights, **auxiliary}, {"round": round_number}))
    return train(
        net,
        server.batches,
        training=server.training,
        # One for each round, so that a study that goes on after a kill draws what it would have drawn.
        generator=generator(server.generator.initial_seed(), "server", round_number),
        span=span,
        optimizer=optimizer,
        only=trained_keys(net, attention=False),
        objective=deep_supervision(server.training),
        kept=kept,
    ).optimizer


def first_anchors(server: Site, net: MultiEncoderNet) -> tuple[Weights, Weights]:
    """The anchors of the network as it is, and the cases that each of them stands for, once and for all."""
    if not net.anchors:
        return {}, {}
    assert server.batches is not None
    prototypes = case_prototypes(net, server.batches, precision=server.training.precision)
    chance = generator(server.generator.initial_seed(), "clusters")
    members = choose_members(prototypes, net.anchors, generator=chance)
    return move_anchors({}, prototypes, members, 0.0), {MEMBERS: members}


def moved_anchors(state: FedMEPDServer, server: Site, net: MultiEncoderNet, *, momentum: float) -> Weights:
    """The anchors moved towards the network as it is now."""
    if not net.anchors:
        return {}
    assert server.batches is not None
    prototypes = case_prototypes(net, server.batches, precision=server.training.precision)
    return move_anchors(state.anchors, prototypes, state.members[MEMBERS], momentum)
