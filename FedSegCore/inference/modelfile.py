"""A published model: a file that says of itself all that using it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from FedSegCore.data.plan import Plan
from FedSegCore.errors import FedSegError, ModelFileError
from FedSegCore.nets.merged import MergedNet
from FedSegCore.nets.multiencoder import MultiEncoderNet, see, usable_keys
from FedSegCore.nets.unet import Network, build
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights

KIND = "model"
USE = "Research use only. Not a medical device. Every segmentation must be reviewed by a qualified person."


@dataclass(frozen=True)
class Member:
    """A site whose private parts are in a merged model, and the structures that they know."""

    site: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class ModelHeader:
    """What a model file says of itself; a function of the study alone (nothing of time, host, path or score).

    Args:
        name: the model's name in the study, such as `global` or `personal-north`.
        labels: the structures with their values in a label map, in the order of the outputs.
        known: the structures that the model was trained on; the others' outputs mean nothing.
        overlapping: whether structures may overlap.
        inputs: for each network input, the modalities that may feed it.
        owned: the modalities that the model's owner trained with; inputs of others are fed with zeros.
        sites: the sites whose cases it learnt from, with their number of cases.
        licences: of the images it learnt from.
        members: of a merged model.
    """

    study: str
    method: str
    name: str
    labels: tuple[tuple[str, int], ...]
    known: tuple[str, ...]
    overlapping: bool
    inputs: tuple[tuple[str, ...], ...]
    owned: tuple[str, ...]
    plan: Plan
    network: Network
    sites: tuple[tuple[str, int], ...] = ()
    licences: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The structures in the order of the outputs."""
        return tuple(name for name, _ in self.labels)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What may be fed to the model: any choice of an only input, else what its owner trained with."""
        names = [name for choices in self.inputs for name in choices]
        return tuple(name for name in names if len(self.inputs) == 1 or name in self.owned)

    def to_dict(self) -> dict[str, Any]:
        """JSON for the file's header."""
        plain = {key: value for key, value in asdict(self).items() if key not in ("plan", "network")}
        return {
            **plain,
            "kind": KIND,
            "use": USE,
            "plan": self.plan.to_dict(),
            "network": self.network.to_dict(),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], source: str) -> ModelHeader:
        """Read a header.

        Raises:
            ModelFileError: not of a model, or of another version.
        """
        if raw.get("kind") != KIND:
            kind = raw.get("kind") or ("checkpoint" if "digest" in raw else "message")
            raise ModelFileError(
                f"{source} is a FedSeg {kind}, not a model.",
                "Give a model file: models/*.safetensors of a finished study, or sites/SITE/personal.safetensors.",
            )
        try:
            return cls(
                study=raw["study"],
                method=raw["method"],
                name=raw["name"],
                labels=tuple((str(name), int(value)) for name, value in raw["labels"]),
                known=tuple(raw["known"]),
                overlapping=bool(raw["overlapping"]),
                inputs=tuple(tuple(names) for names in raw["inputs"]),
                owned=tuple(raw["owned"]),
                plan=Plan.from_dict(raw["plan"]),
                network=Network.from_dict(raw["network"]),
                sites=tuple((str(site), int(cases)) for site, cases in raw["sites"]),
                licences=tuple(raw["licences"]),
                members=tuple(Member(m["site"], tuple(m["labels"])) for m in raw["members"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, FedSegError) as error:
            raise ModelFileError(
                f"{source} has a model header that this FedSeg cannot read ({error}).",
                "Use the FedSeg version that wrote it.",
            ) from None


@dataclass(frozen=True, eq=False)
class Model:
    """A model ready for use: its header and the network in evaluation mode."""

    header: ModelHeader
    net: nn.Module


def save_model(path: Path, weights: Weights, header: ModelHeader) -> None:
    """Write a model file; equal content gives equal bytes."""
    tensorfile.save(path, weights, header.to_dict())


def load_model(path: Path, device: torch.device | str = "cpu") -> Model:
    """Read a model file.

    Raises:
        ModelFileError: missing, truncated, foreign, altered, of another version, or not a model.
    """
    raw, tensors = tensorfile.load(path)
    header = ModelHeader.from_dict(raw, str(path))
    return Model(header, assemble(header, tensors, source=str(path)).to(device).eval())


def assemble(header: ModelHeader, weights: Weights, *, source: str = "the model") -> nn.Module:
    """The network that a header describes, with its weights; merged where the header names members.

    Raises:
        ModelFileError: the weights are not those of the header's network.
    """
    if not header.members:
        return _net(header, weights, source)
    members = [_net(header, _member_weights(weights, place), source) for place in range(len(header.members))]
    labels = header.label_names
    return MergedNet(members, [[label in member.labels for label in labels] for member in header.members])


def _member_weights(weights: Weights, place: int) -> dict[str, Tensor]:
    prefix = f"members/{place}/"
    own = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    return {**{name: t for name, t in weights.items() if not name.startswith("members/")}, **own}


def blank_net(header: ModelHeader) -> nn.Module:
    """A network of a header's architecture, with weights of nobody."""
    return build(
        header.network,
        dims=header.plan.dims,
        in_channels=len(header.inputs),
        out_channels=len(header.labels),
        generator=torch.Generator(),
        modalities=[choices[0] for choices in header.inputs],
    )


def _net(header: ModelHeader, weights: Weights, source: str) -> nn.Module:
    net = blank_net(header)
    see(net, header.owned)
    if usable_keys(net, header.owned) != weights.keys():
        raise ModelFileError(f"{source} does not hold the weights of its network.", "Fetch the file again.")
    try:
        algebra.load(net, weights)
    except FedSegError as error:
        raise ModelFileError(f"{source}: {error.message}", "Fetch the file again.") from None
    if isinstance(net, MultiEncoderNet):
        net.settle_calibration()
    return net
