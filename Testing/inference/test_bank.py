from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from FedSegCore.errors import FedSegError, ModelFileError, UsageError
from FedSegCore.inference.bank import read_bank
from FedSegCore.inference.modelfile import Member, ModelHeader, save_model
from FedSegCore.nets.unet import Network
from Testing.inference.conftest import MakeBank, MakeWeights


def test_the_global_model_comes_last_and_begins_with_half_of_the_weight(
    header: ModelHeader, bank_of: MakeBank
) -> None:
    bank = read_bank(bank_of(header, "south", "north"))
    assert [expert.source for expert in bank.experts] == ["north", "south", "global"]
    assert bank.base == 2 and bank.shares == (0.25, 0.25, 0.5)


def test_without_a_global_model_all_begin_alike(header: ModelHeader, bank_of: MakeBank) -> None:
    bank = read_bank(bank_of(header, "a", "b", "c", "d", whole=False))
    assert bank.base is None and bank.shares == (0.25,) * 4


def test_the_global_model_of_a_single_site_is_not_taken_for_that_sites_own(
    header: ModelHeader, bank_of: MakeBank
) -> None:
    bank = read_bank(bank_of(header, "north"))
    assert [expert.source for expert in bank.experts] == ["north", "global"]


def test_a_bank_knows_what_one_of_its_models_learnt(
    header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(replace(header, known=("Liver",)), "north", "south", whole=False)
    other = replace(header, name="personal-west", known=("Kidney",), sites=(("west", 5),), licences=("MIT",))
    save_model(folder / "personal-west.safetensors", weights_of(header), other)
    bank = read_bank(folder)
    assert bank.header.known == ("Liver", "Kidney")
    assert bank.knows.tolist() == [[True, False], [True, False], [False, True]]
    assert bank.header.sites == (("north", 3), ("south", 3), ("west", 5))
    assert bank.header.licences == ("CC0 1.0", "MIT")


def test_a_hospital_outside_would_not_have_its_own_model(header: ModelHeader, bank_of: MakeBank) -> None:
    bank = read_bank(bank_of(header, "north", "south")).without("north")
    assert [expert.source for expert in bank.experts] == ["south", "global"]


def refusal(folder: Path) -> FedSegError:
    with pytest.raises((UsageError, ModelFileError)) as caught:
        read_bank(folder)
    assert caught.value.exit_code == 2 and caught.value.fix
    return caught.value


def test_no_folder_an_empty_one_and_one_model_are_refused(
    header: ModelHeader, bank_of: MakeBank, tmp_path: Path
) -> None:
    assert "no folder" in refusal(tmp_path / "nowhere").message
    (tmp_path / "empty").mkdir()
    assert "holds none" in refusal(tmp_path / "empty").message
    assert "holds 1" in refusal(bank_of(header, "north", whole=False)).message


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("network", {"network": Network(channels=(4, 16))}),
        ("labels", {"labels": (("Liver", 1), ("Spleen", 2)), "known": ("Liver", "Spleen")}),
        ("inputs", {"inputs": (("CT",), ("MR",))}),
        ("overlapping", {"overlapping": True}),
    ],
)
def test_models_that_do_not_fit_together_are_refused_with_both_names(
    key: str, changed: dict[str, object], header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(header, "north")
    stranger = replace(header, name="personal-zoo", sites=(("zoo", 1),), **changed)  # type: ignore[arg-type]
    save_model(folder / "personal-zoo.safetensors", weights_of(stranger), stranger)
    message = refusal(folder).message
    assert f"must share {key}" in message and "personal-zoo.safetensors" in message


def test_a_2d_model_does_not_join_a_3d_bank(
    header: ModelHeader, two_d: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(header, "north")
    save_model(folder / "flat.safetensors", weights_of(two_d), replace(two_d, name="personal-flat"))
    assert "must share plan" in refusal(folder).message


def test_a_merged_model_and_two_of_one_site_are_refused(
    header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(header, "north")
    shutil.copy(folder / "personal-north.safetensors", folder / "copy.safetensors")
    assert "both of north" in refusal(folder).message
    (folder / "copy.safetensors").unlink()
    weights = {f"members/0/{name}": tensor for name, tensor in weights_of(header).items()}
    merged = replace(header, name="global", members=(Member("north", ("Liver",)),))
    save_model(folder / "global.safetensors", weights, merged)
    assert "cannot be routed" in refusal(folder).message


def test_beside_two_single_networks_a_merged_one_is_left_out_and_named(
    header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(header, "north", "south", whole=False)
    weights = {f"members/0/{name}": tensor for name, tensor in weights_of(header).items()}
    merged = replace(header, name="global", members=(Member("north", ("Liver",)),))
    save_model(folder / "global.safetensors", weights, merged)
    bank = read_bank(folder)
    assert [expert.source for expert in bank.experts] == ["north", "south"]
    assert [expert.path.name for expert in bank.left_out] == ["global.safetensors"]


def test_a_foreign_file_is_refused(header: ModelHeader, bank_of: MakeBank) -> None:
    folder = bank_of(header, "north")
    (folder / "other.safetensors").write_bytes(b"nothing")
    assert refusal(folder)


def test_experts_are_read_one_after_the_other(header: ModelHeader, bank_of: MakeBank) -> None:
    bank = read_bank(bank_of(header, "north", "south"))
    first, second, _ = bank.weights()
    assert first.keys() == second.keys()
    assert not torch.equal(first["head.conv.weight"], second["head.conv.weight"])


@pytest.mark.parametrize("change", ["missing", "broadcast"])
def test_weights_of_another_network_are_refused_when_they_are_read(
    change: str, header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    folder = bank_of(header, "north")
    weights = weights_of(header)
    if change == "missing":
        del weights["head.conv.bias"]
    else:
        weights["head.conv.weight"] = torch.zeros(1, 1, 1, 1, 1)
    save_model(
        folder / "personal-south.safetensors", weights, replace(header, name="x", sites=(("south", 1),))
    )
    with pytest.raises(ModelFileError, match=r"personal-south\.safetensors"):
        list(read_bank(folder).weights())


def test_models_of_several_inputs_must_have_learnt_from_the_same_ones(
    header: ModelHeader, bank_of: MakeBank, weights_of: MakeWeights
) -> None:
    both = replace(header, inputs=(("T1",), ("FLAIR",)), owned=("T1", "FLAIR"))
    folder = bank_of(both, "north")
    some = replace(both, name="personal-south", owned=("T1",), sites=(("south", 1),))
    save_model(folder / "personal-south.safetensors", weights_of(some), some)
    assert "must share owned" in refusal(folder).message
