from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.errors import ModelFileError
from FedSegCore.tensors.tensorfile import load, pack, save, unpack
from Testing.phantoms import equal

TYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CONTENT = "4d61732acba33be1dd81a90edae88acd79469c05a41b2c0a88fd5e0767355e99"
SMALL = pack({"kernel": torch.arange(3.0), "bias": torch.tensor(7)}, {"name": "north"})


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text(min_size=1, max_size=8), max_size=4, unique=True))
    made = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        kind = draw(st.sampled_from(TYPES))
        made[name] = (10 * torch.rand(shape)).to(kind)
    return {name: tensor for name, tensor in made.items() if name != "__metadata__"}


@given(weights=tensors(), facts=st.dictionaries(st.text(), JSON, max_size=3))
def test_tensors_and_header_come_back_as_they_went_in(
    weights: dict[str, Tensor], facts: dict[str, object]
) -> None:
    facts = {key: value for key, value in facts.items() if key not in ("format", "sha256")}
    header, found = unpack(pack(weights, facts))
    assert equal(found, weights)
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == {
        name: (t.dtype, t.shape) for name, t in weights.items()
    }
    assert {key: value for key, value in header.items() if key not in ("format", "sha256")} == facts


def test_equal_content_is_equal_bytes_whatever_the_order() -> None:
    first = pack({"a": torch.ones(2), "b": torch.zeros(3)}, {"x": 1, "y": [2]})
    second = pack({"b": torch.zeros(3), "a": torch.ones(2)}, {"y": [2], "x": 1})
    assert first == second


def test_the_bytes_are_the_same_in_every_run() -> None:
    header = SMALL[8 : 8 + int.from_bytes(SMALL[:8], "little")]
    told = json.loads(json.loads(header)["__metadata__"]["fedseg"])
    assert told == {"format": 1, "name": "north", "sha256": CONTENT}


def test_any_difference_in_header_or_tensors_is_other_bytes() -> None:
    base = {"a": torch.ones(2)}
    files = [
        pack(base, {}),
        pack(base, {"x": 1}),
        pack({"b": torch.ones(2)}, {}),
        pack({"a": torch.tensor([1.0, 1.0000001])}, {}),
        pack({"a": torch.ones(2, 1)}, {}),
        pack({"a": torch.ones(2, dtype=torch.float64)}, {}),
    ]
    assert len(set(files)) == len(files)


def test_tensors_that_share_memory_are_each_stored() -> None:
    whole = torch.arange(6.0).view(2, 3)
    _, found = unpack(pack({"whole": whole, "again": whole, "row": whole[1], "turned": whole.T}, {}))
    assert equal(found, {"whole": whole, "again": whole, "row": whole[1], "turned": whole.T})


def test_channels_last_tensors_are_stored_in_the_order_of_their_axes() -> None:
    kernel = torch.arange(24.0).view(2, 3, 2, 2)
    strange = kernel.contiguous(memory_format=torch.channels_last)
    assert pack({"kernel": strange}, {}) == pack({"kernel": kernel}, {})


def test_what_is_packed_may_be_trained_further() -> None:
    kernel = torch.nn.Parameter(torch.ones(2))
    data = pack({"kernel": kernel}, {})
    kernel.data.fill_(5)
    found = unpack(data)[1]["kernel"]
    assert found.tolist() == [1, 1]
    assert not found.requires_grad


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_single_altered_bit_is_refused_wherever_it_is(bit: int) -> None:
    for place in range(len(SMALL)):
        altered = bytearray(SMALL)
        altered[place] ^= 1 << bit
        with pytest.raises(ModelFileError):
            unpack(bytes(altered))


def test_other_white_space_behind_the_header_is_refused() -> None:
    place = 7 + int.from_bytes(SMALL[:8], "little")
    assert SMALL[place] == ord(" ")
    for value in b"\t\n\r":
        altered = bytearray(SMALL)
        altered[place] = value
        with pytest.raises(ModelFileError):
            unpack(bytes(altered))


def test_a_file_cut_anywhere_is_refused() -> None:
    for end in range(len(SMALL)):
        with pytest.raises(ModelFileError):
            unpack(SMALL[:end])
    with pytest.raises(ModelFileError):
        unpack(SMALL + b"\0")


def test_an_altered_value_is_told_as_such() -> None:
    altered = bytearray(SMALL)
    altered[-1] ^= 1
    with pytest.raises(ModelFileError, match="altered after it was written"):
        unpack(bytes(altered), "models/global.safetensors")


@given(garbage=st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(ModelFileError):
        unpack(garbage)


@given(garbage=st.binary(max_size=40), place=st.integers(0, len(SMALL)))
def test_garbage_in_the_middle_is_refused(garbage: bytes, place: int) -> None:
    spoilt = SMALL[:place] + garbage + SMALL[place + len(garbage) :]
    if spoilt != SMALL:
        with pytest.raises(ModelFileError):
            unpack(spoilt)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"fedseg": "no JSON"},
        {"fedseg": "[1]"},
        {"fedseg": "3"},
        {"fedseg": "[" * 100_000},
        {"fedseg": '{"format": 1}'},
        {"fedseg": '{"format": 1, "sha256": "0"}', "note": "more"},
    ],
)
def test_foreign_safetensors_files_are_refused(metadata: dict[str, str] | None) -> None:
    with pytest.raises(ModelFileError):
        unpack(safetensors.torch.save({"a": torch.ones(1)}, metadata))


def test_facts_beside_the_header_are_refused_since_no_hash_covers_them() -> None:
    length = int.from_bytes(SMALL[:8], "little")
    index = json.loads(SMALL[8 : 8 + length])
    index["__metadata__"]["note"] = "planted"
    text = json.dumps(index).encode()
    with pytest.raises(ModelFileError):
        unpack(len(text).to_bytes(8, "little") + text + SMALL[8 + length :])


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_a_sentence_that_names_both(version: object) -> None:
    data = safetensors.torch.save({"a": torch.ones(1)}, {"fedseg": json.dumps({"format": version})})
    with pytest.raises(
        ModelFileError, match=f"has format version {version}, but this FedSeg reads version 1"
    ):
        unpack(data, "old.safetensors")


def test_files_are_saved_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "model.safetensors"
    save(path, {"a": torch.ones(2)}, {"name": "x"})
    header, found = load(path)
    assert header["name"] == "x"
    assert found["a"].tolist() == [1, 1]
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_a_missing_file_or_a_folder_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelFileError, match="cannot be read"):
            load(path)
