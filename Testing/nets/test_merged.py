from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from FedSegCore.nets.merged import MergedNet


class Constant(nn.Module):
    """Answers the same logits everywhere."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, image: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (image.ndim - 2))
        return self.logits.view(shape).expand(image.shape[0], -1, *image.shape[2:])


def probabilities(net: nn.Module, *sides: int) -> Tensor:
    return torch.sigmoid(net(torch.zeros(2, 1, *sides)))[0].flatten(1)[:, 0]


@pytest.mark.parametrize("sides", [(4, 4), (4, 4, 4)])
def test_a_structure_is_the_mean_probability_over_its_annotators(sides: tuple[int, ...]) -> None:
    net = MergedNet(
        [Constant([2.0, -1.0]), Constant([-1.0, 3.0]), Constant([9.0, 9.0])],
        [[True, False], [True, True], [False, True]],
    )
    mean = [torch.sigmoid(torch.tensor(pair)).mean() for pair in ([2.0, -1.0], [3.0, 9.0])]
    torch.testing.assert_close(probabilities(net, *sides), torch.stack(mean), atol=1e-5, rtol=1e-5)


def test_what_nobody_annotates_is_never_predicted() -> None:
    net = MergedNet([Constant([9.0, 9.0]), Constant([9.0, 9.0])], [[True, False], [True, False]])
    liver, kidney = probabilities(net, 4, 4)
    assert liver > 0.99 and kidney < 1e-5


def test_one_member_alone_is_itself() -> None:
    net = MergedNet([Constant([1.5, -2.5])], [[True, True]])
    torch.testing.assert_close(net(torch.zeros(1, 1, 2, 2))[0, :, 0, 0], torch.tensor([1.5, -2.5]))


def test_certain_members_give_finite_logits() -> None:
    net = MergedNet([Constant([200.0, -200.0])], [[True, True]])
    assert torch.isfinite(net(torch.zeros(1, 1, 2, 2))).all()


def test_it_moves_and_keeps_its_annotators_with_its_weights() -> None:
    net = MergedNet([Constant([1.0])], [[True]])
    assert net.to(torch.float64).annotates.dtype == torch.float64
    assert "annotates" in net.state_dict()
