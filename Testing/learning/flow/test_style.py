"""FlowGIN's augmentation: what it keeps, what it changes, and that it draws before it applies."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.data.batches import Batch
from FedSegCore.learning.flow.context import context
from FedSegCore.learning.flow.settings import FlowSettings, Mode
from FedSegCore.learning.flow.style import FlowDraw, Style, StyledFlow, apply_flow, draw_flow, draw_noise

pytestmark = pytest.mark.usefixtures("one_thread")

SIDES = {2: (12, 14), 3: (8, 9, 10)}
MODES: tuple[Mode, ...] = ("alternating", "spline")
BOTH = pytest.mark.parametrize("mode", MODES)
DIMS = pytest.mark.parametrize("dims", [2, 3])
PROPERTY = settings(max_examples=25, deadline=None)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(batch: int = 3, channels: int = 1, *, dims: int = 3, seed: int = 0) -> Tensor:
    """Smooth images with a little noise, as images are."""
    noise = torch.randn(batch * channels, *SIDES[dims], generator=seeded(seed))
    return (4.0 * context(noise) + 0.2 * noise).view(batch, channels, *SIDES[dims])


def styled(
    mode: Mode = "alternating", *, modalities: int = 1, seed: int = 0, nodes: tuple[int, int] = (24, 24)
) -> StyledFlow:
    """A flow as it might be after long training, with a small table."""
    model = StyledFlow(FlowSettings(mode=mode, nodes=nodes), modalities=modalities)
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in model.flow.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def drawn(image: Tensor, seed: int = 0) -> FlowDraw:
    return draw_flow(seeded(seed), image.shape, probability=1.0)


def with_alpha(draw: FlowDraw, alpha: float) -> FlowDraw:
    return dataclasses.replace(draw, alpha=torch.full_like(draw.alpha, alpha))


@BOTH
@DIMS
def test_shape_type_and_input_are_kept_and_no_gradient_flows(mode: Mode, dims: int) -> None:
    image = images(dims=dims).requires_grad_()
    before = image.detach().clone()
    new = apply_flow(image, drawn(image), styled(mode))
    assert (new.shape, new.dtype, new.grad_fn) == (image.shape, image.dtype, None)
    assert torch.equal(image.detach(), before)
    assert torch.isfinite(new).all()
    assert not torch.allclose(new, before)


@BOTH
@DIMS
def test_the_frobenius_norm_of_every_channel_is_kept(mode: Mode, dims: int) -> None:
    image = images(3, 2, dims=dims)
    new = apply_flow(image, drawn(image), styled(mode, modalities=2))
    torch.testing.assert_close(new.flatten(2).norm(dim=2), image.flatten(2).norm(dim=2), rtol=1e-3, atol=1e-4)


def test_the_targets_of_a_batch_are_not_seen() -> None:
    target = torch.randint(0, 2, (3, 2, *SIDES[3]), generator=seeded(), dtype=torch.uint8)
    batch = Batch(images(), target.clone(), torch.ones(3, 2, dtype=torch.bool))
    moved = dataclasses.replace(batch, image=apply_flow(batch.image, drawn(batch.image), styled()))
    assert torch.equal(moved.target, target)
    assert list(inspect.signature(apply_flow).parameters) == ["image", "draw", "model"]


def test_equal_generators_give_equal_bits_and_others_do_not() -> None:
    image, model = images(), styled()
    assert torch.equal(apply_flow(image, drawn(image, 1), model), apply_flow(image, drawn(image, 1), model))
    assert not torch.equal(
        apply_flow(image, drawn(image, 1), model), apply_flow(image, drawn(image, 2), model)
    )


def test_no_randomness_but_the_generators_is_touched() -> None:
    image, model = images(), styled()
    before = torch.random.get_rng_state()
    apply_flow(image, drawn(image), model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_alpha_zero_gives_the_image_back() -> None:
    image = images()
    torch.testing.assert_close(
        apply_flow(image, with_alpha(drawn(image), 0.0), styled()), image, rtol=1e-4, atol=1e-5
    )


@BOTH
def test_a_neutral_style_gives_the_image_back(mode: Mode) -> None:
    image = images()
    draw = with_alpha(drawn(image), 1.0)
    draw = dataclasses.replace(draw, noise=torch.zeros_like(draw.noise))
    new = apply_flow(image, draw, styled(mode))
    assert float((new - image).abs().mean()) < 0.01 * float(image.std())


@BOTH
def test_a_zero_image_stays_zero(mode: Mode) -> None:
    image = torch.zeros(2, 1, *SIDES[3])
    assert torch.equal(apply_flow(image, drawn(image), styled(mode)), image)


@BOTH
@pytest.mark.parametrize("value", [-3.0, 1e-6, 8.0])
def test_a_constant_image_stays_finite_and_constant(mode: Mode, value: float) -> None:
    image = torch.full((2, 1, *SIDES[3]), value)
    new = apply_flow(image, drawn(image), styled(mode))
    assert torch.isfinite(new).all()
    assert float((new - new[:, :, :1, :1, :1]).abs().max()) <= 1e-4 * float(new.abs().max())


def test_an_absent_channel_stays_zero_among_others() -> None:
    image = images(4, 3)
    image[1, 2] = 0
    image[2, 0] = 0
    new = apply_flow(image, drawn(image), styled(modalities=3))
    assert torch.equal((new == 0).flatten(2).all(2), (image == 0).flatten(2).all(2))


def test_each_channel_is_mapped_alone_by_its_own_modality() -> None:
    model, image = styled(modalities=2), images(2, 2)
    image[:, 1] = image[:, 0]
    draw = with_alpha(drawn(image), 1.0)
    draw = dataclasses.replace(draw, noise=draw.noise[:1].expand(4, -1, -1))
    new = apply_flow(image, draw, model)
    assert not torch.allclose(new[:, 0], new[:, 1])
    other = image.clone()
    other[:, 1] *= -2.0
    torch.testing.assert_close(apply_flow(other, draw, model)[:, 0], new[:, 0])


def test_samples_that_were_not_drawn_pass_bit_for_bit() -> None:
    image = images(40)
    draw = draw_flow(seeded(), image.shape, probability=0.5)
    changed = (apply_flow(image, draw, styled()) != image).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == draw.samples.tolist()
    assert 8 < len(draw.samples) < 32


def test_probability_zero_changes_nothing_and_returns_a_new_tensor() -> None:
    image = images()
    new = apply_flow(image, draw_flow(seeded(), image.shape, probability=0.0), styled())
    assert torch.equal(new, image)
    assert new.data_ptr() != image.data_ptr()


def test_voxels_that_change_places_take_their_intensities_along() -> None:
    """The map is one function of intensity and context: it cannot move anatomy."""
    model, image = styled(), images(1)
    u = image[:, 0]
    pairs = torch.stack([u.flatten(1), context(u).flatten(1)], dim=-1)
    order = torch.randperm(pairs.shape[1], generator=seeded(1))
    noise, modality, nodes = draw_noise(seeded(), 1), torch.tensor([0]), (24, 24)
    with torch.no_grad():
        new = model.interpolate(pairs, modality, noise, nodes=nodes)
        shuffled = model.interpolate(pairs[:, order], modality, noise, nodes=nodes)
    torch.testing.assert_close(shuffled, new[:, order])


@BOTH
def test_the_interpolated_map_is_the_exact_one_within_a_hundredth_of_a_standard_deviation_on_average(
    mode: Mode,
) -> None:
    model, image = styled(mode, nodes=FlowSettings().nodes), images(6)
    u = image[:, 0]
    pairs = torch.stack([u.flatten(1), context(u).flatten(1)], dim=-1)
    noise, modality = draw_noise(seeded(), 6), torch.zeros(6, dtype=torch.long)
    with torch.no_grad():
        exact = model.remap(pairs, modality, noise)
        error = (model.interpolate(pairs, modality, noise, nodes=model.settings.nodes) - exact).abs()
    assert float(error.mean()) < 0.01 * float(u.std())
    assert float(error.quantile(0.99)) < 0.05 * float(u.std())


@given(seed=st.integers(0, 2**31))
@PROPERTY
def test_in_spline_mode_new_intensities_rise_strictly_with_the_old_at_equal_context(seed: int) -> None:
    model = styled("spline", seed=seed)
    u = torch.linspace(-6.0, 6.0, 200).repeat(3)
    m = torch.tensor([-1.0, 0.0, 1.5]).repeat_interleave(200)
    with torch.no_grad():
        pairs, noise = torch.stack([u, m], dim=-1)[None], draw_noise(seeded(seed), 1)
        for new in (
            model.remap(pairs, torch.tensor([0]), noise),
            model.interpolate(pairs, torch.tensor([0]), noise, nodes=(24, 24)),
        ):
            assert (new.view(3, 200).diff(dim=1) > 0).all()


@given(seed=st.integers(0, 2**31), mean=st.floats(-3.0, 3.0), spread=st.floats(0.01, 3.0))
@PROPERTY
def test_every_style_has_positive_slope(seed: int, mean: float, spread: float) -> None:
    style = Style(FlowSettings()).double()
    with torch.no_grad():
        style.mean.fill_(mean)
        style.log_spread.fill_(spread).log_()
    latent = torch.linspace(-8.0, 8.0, 401, dtype=torch.float64).view(1, -1, 1).repeat(64, 1, 2)
    latent.requires_grad_()
    noise = draw_noise(seeded(seed), 64).double()
    (slope,) = torch.autograd.grad(style(latent, noise).sum(), latent)
    scale, _, _ = style.theta(noise)
    assert (slope >= 0.099 * scale[:, None]).all()


def test_styles_begin_with_the_spreads_of_the_settings() -> None:
    with torch.no_grad():
        scale, shift, bend = Style(FlowSettings()).theta(draw_noise(seeded(), 4000))
    assert float(scale.log().std()) == pytest.approx(0.3, rel=0.05)
    assert float(shift.std()) == pytest.approx(0.3, rel=0.05)
    assert 0.49 < float(bend.abs().max()) <= 0.5


def test_in_spline_mode_contexts_get_no_style() -> None:
    latent = torch.randn(2, 5, 2, generator=seeded())
    new = Style(FlowSettings(mode="spline"))(latent, draw_noise(seeded(), 2))
    assert torch.equal(new[..., 1], latent[..., 1])
    assert not torch.allclose(new[..., 0], latent[..., 0])


@BOTH
@DIMS
def test_the_augmentation_runs_on_the_meta_device(mode: Mode, dims: int) -> None:
    image = images(4, 2, dims=dims)
    draw, model = drawn(image), styled(mode, modalities=2).to("meta")
    assert apply_flow(image.to("meta"), draw, model).shape == image.shape


def test_low_precision_images_keep_their_type() -> None:
    image = images().to(torch.bfloat16)
    assert apply_flow(image, drawn(image), styled()).dtype == torch.bfloat16
