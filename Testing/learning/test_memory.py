from __future__ import annotations

import pytest
import torch

from FedSegCore.learning.losses import dice_ce
from FedSegCore.learning.memory import Cost, cost_of
from FedSegCore.learning.precision import Precision, autocast
from FedSegCore.nets.unet import Network, SegmentationNet, build
from Testing.phantoms import seeded
from Testing.resident import peak_mib

pytestmark = pytest.mark.usefixtures("one_thread")


def net() -> SegmentationNet:
    made = build(Network(channels=(8, 32, 64)), dims=3, in_channels=1, out_channels=2, generator=seeded())
    assert isinstance(made, SegmentationNet)
    return made


COST = Cost(fixed=10**6, voxel=500.0)


def test_a_step_takes_about_what_was_told() -> None:
    model, image = net().train(), torch.zeros(2, 1, 48, 48, 48)
    target = torch.zeros(2, 2, 48, 48, 48, dtype=torch.uint8)
    annotated = torch.ones(2, 2, dtype=torch.bool)
    measured = peak_mib(lambda: dice_ce(model(image), target, annotated).backward())
    told = cost_of(net().to("meta"), inputs=1, outputs=2, patch=(16, 16, 16)).of((48, 48, 48), 2)
    assert 0.7 < told / 2**20 / measured < 1.5


def test_the_proposed_patch_fits_and_cannot_be_much_larger() -> None:
    within = COST.of((64, 64, 48), 2) // 2
    found = COST.largest_patch((64, 64, 48), 2, divisor=4, within=within)
    assert found is not None and not any(side % 4 for side in found)
    assert 0.8 * within < COST.of(found, 2) <= within


def test_nothing_is_proposed_where_not_even_the_smallest_patch_fits() -> None:
    assert COST.largest_patch((64, 64, 48), 2, divisor=4, within=1000) is None


def test_a_side_below_the_networks_block_is_proposed_as_one_block() -> None:
    assert COST.largest_patch((12, 64, 64), 2, divisor=16, within=10**9) == (16, 64, 64)


def test_a_forward_pass_in_bfloat16_keeps_about_what_was_told() -> None:
    model, kept = net().train(), {}
    image, target = torch.zeros(2, 1, 32, 32, 32), torch.zeros(2, 2, 32, 32, 32, dtype=torch.uint8)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    def bytes_kept(precision: Precision) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with autocast(torch.device("cpu"), precision):
                logits = model(image)
            dice_ce(logits.float(), target, torch.ones(2, 2, dtype=torch.bool))
        return sum(storage.nbytes() for storage in kept.values())

    half, full = (
        cost_of(net().to("meta"), inputs=1, outputs=2, patch=(32, 32, 32), precision=name).voxel
        for name in ("bfloat16", "float32")
    )
    assert half / full == pytest.approx(bytes_kept("bfloat16") / bytes_kept("float32"), abs=0.1)
