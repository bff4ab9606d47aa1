from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from FedSegCore.nets.convolve import CONVOLUTIONS, Shape, convolve
from FedSegCore.nets.routing import (
    Gate,
    Granularity,
    Routed,
    norm_parameters,
    route,
    set_views,
    use_batch_statistics,
)
from FedSegCore.tensors import weights as algebra
from Testing.phantoms import seeded, small_net

SIDES = {2: (8, 16), 3: (8, 8, 16)}


def experts_of(dims: int = 2, *, norm: str = "instance", number: int = 3) -> list[nn.Module]:
    """Networks of one architecture with weights of their own, norm layers included."""
    nets = []
    for seed in range(number):
        net = small_net(norm=norm, dims=dims, seed=seed)  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter in norm_parameters(net):
                parameter += 0.1 * torch.randn(parameter.shape, generator=seeded(seed))
        nets.append(net.eval())
    return nets


def routed(
    nets: Sequence[nn.Module], shares: Sequence[float] | None = None, *, dims: int = 2, norm: str = "instance",
    gate: Gate = "softmax", granularity: Granularity = "batch", base: int | None = -1,
    knows: Tensor | None = None,
) -> tuple[nn.Module, dict[str, Routed]]:  # fmt: skip
    net = small_net(norm=norm, dims=dims, seed=99)  # type: ignore[arg-type]
    shares = shares or [1 / len(nets)] * len(nets)
    base = len(nets) - 1 if base == -1 else base
    layers = route(net, map(algebra.of, nets), shares, generator=seeded(), gate=gate, granularity=granularity,
                   base=base, knows=knows)  # fmt: skip
    watch(layers)
    return net.eval(), layers


def images(dims: int = 2, *, batch: int = 2) -> Tensor:
    return torch.randn(batch, 1, *SIDES[dims], generator=seeded(7))


def watch(layers: dict[str, Routed]) -> None:
    """Let the layers note their gates from now on."""
    for layer in layers.values():
        layer.seen = []


def gates_of(layer: Routed) -> Tensor:
    """The gates of the last forward pass."""
    assert layer.seen
    return layer.seen[-1]


def stir(layers: dict[str, Routed]) -> None:
    """Routers that have left their start."""
    generator = seeded(3)
    with torch.no_grad():
        for layer in layers.values():
            for parameter in layer.router.parameters():
                parameter += 0.5 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_convolution_and_transposed_convolution_is_routed_with_all_experts(dims: int) -> None:
    nets = experts_of(dims, number=6)
    wanted = {name for name, module in nets[0].named_modules() if isinstance(module, CONVOLUTIONS)}
    net, layers = routed(nets, dims=dims)
    assert layers.keys() == wanted and not any(isinstance(m, CONVOLUTIONS) for m in net.modules())
    assert {len(layer.kernels) for layer in layers.values()} == {6}
    assert any(layer.shape.transposed for layer in layers.values())


def test_the_kernels_are_the_banks_bit_for_bit_and_receive_no_gradient() -> None:
    nets = experts_of()
    net, layers = routed(nets)
    net(images()).sum().backward()
    for name, layer in layers.items():
        for place, expert in enumerate(nets):
            assert torch.equal(layer.kernels[place], expert.state_dict()[f"{name}.weight"])
        assert layer.kernels.grad is None and not layer.kernels.requires_grad
        assert layer.router.logits.grad is not None


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("granularity", ["sample", "batch", "static"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_one_hot_routing_is_that_expert(dims: int, granularity: Granularity, norm: str) -> None:
    nets = experts_of(dims, norm=norm)
    for place, expert in enumerate(nets):
        shares = [0.0, 0.0, 0.0]
        shares[place] = 1.0
        net, _ = routed(nets, shares, dims=dims, norm=norm, granularity=granularity, base=place)
        torch.testing.assert_close(net(images(dims)), expert(images(dims)), rtol=1e-5, atol=1e-5)


def test_with_equal_experts_the_gates_do_not_matter() -> None:
    expert = experts_of(number=1)[0]
    net, layers = routed([expert, expert, expert], granularity="sample")
    stir(layers)
    torch.testing.assert_close(net(images()), expert(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("granularity", ["sample", "batch", "static"])
def test_softmax_gates_are_positive_and_sum_to_one_in_every_layer(granularity: Granularity) -> None:
    net, layers = routed(experts_of(), granularity=granularity)
    stir(layers)
    net(images())
    for layer in layers.values():
        gates = gates_of(layer)
        assert gates.shape == ((2, 3) if granularity == "sample" else (3,))
        assert (gates >= 0).all()
        torch.testing.assert_close(gates.sum(-1), torch.ones(gates.shape[:-1]))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_granularities_agree_where_all_samples_are_alike(dims: int, gate: Gate) -> None:
    nets = experts_of(dims)
    image = images(dims, batch=1).expand(3, -1, *SIDES[dims])
    found = []
    for granularity in ("sample", "batch"):
        net, layers = routed(nets, dims=dims, gate=gate, granularity=granularity)  # type: ignore[arg-type]
        stir(layers)
        found.append(net(image))
        gates = {name: gates_of(layer) for name, layer in layers.items()}
    net, layers = routed(nets, dims=dims, gate=gate, granularity="static")
    with torch.no_grad():
        for name, layer in layers.items():
            last = gates[name]
            layer.router.logits.copy_(last.log() if gate == "softmax" else torch.logit(last))
    found.append(net(image))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_routing_begins_as_the_plain_mean_of_the_experts(gate: Gate) -> None:
    shares = [0.25, 0.25, 0.5]
    net, layers = routed(experts_of(), shares, gate=gate, granularity="sample")
    net(images())
    for layer in layers.values():
        torch.testing.assert_close(gates_of(layer), torch.tensor([shares, shares]))


def test_a_structure_is_routed_among_the_experts_that_learnt_it() -> None:
    nets = experts_of()
    knows = torch.tensor([[True, False], [True, False], [False, False]])
    _, layers = routed(nets, [0.2, 0.2, 0.6], knows=knows)
    head = next(layer for layer in layers.values() if layer.knows is not None)
    assert [name for name, layer in layers.items() if layer.knows is not None] == ["head.conv"]
    features = torch.randn(1, 4, 8, 8, generator=seeded(1))
    weights = torch.tensor(
        [[0.5, 0.2], [0.5, 0.2], [0.0, 0.6]]
    )  # nobody learnt the second: mixed as the rest
    kernel = torch.einsum("eo,eocxy->ocxy", weights, head.kernels)
    assert head.biases is not None
    bias = torch.einsum("eo,eo->o", weights, head.biases)
    expected = nn.functional.conv2d(features, kernel, bias)
    torch.testing.assert_close(head(features), expected, rtol=1e-5, atol=1e-5)


def test_norm_layers_come_from_the_base_or_are_the_mean_of_all() -> None:
    nets = experts_of()
    alone, _ = routed(nets, base=1)
    for found, wanted in zip(norm_parameters(alone), norm_parameters(nets[1]), strict=True):
        assert torch.equal(found, wanted)
    mean, _ = routed(nets, [0.5, 0.25, 0.25], base=None)
    parts = zip(norm_parameters(mean), *map(norm_parameters, nets), strict=True)
    for found, first, second, third in parts:
        torch.testing.assert_close(found, 0.5 * first + 0.25 * second + 0.25 * third)


def test_no_state_dict_carries_the_bank_along() -> None:
    net, layers = routed(experts_of())
    assert not any("kernels" in key or "biases" in key for key in net.state_dict())
    assert len(layers) > 0


def test_too_few_or_too_many_experts_are_refused() -> None:
    nets = experts_of()
    with pytest.raises(ValueError, match="longer"):
        routed(nets, [0.5, 0.5], base=None)
    with pytest.raises(ValueError, match="sum to one"):
        routed(nets, [0.5, 0.5, 0.5], base=None)


def test_batch_statistics_are_those_of_the_batch_in_evaluation_too() -> None:
    net = experts_of(norm="batch", number=1)[0]
    image = 3.0 + images()
    before = net(image)
    use_batch_statistics(net)
    own = net(image)
    assert not torch.allclose(before, own)
    reference = small_net(norm="batch")
    reference.load_state_dict(experts_of(norm="batch", number=1)[0].state_dict())
    torch.testing.assert_close(own, reference.train()(image))
    assert all("running" not in key for key in net.state_dict())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["conv", "point", "up"])
def test_a_kernel_a_sample_is_the_layer_sample_by_sample(dims: int, stride: int, kind: str) -> None:
    conv = nn.Conv2d if dims == 2 else nn.Conv3d
    up = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    layers = [
        {"conv": conv(3, 5, 3, stride, 1), "point": conv(3, 5, 1, stride), "up": up(3, 5, stride, stride)}[
            kind
        ]
        for _ in range(4)
    ]
    input = torch.randn(4, 3, *SIDES[dims], generator=seeded(2))
    weight = torch.stack([layer.weight for layer in layers])
    bias = torch.stack([layer.bias for layer in layers if layer.bias is not None])
    found = convolve(Shape.of(layers[0]), input, weight, bias)
    for place, layer in enumerate(layers):
        torch.testing.assert_close(found[place], layer(input[place : place + 1])[0], rtol=1e-4, atol=1e-4)
        one = convolve(Shape.of(layer), input, layer.weight, layer.bias)
        torch.testing.assert_close(one, layer(input), rtol=1e-4, atol=1e-4)


def test_a_layer_in_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="one group"):
        Shape.of(nn.Conv2d(4, 4, 3, groups=2))


@pytest.mark.parametrize("granularity", ["sample", "batch", "static"])
def test_a_step_runs_on_the_meta_device(granularity: Granularity) -> None:
    net, _ = routed(experts_of(), granularity=granularity)
    net.to("meta").train()
    net(images().to("meta")).square().mean().backward()


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("granularity", ["sample", "batch", "static"])
def test_two_views_in_one_batch_are_two_forward_passes_of_the_first_views_network(
    norm: str, granularity: Granularity
) -> None:
    net, layers = routed(experts_of(norm=norm), norm=norm, granularity=granularity)
    use_batch_statistics(net)
    stir(layers)
    first, second = images(), 3.0 * images() + 1.0
    alone = net(first)
    gates = {name: gates_of(layer) for name, layer in layers.items()}
    set_views(net, 2)
    together, other = net(torch.cat([first, second])).chunk(2)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    for name, layer in layers.items():
        torch.testing.assert_close(gates_of(layer), gates[name])
    if granularity == "static":
        set_views(net, 1)
        torch.testing.assert_close(other, net(second), rtol=1e-4, atol=1e-4)
