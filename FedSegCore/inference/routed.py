"""Segment one scan of a hospital outside the federation with a bank of published models, and say how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from FedSegCore.data.geometry import Geometry
from FedSegCore.data.plan import undo
from FedSegCore.data.volume import Volume
from FedSegCore.inference.adapt import Adaptation
from FedSegCore.inference.bank import GLOBAL, Bank
from FedSegCore.inference.disagreement import Disagreement, disagree
from FedSegCore.inference.outside import Answer, Serve, serve
from FedSegCore.inference.segment import Segmentation, as_segmentation, prepare_case, restore
from FedSegCore.inference.verdict import Calibration, Verdict, as_facts, judge
from FedSegCore.learning.predict import predict
from FedSegCore.learning.windows import Tell, between, nobody
from FedSegCore.nets.routing import Routed


@final
@dataclass(frozen=True)
class Mixture:
    """How much of each model a routed network is made of.

    Args:
        layers: by layer and source, each layer's summing to one.
    """

    layers: Mapping[str, Mapping[str, float]]

    @property
    def shares(self) -> dict[str, float]:
        """The mean over layers, largest first."""
        sources = next(iter(self.layers.values()))
        means = {s: sum(layer[s] for layer in self.layers.values()) / len(self.layers) for s in sources}
        return dict(sorted(means.items(), key=lambda item: -item[1]))

    @property
    def sentence(self) -> str:
        """Such as "62 % like site north, 38 % like the global model"."""
        of = {source: "the global model" if source == GLOBAL else f"site {source}" for source in self.shares}
        return ", ".join(
            f"{share:.0%} like {of[source]}".replace("%", " %") for source, share in self.shares.items()
        )


@final
@dataclass(frozen=True, eq=False)
class RoutedSegmentation:
    """One scan, segmented by routing.

    Args:
        disagreement: of each voxel of the scan's own grid, in bits.
        score: the whole scan's disagreement, 0 to 1.
    """

    segmentation: Segmentation
    mixture: Mixture
    disagreement: Float[np.ndarray, "x y z"]
    score: float
    verdict: Verdict
    calibration: Calibration | None

    def facts(self) -> dict[str, Any]:
        """What `--weights-out` writes."""
        shares = {source: round(share, 4) for source, share in self.mixture.shares.items()}
        layers = {
            name: {source: round(share, 4) for source, share in layer.items()}
            for name, layer in self.mixture.layers.items()
        }
        verdict = as_facts(self.verdict, self.score, self.calibration)
        return {"sentence": self.mixture.sentence, "models": shares, **verdict, "layers": layers}


@final
class RoutedBank:
    """A bank made ready to segment scans by routing; its mixture is built once.

    Args:
        settings: how each scan is adapted to; none: the calibration's, else the defaults.
        calibration: what judges the segmentations; none: nothing is known of how much disagreement is too much.
        seed: of the adaptation; each scan begins from it, so that the order of scans does not matter.
    """

    def __init__(
        self, bank: Bank, *, device: torch.device, settings: Adaptation | None = None,
        calibration: Calibration | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        self.bank = bank
        self.calibration = calibration
        settings = settings or (calibration.routing if calibration else Adaptation())
        self._serve: Serve = serve("routed", bank, settings, device=device)
        self._device = device
        self._seed = seed

    def segment(self, volumes: Mapping[str, Volume], *, tell: Tell = nobody) -> RoutedSegmentation:
        """Fit the mixture to one case's images, without labels, and segment it.

        Args:
            volumes: as for `segment_volumes`.
            tell: is told how far it is.
        """
        header = self.bank.header
        image, geometry = prepare_case(header, volumes)
        answer, probabilities, found = self.ask(image, tell=tell)
        regions = restore(header, probabilities, geometry)
        return RoutedSegmentation(
            as_segmentation(header, regions),
            mixture(self.bank, answer),
            _on_grid(found, geometry),
            found.score,
            judge(found, self.calibration),
            self.calibration,
        )

    def ask(
        self, image: Float[Tensor, "c u v w"], *, tell: Tell = nobody
    ) -> tuple[Answer, Float[Tensor, "l u v w"], Disagreement]:
        """The network for a prepared scan, its probabilities, and how far the models disagree."""
        # Fitting counts as much as asking one model; the mixture is one.
        part = 1 / (2 + len(self.bank.experts))
        answer = self._serve(image, torch.Generator().manual_seed(self._seed))
        patch = self.bank.header.plan.patch
        probabilities = predict(answer.net, image, patch=patch, tell=between(tell, part, 2 * part))
        rest = between(tell, 2 * part, 1.0)
        found = disagree(self.bank, image, probabilities, device=self._device, tell=rest)
        return answer, probabilities, found


def mixture(bank: Bank, answer: Answer) -> Mixture:
    """The gates that a routed network holds for its scan, each layer's made to sum to one."""
    sources = [expert.source for expert in bank.experts]
    return Mixture(
        {name: dict(zip(sources, _gates(layer), strict=True)) for name, layer in answer.layers.items()}
    )


def _gates(layer: Routed) -> list[float]:
    assert layer.held is not None, "an answer has looked at its scan"
    gates = layer.held.double()
    shares: list[float] = (gates / gates.sum()).tolist()
    return shares


def _on_grid(found: Disagreement, geometry: Geometry) -> Float[np.ndarray, "x y z"]:
    whole: np.ndarray = undo(found.map[None].numpy(), geometry)[0]
    return whole
