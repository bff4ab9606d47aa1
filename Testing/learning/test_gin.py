"""FedGIN's invariants: methods 1.8, items 1 to 7 (8, 9 and 14 are the federation's)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from FedSegCore.learning.gin import GinDraw, apply_gin, draw_gin

SIDES = {2: (6, 7), 3: (4, 5, 6)}
OPEN_INPUTS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "dims": st.sampled_from([2, 3]),
        "batch": st.integers(1, 4),
        "channels": st.integers(1, 3),
        "per_sample": st.booleans(),
        "mix_channels": st.booleans(),
        "balance": st.booleans(),
        "scale": st.sampled_from([1e-3, 1.0, 1e3]),
    }
)
PROPERTY = settings(max_examples=30, deadline=None)


def images(batch: int = 3, channels: int = 1, *, dims: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, channels, *SIDES[dims], generator=torch.Generator().manual_seed(seed))


def drawn(image: Tensor, seed: int = 0, **options: object) -> GinDraw:
    generator = torch.Generator().manual_seed(seed)
    return draw_gin(generator, image.shape, **{"probability": 1.0, **options})  # type: ignore[arg-type]


def with_alpha(draw: GinDraw, alpha: float) -> GinDraw:
    return dataclasses.replace(draw, alpha=torch.full_like(draw.alpha, alpha))


def case(inputs: dict[str, object]) -> tuple[Tensor, GinDraw]:
    batch, channels, dims, seed = (int(str(inputs[key])) for key in ("batch", "channels", "dims", "seed"))
    image = images(batch, channels, dims=dims, seed=seed) * float(str(inputs["scale"]))
    kinds = {key: inputs[key] for key in ("per_sample", "mix_channels", "balance")}
    draw = drawn(image, seed, **kinds)
    return image, draw


@given(inputs=OPEN_INPUTS)
@PROPERTY
def test_shape_type_and_input_are_kept_and_no_gradient_flows(inputs: dict[str, object]) -> None:
    image, draw = case(inputs)
    image.requires_grad_()
    before = image.detach().clone()
    new = apply_gin(image, draw)
    assert (new.shape, new.dtype, new.device) == (image.shape, image.dtype, image.device)
    assert new.grad_fn is None
    assert not new.requires_grad
    assert torch.equal(image.detach(), before)
    assert torch.isfinite(new).all()


@given(inputs=OPEN_INPUTS)
@PROPERTY
def test_the_frobenius_norm_of_every_sample_is_kept(inputs: dict[str, object]) -> None:
    image, draw = case(inputs)
    old, new = image.flatten(1).norm(dim=1), apply_gin(image, draw).flatten(1).norm(dim=1)
    torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)


@given(inputs=OPEN_INPUTS)
@PROPERTY
def test_alpha_zero_gives_the_image_back(inputs: dict[str, object]) -> None:
    image, draw = case({**inputs, "scale": 1.0})
    torch.testing.assert_close(apply_gin(image, with_alpha(draw, 0.0)), image, rtol=1e-4, atol=1e-5)


@given(inputs=OPEN_INPUTS)
@PROPERTY
def test_the_same_seed_is_bit_identical_and_another_seed_differs(inputs: dict[str, object]) -> None:
    image, draw = case(inputs)
    again = case(inputs)[1]
    other = case({**inputs, "seed": int(str(inputs["seed"])) + 1})[1]
    assert torch.equal(apply_gin(image, draw), apply_gin(image, again))
    assert not torch.equal(apply_gin(image, draw), apply_gin(image, other))


@pytest.mark.parametrize("mix_channels", [False, True])
def test_a_zero_image_stays_zero(mix_channels: bool) -> None:
    image = torch.zeros(2, 3, 4, 4, 4)
    assert torch.equal(apply_gin(image, drawn(image, mix_channels=mix_channels)), image)


@pytest.mark.parametrize("mix_channels", [False, True])
def test_an_absent_channel_stays_zero_among_others(mix_channels: bool) -> None:
    image = images(4, 3)
    image[1, 2] = 0
    image[2, 0] = 0
    new = apply_gin(image, drawn(image, mix_channels=mix_channels))
    absent = (image == 0).flatten(2).all(2)
    assert torch.equal((new == 0).flatten(2).all(2), absent)
    torch.testing.assert_close(new.flatten(1).norm(dim=1), image.flatten(1).norm(dim=1), rtol=1e-3, atol=0)


def test_unmixed_channels_do_not_see_each_other() -> None:
    image = images(2, 3)
    other = image.clone()
    other[:, 1:] *= -2.0
    draw = drawn(image)
    assert torch.equal(apply_gin(image, draw)[:, 0], apply_gin(other, draw)[:, 0])


def test_mixed_channels_do_see_each_other() -> None:
    image = images(2, 3)
    other = image.clone()
    other[:, 1:] *= -2.0
    draw = drawn(image, mix_channels=True)
    assert not torch.allclose(apply_gin(image, draw)[:, 0], apply_gin(other, draw)[:, 0])


@pytest.mark.parametrize("dims", [2, 3])
def test_alpha_one_is_the_renormalised_random_network_alone(dims: int) -> None:
    image = images(3, dims=dims)
    draw = with_alpha(drawn(image, seed=3), 1.0)
    for sample in range(3):
        features = image[sample : sample + 1]
        for layer, (weight, shift) in enumerate(zip(draw.weights, draw.shifts, strict=True)):
            features = F.leaky_relu(features, 0.01) if layer else features
            own, offset = weight.chunk(3)[sample], shift.chunk(3)[sample]
            convolution = F.conv2d if dims == 2 else F.conv3d
            features = convolution(features, own, offset, padding=weight.shape[-1] // 2)
        expected = features * image[sample].norm() / (features.norm() + 1e-5)
        torch.testing.assert_close(
            apply_gin(image, draw)[sample : sample + 1], expected, rtol=1e-4, atol=1e-5
        )


def test_layers_are_one_two_two_two_one_with_kernels_of_one_and_three() -> None:
    image = images(1)
    sides, widths = set(), set()
    for seed in range(20):
        draw = drawn(image, seed)
        widths.add(tuple((len(weight), weight.shape[1]) for weight in draw.weights))
        sides.update(weight.shape[-1] for weight in draw.weights)
    assert widths == {((2, 1), (2, 2), (2, 2), (1, 2))}
    assert sides == {1, 3}


def test_identical_samples_differ_at_equal_alpha_when_kernels_are_per_sample() -> None:
    image = images(1).repeat(2, 1, 1, 1, 1)
    new = apply_gin(image, with_alpha(drawn(image), 0.5))
    assert not torch.allclose(new[0], new[1])


def test_identical_samples_agree_at_equal_alpha_when_the_batch_shares_kernels() -> None:
    image = images(1).repeat(2, 1, 1, 1, 1)
    draw = drawn(image, per_sample=False)
    same, own = apply_gin(image, with_alpha(draw, 0.5)), apply_gin(image, draw)
    torch.testing.assert_close(same[0], same[1])
    assert draw.alpha[0] != draw.alpha[1]
    assert not torch.allclose(own[0], own[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_pointwise_kernels_map_equal_intensities_to_equal_ones(dims: int) -> None:
    image = torch.round(images(2, dims=dims))
    new = apply_gin(image, drawn(image, kernels=(1,)))
    for old, mapped in zip(image, new, strict=True):
        for value in old.unique():
            found = mapped[old == value]
            torch.testing.assert_close(found, found[:1].expand_as(found))


def test_pointwise_kernels_commute_with_a_permutation_of_voxels() -> None:
    image = images(2)
    order = torch.randperm(image[0, 0].numel(), generator=torch.Generator().manual_seed(1))
    shuffled = image.flatten(2)[..., order].view_as(image)
    draw = drawn(image, kernels=(1,))
    expected = apply_gin(image, draw).flatten(2)[..., order].view_as(image)
    torch.testing.assert_close(apply_gin(shuffled, draw), expected, rtol=1e-4, atol=1e-5)


def test_samples_that_were_not_drawn_pass_bit_for_bit() -> None:
    image = images(40)
    draw = drawn(image, probability=0.5)
    changed = (apply_gin(image, draw) != image).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == draw.samples.tolist()
    assert 8 < len(draw.samples) < 32


def test_probability_zero_changes_nothing_and_returns_a_new_tensor() -> None:
    image = images()
    new = apply_gin(image, drawn(image, probability=0.0))
    assert torch.equal(new, image)
    assert new.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_gin_runs_on_the_meta_device(per_sample: bool, probability: float) -> None:
    image = images(4, 2)
    draw = drawn(image, per_sample=per_sample, probability=probability)
    assert apply_gin(image.to("meta"), draw).shape == image.shape


def test_low_precision_images_keep_their_type() -> None:
    image = images().to(torch.bfloat16)
    assert apply_gin(image, drawn(image)).dtype == torch.bfloat16


def blurred(seed: int = 0) -> Tensor:
    """A smooth volume, as images are, of mean 0 and standard deviation 1."""
    noise = torch.randn(1, 1, 18, 18, 18, generator=torch.Generator().manual_seed(seed))
    smooth = F.avg_pool3d(noise, 5, stride=1)
    return (smooth - smooth.mean()) / smooth.std()


def similarity(image: Tensor, **options: object) -> Tensor:
    """The correlation of an image with each of 200 augmented copies of it."""
    copies = image.expand(200, *image.shape[1:]).contiguous()
    new = apply_gin(copies, drawn(copies, 1, **options))
    return torch.stack([torch.corrcoef(torch.stack([image.flatten(), one.flatten()]))[0, 1] for one in new])


def test_balanced_the_random_network_has_the_images_mean_and_spread() -> None:
    image = 3.0 * images(4, 2) + 1.0
    new = apply_gin(image, with_alpha(drawn(image, balance=True, kernels=(1,)), 1.0))
    for found, wanted in zip(new.flatten(0, 1), image.flatten(0, 1), strict=True):
        assert float(found.mean()) == pytest.approx(float(wanted.mean()), rel=0.02)
        assert float(found.std()) == pytest.approx(float(wanted.std()), rel=0.02)


def test_balanced_networks_invert_contrast_twice_as_often() -> None:
    """Why `balance` is there: what a CT site must learn of an MR site is mostly contrast the other way round."""
    plain, balanced = (similarity(blurred(), kernels=(1,), balance=balance) for balance in (False, True))
    inverted = [float((one < -0.8).float().mean()) for one in (plain, balanced)]
    assert inverted[1] > 2.0 * inverted[0] > 0.0


def test_balanced_a_constant_image_stays_finite_and_a_channel_of_zeros_zero() -> None:
    image = torch.cat([torch.full((2, 1, 4, 5, 6), 2.0), torch.zeros(2, 1, 4, 5, 6)], dim=1)
    new = apply_gin(image, drawn(image, balance=True))
    assert torch.isfinite(new).all()
    assert torch.equal(new[:, 1], image[:, 1])
