"""What FedMEPD's sites do with what they are sent, and what they tell of it."""

from __future__ import annotations

import torch

from FedSegCore.federation.checks import check_weights
from FedSegCore.federation.method import Site
from FedSegCore.learning.precision import autocast
from FedSegCore.methods.fedmepd.keys import DECODER, anchor_tensors, decoder_weights, owned
from FedSegCore.methods.fedmepd.states import FedMEPDBroadcast, FedMEPDClient
from FedSegCore.nets import filters
from FedSegCore.nets.filters import filter_layers
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.tensors import weights as algebra


def receive(
    message: FedMEPDBroadcast,
    state: FedMEPDClient | None,
    site: Site,
    net: MultiEncoderNet,
    *,
    round_number: int,
) -> None:
    """Refuse what was not to be sent; else put the site's model together."""
    net.own(owned(site.info, net))
    net.calibrated = net.anchors > 0
    whole = net.state_dict()
    layers = filter_layers(net, DECODER)
    encoders = algebra.select(whole, net.encoder_keys(net.owned))
    anchors = {str(place): whole[f"attention.{place}.anchors"] for place in range(len(net.attention))}
    masks = {layer.name: torch.zeros(layer.filters, dtype=torch.bool) for layer in layers}
    for expected, sent in (
        ({**encoders, **decoder_weights(whole, net)}, message.weights),
        (masks, message.shared),
        (anchors, message.anchors),
    ):
        check_weights(expected, sent, site=site.info.name, round_number=round_number)
    algebra.load(net, {**message.weights, **anchor_tensors(message.anchors)})
    if state is not None:
        own = filters.pick(message.shared, layers, message.weights, state.decoder)
        algebra.load(net, {**own, **state.private})


def attention_entropy(site: Site, net: MultiEncoderNet) -> float:
    """The attention's entropy on one batch of training patches; 0 without anchors."""
    if not net.anchors or site.batches is None:
        return 0.0
    net.eval()
    device = next(net.parameters()).device
    _, batch = next(site.batches.sweep())
    with torch.no_grad(), autocast(device, site.training.precision):
        return min(float(net.attention_entropy(batch.to(device).image)), 1.0)
