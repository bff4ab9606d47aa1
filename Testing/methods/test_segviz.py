"""SegViz: methods 3.7; what all of the averaging family has in common is in `test_averaging`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from FedSegCore.federation.method import Published
from FedSegCore.learning.losses import decode
from FedSegCore.learning.predict import predict
from FedSegCore.methods import segviz
from FedSegCore.methods.averaging import Averaging
from FedSegCore.methods.registry import named
from FedSegCore.nets.merged import MergedNet
from FedSegCore.nets.parts import norm_keys, part_of
from FedSegCore.tensors import weights as algebra
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import (
    LABELS,
    Federation,
    cached_case,
    equal,
    kept,
    make_site,
    personal_of,
    small_net,
    updates,
)

pytestmark = pytest.mark.usefixtures("one_thread")

MASKED = segviz.with_form(segviz.METHOD, "masked")


def partial_sites() -> list[Any]:
    """Each site annotates one structure."""
    return [
        make_site("a", labels=LABELS[:1], norm="batch"),
        make_site("b", labels=LABELS[1:], cases=3, norm="batch"),
    ]


def merged(published: Published) -> MergedNet:
    """The published model, put together as a reader of its file does."""
    nets = []
    for place in range(len(published.members)):
        net, prefix = small_net(norm="batch"), f"members/{place}/"
        own = {n.removeprefix(prefix): t for n, t in published.weights.items() if n.startswith(prefix)}
        shared = {n: t for n, t in published.weights.items() if not n.startswith("members/")}
        algebra.load(net, {**shared, **own})
        assert shared.keys() | own.keys() == net.state_dict().keys()
        nets.append(net)
    return MergedNet(nets, [[label in member.labels for label in LABELS] for member in published.members])


def test_the_paper_keeps_head_and_norms_and_averages_the_trunk_unweighted() -> None:
    assert Averaging(private=("norm", "head"), weighting="uniform", publish_private=True) == segviz.METHOD
    assert named("segviz", {}).norm == "batch"
    assert MASKED.private == ("norm",)
    assert segviz.with_form(MASKED, "heads") == segviz.METHOD


def test_head_and_norm_sets_are_not_empty_and_the_trunk_is_the_rest() -> None:
    net = small_net(norm="batch")
    head = {name for name, part in part_of(net).items() if part == "head"}
    norms, trunk = norm_keys(net), segviz.METHOD._shared(algebra.of(net), net).keys()
    assert head
    assert norms
    assert not head & norms
    assert trunk == net.state_dict().keys() - head - norms


@pytest.mark.parametrize("method", [segviz.METHOD, MASKED], ids=["heads", "masked"])
def test_rounds_never_carry_norms_and_the_heads_form_no_head(tmp_path: Path, method: Averaging) -> None:
    run = Federation(tmp_path, method, partial_sites())
    run.run()
    hidden = method._private(algebra.of(run.server.model), run.server.model).keys()
    assert norm_keys(run.server.model) <= hidden
    for weights in updates(run).values():
        assert not weights.keys() & hidden
    for _, _, data in (*run.wire.down, *run.wire.up):
        for name in hidden:
            assert name.encode() not in data


def test_norm_locality_alone_and_head_locality_alone_can_be_had() -> None:
    """The ablation two by two: which of the two is the active ingredient."""
    for private in (["norm"], ["head"], [], ["head", "norm"]):
        assert set(named("segviz", {"private": private}).method.private) == set(private)


def test_the_trunk_is_the_plain_mean_although_sites_differ_in_size(tmp_path: Path) -> None:
    run = Federation(tmp_path, segviz.METHOD, partial_sites(), rounds=1)
    state = run.run()
    sent = updates(run)
    assert sent["a", 1].keys() == state.weights.keys()
    expected = algebra.weighted_mean(state.weights, [(sent[name, 1], 1.0) for name in "ab"])
    assert equal(state.weights, expected)
    assert not equal(state.weights, sent["a", 1]), "the mean really is written back"


def test_the_published_model_is_the_trunk_with_one_head_and_norms_a_site(tmp_path: Path) -> None:
    run = Federation(tmp_path, segviz.METHOD, partial_sites())
    state = run.run()
    published = run.finish(state)["global"]
    assert [member.name for member in published.members] == ["a", "b"]
    for place, name in enumerate("ab"):
        own = kept(run, name, 2).private
        found = {key: published.weights[f"members/{place}/{key}"] for key in own}
        assert equal(found, own)
    assert equal(algebra.select(published.weights, state.weights), state.weights)
    assert len(published.weights) == len(state.weights) + 2 * len(kept(run, "a", 2).private)


def test_the_merged_prediction_has_one_structure_a_voxel_and_all_annotated_structures(tmp_path: Path) -> None:
    run = Federation(tmp_path, segviz.METHOD, partial_sites(), rounds=12)
    net = merged(run.finish(run.run())["global"])
    image = cached_case("new", seed=7).image
    found = decode(predict(net, image, patch=(8, 8)), overlapping=False)
    assert int(found.sum(0).max()) == 1
    assert found.flatten(1).any(1).tolist() == [True, True]


def test_each_structure_comes_from_its_own_annotator() -> None:
    first, second = (small_net(norm="batch", seed=seed).eval() for seed in (1, 2))
    net = MergedNet([first, second], [[True, False], [False, True]]).eval()
    image = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        found, ones, twos = (torch.sigmoid(one(image)) for one in (net, first, second))
    torch.testing.assert_close(found[:, 0], ones[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[:, 1], twos[:, 1], rtol=1e-4, atol=1e-5)


def test_private_parts_are_published_as_they_were_tuned_on_the_final_trunk(tmp_path: Path) -> None:
    method = replace(segviz.METHOD, finetune=1, finetune_parts=("head", "norm"))
    run = Federation(tmp_path, method, partial_sites())
    state = run.run()
    published = run.finish(state)["global"]
    assert equal(algebra.select(published.weights, state.weights), state.weights), "the trunk is everybody's"
    own, tuned = kept(run, "a", 2).private, personal_of(run, "a")
    given = {key: published.weights[f"members/0/{key}"] for key in own}
    assert equal(given, algebra.select(tuned, own))
    assert not torch.equal(given["head.conv.weight"], own["head.conv.weight"])


def test_a_site_lost_at_the_end_is_missing_from_the_published_model(tmp_path: Path) -> None:
    run = Federation(tmp_path, segviz.METHOD, partial_sites(), min_sites=1)
    state = run.run()
    run.wire.alter = lambda site, round, reply: b"" if site == "a" else reply
    published = run.finish(state)["global"]
    assert [member.name for member in published.members] == ["b"]
    assert merged(published)


def head(weights: Weights, row: int) -> torch.Tensor:
    return torch.cat([weights["head.conv.weight"][row].flatten(), weights["head.conv.bias"][row].view(1)])


def test_in_the_masked_form_each_row_of_the_head_is_its_annotators(tmp_path: Path) -> None:
    run = Federation(tmp_path, MASKED, partial_sites())
    state = run.run()
    sent = updates(run)
    assert torch.equal(head(state.weights, 0), head(sent["a", 2], 0))
    assert torch.equal(head(state.weights, 1), head(sent["b", 2], 1))


def test_the_masked_form_publishes_one_head_with_one_set_of_norms_a_site(tmp_path: Path) -> None:
    run = Federation(tmp_path, MASKED, partial_sites())
    published = run.finish(run.run())["global"]
    assert "head.conv.weight" in published.weights
    assert not [name for name in published.weights if name.startswith("members/") and "head" in name]
    assert merged(published)


def test_one_site_alone_is_local_training_bit_for_bit(tmp_path: Path) -> None:
    from FedSegCore.methods.registry import METHODS

    alone = [make_site("a", norm="batch", labels=LABELS[:1])]
    shared = Federation(tmp_path / "1", segviz.METHOD, alone)
    local = Federation(
        tmp_path / "2", METHODS["local"].method, [make_site("a", norm="batch", labels=LABELS[:1])]
    )
    state = shared.run()
    local.run()
    whole = {**state.weights, **kept(shared, "a", 2).private}
    assert equal(whole, kept(local, "a", 2).private)
