"""A bank: published models of one architecture, from which a hospital outside the federation is served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from FedSegCore.errors import ModelFileError, UsageError
from FedSegCore.inference.modelfile import Model, ModelHeader, assemble, blank_net
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.header import read_header
from FedSegCore.tensors.weights import Weights

GLOBAL = "global"
_SHARED = ("network", "labels", "overlapping", "inputs", "plan")
"""What the models of a bank must agree on."""


@final
@dataclass(frozen=True)
class Expert:
    """One model of a bank.

    Args:
        path: its file; where it is held in memory, what it is called.
        held: its weights, if they are in memory.
    """

    path: Path
    header: ModelHeader
    held: Weights | None = None

    @property
    def source(self) -> str:
        """Whose model it is: the site, or `global`."""
        sites = self.header.sites
        return sites[0][0] if len(sites) == 1 and self.header.name != GLOBAL else self.header.name

    def weights(self) -> Weights:
        """The model's weights, read anew unless they are held."""
        return tensorfile.load(self.path)[1] if self.held is None else self.held


@final
@dataclass(frozen=True)
class Bank:
    """Two or more models of one architecture, the global one last, if there is one.

    Args:
        left_out: models of the same folder that are several networks each (SegViz's merged one).
    """

    experts: tuple[Expert, ...]
    left_out: tuple[Expert, ...] = ()

    @property
    def header(self) -> ModelHeader:
        """What the experts have in common; it knows whatever one of them learnt, of all their cases."""
        headers = [expert.header for expert in self.experts]
        first = headers[-1]
        known = {name for header in headers for name in header.known}
        owned = {name for header in headers for name in header.owned}
        sites = dict(site for header in headers for site in header.sites)
        licences = dict.fromkeys(licence for header in headers for licence in header.licences)
        return replace(
            first,
            name="routed",
            known=tuple(name for name in first.label_names if name in known),
            owned=tuple(name for choices in first.inputs for name in choices if name in owned),
            sites=tuple(sorted(sites.items())),
            licences=tuple(licences),
        )

    @property
    def base(self) -> int | None:
        """The place of the global model."""
        return next((p for p, expert in enumerate(self.experts) if expert.header.name == GLOBAL), None)

    @property
    def shares(self) -> tuple[float, ...]:
        """Where routing begins: half the global model, half the others; without a global one all alike."""
        number, base = len(self.experts), self.base
        if base is None:
            return (1.0 / number,) * number
        return tuple(0.5 if place == base else 0.5 / (number - 1) for place in range(number))

    @property
    def knows(self) -> Bool[Tensor, "e l"]:
        """Which expert learnt which structure."""
        labels = self.header.label_names
        return torch.tensor([[name in expert.header.known for name in labels] for expert in self.experts])

    def net(self) -> nn.Module:
        """A network of the experts' architecture, with weights of nobody."""
        return blank_net(self.header)

    def weights(self) -> Iterator[Weights]:
        """The experts' weights, one after the other.

        Raises:
            ModelFileError: they are not those of the experts' architecture.
        """
        shapes = {name: tensor.shape for name, tensor in self.net().state_dict().items()}
        for expert in self.experts:
            weights = expert.weights()
            if {name: tensor.shape for name, tensor in weights.items()} != shapes:
                raise ModelFileError(
                    f"{expert.path} does not hold the weights of its network.", "Fetch it again."
                )
            yield weights

    def model(self, place: int, device: torch.device | str = "cpu") -> Model:
        """One expert, ready for use."""
        expert = self.experts[place]
        net = assemble(expert.header, expert.weights(), source=str(expert.path))
        return Model(expert.header, net.to(device).eval())

    def without(self, source: str) -> Bank:
        """The bank that a site outside would have: without the model of one site."""
        return Bank(tuple(expert for expert in self.experts if expert.source != source))


def read_bank(folder: Path) -> Bank:
    """The models of a folder; only their headers are read.

    Raises:
        UsageError: no folder, fewer than two models, two of one source, a merged one.
        ModelFileError: a file that is not a model, or models that do not fit together.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Give the models/ folder of a finished study.")
    paths = sorted(folder.glob("*.safetensors"))
    if len(paths) < 2:
        raise UsageError(
            f"Routing chooses among two or more models, and {folder} holds {len(paths) or 'none'}.",
            "Put the global and the personal models of a study there, or segment with --model FILE.",
        )
    experts = [Expert(path, ModelHeader.from_dict(read_header(path), str(path))) for path in paths]
    return make_bank(experts)


def make_bank(experts: Sequence[Expert]) -> Bank:
    """A bank of models that fit together; see `read_bank`."""
    merged = tuple(expert for expert in experts if expert.header.members)
    experts = [expert for expert in experts if not expert.header.members]
    if len(experts) < 2 and merged:
        number = len(merged[0].header.members)
        raise UsageError(
            f"{merged[0].path} is put together from {number} sites' networks and cannot be routed.",
            "Add the sites' personal models, which are one network each.",
        )
    for expert in experts:
        _refuse_stranger(experts[0], expert)
    if experts and experts[0].header.network.kind != "unet":
        raise UsageError(
            f"{experts[0].path} has an encoder for each modality; such models are not routed.",
            "Segment with --model FILE.",
        )
    sources = [expert.source for expert in experts]
    for place, source in enumerate(sources):
        if sources.index(source) < place:
            raise UsageError(
                f"{experts[sources.index(source)].path} and {experts[place].path} are both of {source}.",
                "Keep one of them.",
            )
    ordered = sorted(experts, key=lambda expert: (expert.header.name == GLOBAL, expert.source))
    return Bank(tuple(ordered), left_out=merged)


def _refuse_stranger(first: Expert, other: Expert) -> None:
    # Of a channel that a model never saw it has first weights only, which must not be mixed in.
    several = ("owned",) if len(first.header.inputs) > 1 else ()
    for key in (*_SHARED, *several):
        mine, theirs = getattr(first.header, key), getattr(other.header, key)
        if mine != theirs:
            raise ModelFileError(
                f"The models of a bank must share {key}: {first.path.name} has {_brief(mine)}, "
                f"{other.path.name} {_brief(theirs)}.",
                "Put only models of one study into the folder.",
            )


def _brief(value: Any) -> str:
    plain = value.to_dict() if hasattr(value, "to_dict") else value
    return str(plain)
