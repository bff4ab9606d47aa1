"""What FedMEPD keeps and sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from FedSegCore.tensors.weights import Weights


@dataclass(frozen=True, eq=False)
class FedMEPDServer:
    """What the server keeps.

    Args:
        weights: encoders, decoder and head.
        auxiliary: the server's own decoder of each encoder alone.
        optimizer: the moments of the server's training.
        anchors: (K, classes, C_l) by the level's number.
        members: (K, classes, P) as `members`: the server's cases that each anchor is the mean of.
        disagreements: rounds in a row in which a filter's moves disagreed, (F) by SITE/LAYER.
        contributions: h, (F) by SITE/LAYER.
        modalities: the modality of every encoder's tensor.
        filters: the number of filters of every layer of decoder and head.
        facts: of the last round: the share of `personal_filters` among all filters of all sites, the anchors'
            relative movement, the sites' mean attention entropy.
    """

    weights: Weights
    auxiliary: Weights
    optimizer: Weights
    anchors: Weights
    members: Weights
    disagreements: Weights
    contributions: Weights
    modalities: Mapping[str, str]
    filters: Mapping[str, int]
    facts: Mapping[str, float]

    @property
    def nothing_personal(self) -> bool:
        """Whether no filter ever turned personal, which makes the method federated averaging of its decoder."""
        return self.facts.get("personal_filters", 0.0) == 0.0


@dataclass(frozen=True, eq=False)
class FedMEPDBroadcast:
    """What one site is sent.

    Args:
        weights: the encoders that it owns, decoder and head.
        shared: which filters it is to take from the server, (F) by the layer's name.
        anchors: (K, classes, C_l) by the level's number.
    """

    weights: Weights
    shared: Weights
    anchors: Weights


@dataclass(frozen=True, eq=False)
class FedMEPDClient:
    """What stays on the site's disk.

    Args:
        private: attention and auxiliary decoder.
        decoder: decoder and head after the round's training, personal filters among them.
        optimizer: the moments of the local optimizer.
    """

    private: Weights
    decoder: Weights
    optimizer: Weights


@dataclass(frozen=True, eq=False)
class FedMEPDUpdate:
    """Everything that leaves the site.

    Args:
        weights: its encoders; decoder and head with the server's own values in the place of personal filters.
        loss: the mean training loss, of all outputs together.
        dice: validation Dice of the site's own model; empty where nothing was validated.
        entropy: how evenly its voxels look at all anchors, 0 to 1; 0 without anchors.
    """

    weights: Weights
    loss: float
    dice: Mapping[str, float]
    entropy: float


@dataclass(frozen=True)
class Schedule:
    """The numbers that depend on how long a study is.

    Args:
        warm_up: rounds before filters are compared.
        patience: disagreements in a row that make a filter personal.
        momentum: ω of the anchors' moving average.
    """

    warm_up: int
    patience: int
    momentum: float
