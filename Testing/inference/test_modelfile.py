from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from FedSegCore.errors import ModelFileError
from FedSegCore.inference.modelfile import Member, ModelHeader, assemble, load_model, save_model
from FedSegCore.nets.merged import MergedNet
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.header import read_header
from Testing.inference.conftest import MakeWeights


def test_equal_content_gives_equal_bytes(
    header: ModelHeader, weights_of: MakeWeights, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shuffled = dict(reversed(weights_of(header).items())) if name == "two" else weights_of(header)
        save_model(tmp_path / name, shuffled, header)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_header_survives_file_and_json(header: ModelHeader, two_d: ModelHeader, tmp_path: Path) -> None:
    rich = replace(
        header, overlapping=True, inputs=(("T1",), ("T2", "FLAIR")), owned=("T1",), known=("Liver",),
        members=(Member("north", ("Liver",)), Member("south", ("Liver", "Kidney"))),
    )  # fmt: skip
    for number, one in enumerate((header, two_d, rich)):
        path = tmp_path / str(number)
        save_model(path, {}, one)
        assert ModelHeader.from_dict(read_header(path), str(path)) == one
        assert ModelHeader.from_dict(json.loads(json.dumps(one.to_dict())), "text") == one


def test_a_header_tells_nothing_of_time_host_path_or_score(header: ModelHeader, tmp_path: Path) -> None:
    save_model(tmp_path / "a", {}, header)
    assert set(read_header(tmp_path / "a")) == {
        *("format", "sha256", "kind", "use", "study", "method", "name", "labels", "known", "overlapping"),
        *("inputs", "owned", "plan", "network", "sites", "licences", "members"),
    }


def test_a_loaded_model_has_its_weights_and_is_ready_for_use(
    header: ModelHeader, weights_of: MakeWeights, tmp_path: Path
) -> None:
    weights = weights_of(header)
    save_model(tmp_path / "a", weights, header)
    model = load_model(tmp_path / "a")
    assert model.header == header and not model.net.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.net.state_dict().items())


@pytest.mark.parametrize("key", ["labels", "plan", "network", "inputs", "members", "sites"])
@pytest.mark.parametrize("value", [None, 3, [3]])
def test_a_header_with_strange_values_is_refused(key: str, value: object, header: ModelHeader) -> None:
    with pytest.raises(ModelFileError, match=r"a\.safetensors"):
        ModelHeader.from_dict({**header.to_dict(), key: value}, "a.safetensors")


def test_a_header_that_lacks_a_key_or_is_of_another_kind_is_refused(header: ModelHeader) -> None:
    raw = header.to_dict()
    for key in raw.keys() - {"use"}:
        with pytest.raises(ModelFileError):
            ModelHeader.from_dict({k: v for k, v in raw.items() if k != key}, "a")
    with pytest.raises(ModelFileError, match="checkpoint, not a model"):
        ModelHeader.from_dict({"digest": "0"}, "a")
    with pytest.raises(ModelFileError, match="message, not a model"):
        ModelHeader.from_dict({}, "a")


def test_weights_of_another_network_are_refused(header: ModelHeader, weights_of: MakeWeights) -> None:
    weights = weights_of(header)
    name = next(iter(weights))
    for wrong in (
        {k: v for k, v in weights.items() if k != name},
        {**weights, "more": torch.zeros(1)},
        {**weights, name: torch.zeros(1, 2, 3)},
        {},
    ):
        with pytest.raises(ModelFileError, match="Fetch the file again"):
            assemble(header, wrong, source="a")


def test_a_merged_model_shares_its_trunk_and_has_a_set_of_private_parts_a_member(
    header: ModelHeader, weights_of: MakeWeights, tmp_path: Path
) -> None:
    merged = replace(header, members=(Member("north", ("Liver",)), Member("south", ("Liver", "Kidney"))))
    trunk = {name: t for name, t in weights_of(header).items() if not name.startswith("head")}
    heads = [
        {n: t for n, t in weights_of(header, seed=seed).items() if n.startswith("head")} for seed in (1, 2)
    ]
    private = {f"members/{place}/{name}": t for place, head in enumerate(heads) for name, t in head.items()}
    save_model(tmp_path / "a", {**trunk, **private}, merged)
    net = load_model(tmp_path / "a").net
    assert isinstance(net, MergedNet) and len(net.members) == 2
    for member, head in zip(net.members, heads, strict=True):
        assert all(torch.equal(t, {**trunk, **head}[name]) for name, t in member.state_dict().items())


def test_a_merged_model_that_lacks_a_members_part_is_refused(
    header: ModelHeader, weights_of: MakeWeights
) -> None:
    merged = replace(header, members=(Member("north", ("Liver",)),))
    trunk = {name: t for name, t in weights_of(header).items() if not name.startswith("head")}
    with pytest.raises(ModelFileError):
        assemble(merged, trunk)


def test_a_file_that_says_it_is_a_model_but_holds_nothing_is_refused(
    header: ModelHeader, tmp_path: Path
) -> None:
    tensorfile.save(tmp_path / "a", {}, header.to_dict())
    with pytest.raises(ModelFileError, match="does not hold the weights"):
        load_model(tmp_path / "a")
