"""The flow: methods 1.8, items 10 and 11."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.learning.flow.context import context
from FedSegCore.learning.flow.couplings import Coupling, Flow
from FedSegCore.learning.flow.settings import FlowSettings, Mode

pytestmark = pytest.mark.usefixtures("one_thread")

MODES: tuple[Mode, ...] = ("alternating", "spline")
BOTH = pytest.mark.parametrize("mode", MODES)
PROPERTY = settings(max_examples=10, deadline=None)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(rows: int = 2, *, seed: int = 0) -> Tensor:
    """Pairs of the means, spreads and correlation that intensities and their contexts have."""
    u, noise = torch.randn(2, rows, 200, generator=seeded(seed)).unbind(0)
    return torch.stack([1.5 * u + 0.3, 0.6 * u + 0.2 * noise], dim=-1)


def flow(mode: Mode = "alternating", *, modalities: int = 2, seed: int = 0, strength: float = 0.2) -> Flow:
    """A flow as it might be after long training: every weight random, ActNorm set from data."""
    made = Flow(FlowSettings(mode=mode), modalities=modalities)
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(strength * torch.randn(parameter.shape, generator=generator))
    made.fit_norms(pairs(), torch.tensor([0, 1]))
    return made


MODALITY = torch.tensor([0, 1])


@given(seed=st.integers(0, 2**31), mode=st.sampled_from(MODES))
@PROPERTY
def test_the_inverse_gives_every_pair_back(seed: int, mode: Mode) -> None:
    one, v = flow(mode, seed=seed), pairs(seed=seed)
    with torch.no_grad():
        back = one.inverse(one(v, MODALITY)[0], MODALITY)
    assert float((back - v).abs().max()) < 1e-4


def test_the_log_determinant_is_that_of_autograds_jacobian() -> None:
    one = flow().double()
    v = pairs(1)[:, :20].double()
    z, log_det = one(v, MODALITY[:1])
    jacobian = torch.func.vmap(torch.func.jacrev(lambda pair: one(pair[None, None], MODALITY[:1])[0][0, 0]))(
        v[0]
    )
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet)
    assert z.shape == v.shape


def test_in_spline_mode_the_log_determinant_is_that_of_u_alone() -> None:
    one = flow("spline").double()
    v = pairs().double().requires_grad_()
    z, log_det = one(v, MODALITY)
    (slope,) = torch.autograd.grad(z[..., 0].sum(), v)
    torch.testing.assert_close(log_det, slope[..., 0].log())


@BOTH
def test_a_new_flow_is_the_identity(mode: Mode) -> None:
    v = pairs()
    z, log_det = Flow(FlowSettings(mode=mode), modalities=2)(v, MODALITY)
    torch.testing.assert_close(z, v, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-5)


@BOTH
def test_with_norms_from_data_a_new_flow_only_standardizes(mode: Mode) -> None:
    v = pairs()
    one = Flow(FlowSettings(mode=mode), modalities=2)
    one.fit_norms(v, MODALITY)
    flat = v.flatten(0, 1)
    wanted = (v - flat.mean(0)) / flat.std(0, unbiased=False)
    torch.testing.assert_close(one(v, MODALITY)[0], wanted, rtol=1e-4, atol=1e-4)


@BOTH
def test_norms_are_fixed_and_no_parameters(mode: Mode) -> None:
    names = [name for name, _ in Flow(FlowSettings(mode=mode), modalities=1).named_parameters()]
    assert not [name for name in names if name.startswith(("first", "last"))]


@BOTH
def test_there_are_exactly_eight_coupling_layers(mode: Mode) -> None:
    couplings = [part for part in flow(mode).modules() if isinstance(part, Coupling)]
    assert len(couplings) == 8
    moved = [part.moved for part in couplings]
    assert moved == ([0, 1] * 4 if mode == "alternating" else [0] * 8)


@BOTH
def test_the_latent_of_a_pair_depends_on_its_modality_and_on_no_other_pair(mode: Mode) -> None:
    one, v = flow(mode), pairs()
    with torch.no_grad():
        whole = one(v, MODALITY)[0]
        torch.testing.assert_close(one(v[:, :3], MODALITY)[0], whole[:, :3], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(one(v, MODALITY.flip(0))[0], whole)


def test_in_spline_mode_latents_rise_strictly_with_u_and_contexts_stay_apart() -> None:
    one = flow("spline", strength=0.5).double()
    u = torch.linspace(-12.0, 12.0, 500, dtype=torch.float64)
    for m in (-2.0, 0.0, 1.0):
        v = torch.stack([u, torch.full_like(u, m)], dim=-1)[None]
        with torch.no_grad():
            z, _ = one(v, MODALITY[:1])
        assert (z[0, :, 0].diff() > 0).all()
        assert len(z[..., 1].unique()) == 1


@pytest.mark.parametrize("sides", [(9, 11), (9, 11, 13)])
def test_context_is_a_gaussian_of_two_voxels_that_keeps_constants(sides: tuple[int, ...]) -> None:
    torch.testing.assert_close(context(torch.full((2, *sides), 3.0)), torch.full((2, *sides), 3.0))
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1.0
    blurred = context(point)[0]
    place = torch.arange(41.0) - 20.0
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-4)
    assert float((blurred.sum(0) * place.square()).sum()) ** 0.5 == pytest.approx(2.0, rel=0.03)
