from __future__ import annotations

from collections import Counter

import pytest
import torch

from FedSegCore.errors import DataError, StudyError
from FedSegCore.learning.losses import dice_ce
from FedSegCore.learning.supervision import deep_supervision
from FedSegCore.learning.train import make_optimizer, step
from FedSegCore.nets.filters import filter_layers
from FedSegCore.nets.multiencoder import MultiEncoderNet
from FedSegCore.nets.parts import OPTIONAL_PARTS, PARTS, norm_keys, part_of
from FedSegCore.nets.unet import Network, build
from Testing.multimodal import INPUTS, MODALITIES, multi_net
from Testing.phantoms import TRAINING, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def image(dims: int, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(2, len(INPUTS), *(8, 12, 4)[:dims], generator=seeded(seed))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("owned", [MODALITIES, ("T2",), ("T1", "FLAIR")])
def test_any_subset_of_modalities_gives_logits_at_the_images_resolution(
    dims: int, owned: tuple[str, ...]
) -> None:
    net = multi_net(dims=dims)
    net.own(owned)
    assert net(image(dims)).shape == (2, 2, *(8, 12, 4)[:dims])


@pytest.mark.parametrize("dims", [2, 3])
def test_every_level_has_fused_features_and_a_map_and_every_modality_logits_of_its_own(dims: int) -> None:
    net = multi_net(dims=dims)
    sides = [tuple(side // scale for side in (8, 12, 4)[:dims]) for scale in (1, 2)]
    outputs = net.outputs(image(dims))
    assert [tuple(one.shape) for one in net.fused(image(dims))] == [(2, 4, *sides[0]), (2, 8, *sides[1])]
    assert [tuple(one.shape) for one in outputs.maps] == [(2, 2, *side) for side in sides]
    assert {name: tuple(one.shape) for name, one in outputs.separate.items()} == dict.fromkeys(
        MODALITIES, (2, 2, *sides[0])
    )
    assert torch.equal(outputs.logits, net(image(dims)))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("content", [float("nan"), 1e6])
def test_what_stands_in_the_channels_of_other_modalities_has_no_effect(dims: int, content: float) -> None:
    net, clean = multi_net(dims=dims), image(dims)
    net.own(["T2"])
    spoilt = clean.clone()
    spoilt[:, [0, 3]] = content
    assert torch.equal(net(clean), net(spoilt))


def test_both_channels_of_a_modality_are_seen() -> None:
    net, clean = multi_net(), image(2)
    net.own(["T2"])
    for channel in (1, 2):
        other = clean.clone()
        other[:, channel] += 1 + torch.randn(8, 12, generator=seeded())
        assert not torch.equal(net(clean), net(other))


def test_only_owned_encoders_are_computed() -> None:
    net, calls = multi_net(), Counter[str]()
    for name, encoder in net.encoder.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.update([name]))
    net.own(["T2"])
    net.outputs(image(2))
    assert calls == {"1-T2": 1}


def test_the_order_in_which_modalities_are_named_does_not_matter() -> None:
    net = multi_net()
    net.own(["FLAIR", "T1"])
    assert net.owned == ("T1", "FLAIR")


def test_an_unknown_modality_names_the_nearest_and_none_at_all_is_refused() -> None:
    with pytest.raises(StudyError) as raised:
        multi_net().own(["FLAR"])
    assert '"FLAIR"' in raised.value.fix
    with pytest.raises(StudyError, match="got none"):
        multi_net().own([])


def test_the_network_has_the_three_parts_and_two_of_its_own() -> None:
    net = multi_net()
    assert [name for name, _ in net.named_children()] == [*PARTS, *OPTIONAL_PARTS]
    assert set(part_of(net).values()) == {*PARTS, *OPTIONAL_PARTS}


def test_norm_layers_hold_no_tensor_so_every_shared_tensor_is_in_a_filter() -> None:
    net = multi_net()
    assert not norm_keys(net)
    assert filter_layers(net, ("decoder", "head"))


def test_the_decoder_is_the_same_whatever_the_modalities() -> None:
    few = build(Network(kind="multiencoder", channels=(4, 8)), dims=2, in_channels=1, out_channels=2,
                generator=seeded(), modalities=["CT"])  # fmt: skip
    assert isinstance(few, MultiEncoderNet)
    shapes = [{k: t.shape for k, t in net.decoder.state_dict().items()} for net in (few, multi_net())]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["T1.post", "keys", "a/b", "T1 fat sat", "é", "type"])
def test_a_modality_may_have_any_name(name: str) -> None:
    net = build(Network(kind="multiencoder", channels=(2, 2)), dims=2, in_channels=2, out_channels=1,
                generator=seeded(), modalities=[name, "CT"])  # fmt: skip
    assert isinstance(net, MultiEncoderNet)
    net.own([name])
    assert net(torch.randn(1, 2, 4, 4)).shape == (1, 1, 4, 4)
    assert len(net.encoder_keys([name])) == len(net.encoder_keys(["CT"])) > 0


def test_a_network_of_encoders_asks_for_the_modality_of_every_channel() -> None:
    with pytest.raises(StudyError, match="takes 2 input channels, but was told the modality of 1"):
        build(Network(kind="multiencoder"), dims=2, in_channels=2, out_channels=1, generator=seeded(),
              modalities=["CT"])  # fmt: skip


def test_equal_generators_give_equal_weights() -> None:
    first, second, other = (multi_net(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.conv.weight"], other["head.conv.weight"])


@pytest.mark.parametrize("shape", [(1, 4, 9, 8), (1, 4, 8, 8, 8), (1, 4, 2, 2)])
def test_a_size_that_the_levels_cannot_halve_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="multiple of 2"):
        multi_net()(torch.zeros(shape))


def test_a_network_survives_json_and_a_unet_says_nothing_of_anchors() -> None:
    network = Network(kind="multiencoder", channels=(4, 8), anchors=3, residual=True)
    assert Network.from_dict(network.to_dict()) == network
    assert set(Network().to_dict()) == {"kind", "channels", "norm"}


# Calibration.


def test_weights_without_anchors_are_not_calibrated_and_with_anchors_are() -> None:
    net, seen = multi_net(), image(2)
    plain = net(seen)
    for level in net.attention:
        level.anchors.normal_(generator=seeded())
    calibrated = net(seen)
    assert not torch.equal(plain, calibrated)
    net.calibrated = False
    assert torch.equal(net(seen), plain)


def test_without_anchors_the_attention_holds_nothing() -> None:
    net = multi_net(anchors=0)
    assert not list(net.attention.state_dict())
    assert net(image(2)).shape == (2, 2, 8, 12)


def test_the_attentions_entropy_lies_between_none_and_all() -> None:
    net = multi_net()
    net.calibrated = True
    for level in net.attention:
        level.anchors.normal_(generator=seeded())
    assert 0 < net.attention_entropy(image(2)).item() <= 1


# Training.


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("anchors", [0, 2])
def test_a_step_runs_on_the_meta_device(dims: int, anchors: int) -> None:
    net = multi_net(dims=dims, anchors=anchors).to("meta")
    net.calibrated = anchors > 0
    net.own(["T2", "FLAIR"])
    sides = (8, 8, 8)[:dims]
    loss = step(
        net,
        make_optimizer(list(net.parameters()), TRAINING),
        torch.zeros(2, len(INPUTS), *sides, device="meta"),
        torch.zeros(2, 2, *sides, dtype=torch.uint8, device="meta"),
        torch.ones(2, 2, dtype=torch.bool, device="meta"),
        training=TRAINING,
        objective=deep_supervision(TRAINING),
    )
    assert (loss.device.type, loss.shape, loss.requires_grad) == ("meta", (), False)


@pytest.mark.parametrize("dims", [2, 3])
def test_training_reaches_every_parameter_but_the_encoders_of_other_modalities(dims: int) -> None:
    net = multi_net(dims=dims)
    net.calibrated = True
    for level in net.attention:
        level.anchors.normal_(generator=seeded())
    net.own(["T2"])
    target = torch.zeros(2, 2, *(8, 12, 4)[:dims], dtype=torch.uint8)
    objective = deep_supervision(TRAINING)
    objective(net, image(dims), target, torch.ones(2, 2, dtype=torch.bool)).backward()
    without = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert without == net.encoder_keys(["T1", "FLAIR"])


def test_the_objective_is_the_sum_over_segmentation_levels_and_modalities() -> None:
    net, seen, known = multi_net(), image(2), torch.ones(2, 2, dtype=torch.bool)
    net.own(["T1", "T2"])
    target = (torch.rand(2, 2, 8, 12, generator=seeded()) > 0.5).to(torch.uint8)
    outputs = net.outputs(seen)
    enlarged = torch.nn.functional.interpolate(outputs.maps[1], size=(8, 12), mode="bilinear")
    parts = [outputs.logits, outputs.maps[0], enlarged, *outputs.separate.values()]
    assert len(parts) == 5
    expected = sum(dice_ce(one, target, known).item() for one in parts)
    found = deep_supervision(TRAINING)(net, seen, target, known).item()
    assert found == pytest.approx(expected, rel=1e-5)
