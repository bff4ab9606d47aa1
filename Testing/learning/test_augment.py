from __future__ import annotations

import pytest
import torch

from FedSegCore.data.batches import Batch
from FedSegCore.errors import StudyError
from FedSegCore.learning.augment import AUGMENTS, Looks, augment
from FedSegCore.learning.flow.settings import FlowSettings
from FedSegCore.learning.flow.style import StyledFlow
from FedSegCore.learning.losses import dice_ce
from FedSegCore.nets.unet import Network, build


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 1, 8, 8, 8, generator=generator)
    target = (torch.rand(3, 2, 8, 8, 8, generator=generator) < 0.4).to(torch.uint8)
    return Batch(image, target, torch.ones(3, 2, dtype=torch.bool))


def looks(device: str = "cpu") -> Looks:
    """A flow that has not learnt anything yet."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Looks(flow=StyledFlow(FlowSettings(), modalities=1).to(device))


def augmented(kind: str, *, seed: int = 0, spatial: bool = False, probability: float = 1.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return augment(
        batch(), kind, generator=generator, probability=probability, spatial=spatial, looks=looks()
    )


@pytest.mark.parametrize("kind", ["gin", "flow", "gin+flow", "classic"])
def test_intensity_augmentation_changes_images_and_never_targets(kind: str) -> None:
    new = augmented(kind)
    assert not torch.equal(new.image, batch().image)
    assert torch.equal(new.target, batch().target)
    assert torch.equal(new.annotated, batch().annotated)


def test_none_without_moves_is_the_batch_itself() -> None:
    assert torch.equal(augmented("none").image, batch().image)


@pytest.mark.parametrize("kind", AUGMENTS)
def test_the_same_seed_gives_the_same_batch(kind: str) -> None:
    one, two = augmented(kind, spatial=True), augmented(kind, spatial=True)
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.target, two.target)


def test_moves_are_the_same_whatever_the_intensities() -> None:
    targets = [augmented(kind, spatial=True).target for kind in AUGMENTS]
    assert all(torch.equal(target, targets[0]) for target in targets)


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(StudyError) as raised:
        augmented("clasic")
    assert '"classic"' in raised.value.fix


@pytest.mark.parametrize("kind", AUGMENTS)
def test_a_whole_step_runs_on_the_meta_device(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    table = Network(channels=(2, 4))
    net = build(table, dims=3, in_channels=1, out_channels=2, generator=generator).to("meta")
    moved = augment(batch().to("meta"), kind, generator=generator, probability=1.0, spatial=True,
                    looks=looks("meta"))  # fmt: skip
    dice_ce(net(moved.image), moved.target, moved.annotated).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_gin_and_flow_mixed_each_touch_half_of_the_batches() -> None:
    alone = {kind: augmented(kind).image for kind in ("gin", "flow")}
    seen = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        coin = float(torch.rand((), generator=generator)) < 0.5
        new = augmented("gin+flow", seed=seed).image
        one = augment(batch(), "gin" if coin else "flow", generator=generator, probability=1.0, spatial=False,
                      looks=looks()).image  # fmt: skip
        assert torch.equal(new, one)
        seen.append(coin)
    assert 10 < sum(seen) < 30 and not torch.equal(alone["gin"], alone["flow"])
