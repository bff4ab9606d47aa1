"""Models that learnt nothing, made from their header alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from FedSegCore.data.plan import Intensity, Plan
from FedSegCore.inference.modelfile import ModelHeader, save_model
from FedSegCore.nets.unet import Network, build

MakeWeights = Callable[..., dict[str, Tensor]]
MakeBank = Callable[..., Path]


@pytest.fixture
def header() -> ModelHeader:
    """Liver and Kidney in CT images, 3-D."""
    return ModelHeader(
        study="a study",
        method="fedavg",
        name="global",
        labels=(("Liver", 1), ("Kidney", 2)),
        known=("Liver", "Kidney"),
        overlapping=False,
        inputs=(("CT",),),
        owned=("CT",),
        plan=Plan(
            dims=3,
            spacing_mm=(2.0, 2.0, 2.0),
            patch=(8, 8, 8),
            intensity={"CT": Intensity("window", -100.0, 200.0)},
        ),
        network=Network(channels=(4, 8)),
        sites=(("north", 3),),
        licences=("CC0 1.0",),
    )


@pytest.fixture
def two_d(header: ModelHeader) -> ModelHeader:
    """The same for stacks of slices."""
    plan = Plan(dims=2, spacing_mm=(2.0, 2.0), patch=(8, 8), intensity=header.plan.intensity)
    return replace(header, plan=plan)


@pytest.fixture
def weights_of() -> MakeWeights:
    """Random weights of a header's network; with `logits` given it answers those everywhere."""

    def make(
        header: ModelHeader, *, seed: int = 0, logits: tuple[float, ...] | None = None
    ) -> dict[str, Tensor]:
        net = build(
            header.network,
            dims=header.plan.dims,
            in_channels=len(header.inputs),
            out_channels=len(header.labels),
            generator=torch.Generator().manual_seed(seed),
        )
        weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        weights["head.conv.bias"].zero_()  # about half of the voxels are above 0.5
        if logits is not None:
            weights["head.conv.weight"].zero_()
            weights["head.conv.bias"] = torch.tensor(logits)
        return weights

    return make


@pytest.fixture
def bank_of(tmp_path: Path, weights_of: MakeWeights) -> MakeBank:
    """A folder of models of one header: a global one and each site's own, with weights of their own."""

    def make(
        header: ModelHeader,
        *sites: str,
        whole: bool = True,
        logits: Mapping[str, tuple[float, ...]] | None = None,
    ) -> Path:
        folder = tmp_path / "bank"
        everyone = tuple((site, 3) for site in sites)
        if whole:
            known = (logits or {}).get("global")
            head = replace(header, name="global", sites=everyone)
            save_model(folder / "global.safetensors", weights_of(header, seed=99, logits=known), head)
        for seed, site in enumerate(sites):
            known = (logits or {}).get(site)
            own = replace(header, name=f"personal-{site}", sites=((site, 3),))
            save_model(
                folder / f"personal-{site}.safetensors", weights_of(header, seed=seed, logits=known), own
            )
        return folder

    return make
