from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.errors import ModelFileError
from FedSegCore.federation import wire
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.method import Offer
from FedSegCore.methods.averaging import AveragingClient, AveragingServer, AveragingUpdate
from FedSegCore.tensors import tensorfile
from FedSegCore.tensors.weights import Weights
from Testing.phantoms import equal


@dataclass(frozen=True)
class Note:
    weights: Weights
    loss: float = 0.0
    steps: int = 0
    text: str = ""
    known: bool = False
    names: Sequence[str] = ()
    maybe: float | None = None
    dice: Mapping[str, float] = field(default_factory=dict)
    anything: Any = None


@dataclass(frozen=True)
class Other:
    weights: Weights


ONE = {"a": torch.ones(2)}


def forged(kind: str = "Note", **fields: Any) -> bytes:
    """The bytes of a Note with other fields than a Note has."""
    whole = {**wire.split(Note(ONE))[1], **fields}
    whole = {name: value for name, value in whole.items() if value != "absent"}
    return tensorfile.pack({"weights/a": torch.ones(2)}, {"type": kind, "fields": whole})


def test_tensors_travel_under_their_fields_name_and_the_rest_as_json() -> None:
    tensors, fields = wire.split(Note(ONE, loss=0.5, dice={"Liver": 0.25}))
    assert list(tensors) == ["weights/a"]
    assert fields["loss"] == 0.5
    assert fields["dice"] == {"Liver": 0.25}


def test_a_message_comes_back_with_its_facts() -> None:
    note = Note(ONE, 0.5, 3, "ü \u2028", True, ("x", "y"), 1.5, {"Liver": 1.0}, [1, {"z": None}])
    found, header = wire.decode_with_header(Note, wire.encode(note, kind="round", round=2))
    assert equal(found.weights, ONE)
    assert (found.loss, found.steps, found.text, found.known, found.maybe) == (0.5, 3, "ü \u2028", True, 1.5)
    assert (list(found.names), found.dice, found.anything) == (["x", "y"], {"Liver": 1.0}, [1, {"z": None}])
    assert (header["kind"], header["round"]) == ("round", 2)


@pytest.mark.parametrize(
    "message",
    [
        AveragingServer({}),
        AveragingServer(ONE),
        AveragingUpdate(ONE, 0.25, {"Liver": 0.5}),
        AveragingClient(ONE, {"exp_avg/a": torch.zeros(2), "step/a": torch.tensor(3.0)}, ONE, {}, ONE, 0.5),
        Offer(),
        Offer(ONE, ONE),
        Joining("north", ("CT",), ("Liver",), {"Liver": (1, 3)}, 3, "CC0", {"spacing": {"counts": [1, 2]}}),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_of_the_averaging_family_comes_back_as_it_was(message: Any) -> None:
    again = wire.decode(type(message), wire.encode(message))
    assert wire.encode(again) == wire.encode(message)


def test_names_with_slashes_stay_whole() -> None:
    note = Note({"members/0/head": torch.ones(1)})
    assert list(wire.decode(Note, wire.encode(note)).weights) == ["members/0/head"]


def test_an_undeclared_field_is_refused_and_named() -> None:
    with pytest.raises(ModelFileError, match="patient"):
        wire.decode(Note, forged(patient="Jane"), "update of north")


def test_a_tensor_under_an_undeclared_field_is_refused_and_named() -> None:
    header = {"type": "Note", "fields": wire.split(Note(ONE))[1]}
    data = tensorfile.pack({"weights/a": torch.ones(2), "image/0": torch.ones(3)}, header)
    with pytest.raises(ModelFileError, match="image"):
        wire.decode(Note, data)


def test_facts_beside_the_fields_are_refused_where_none_are_expected() -> None:
    with pytest.raises(ModelFileError, match="remark"):
        wire.decode(Note, wire.encode(Note(ONE), remark="planted"))


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(ModelFileError, match="expected a Note"):
        wire.decode(Note, forged(loss="absent"))


def test_another_message_is_refused_though_its_fields_fit() -> None:
    with pytest.raises(ModelFileError, match="holds a Other"):
        wire.decode(Note, wire.encode(Other(ONE)))


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "low"},
        {"loss": True},
        {"loss": None},
        {"loss": [0.5]},
        {"steps": 1.5},
        {"steps": True},
        {"text": 3},
        {"known": 1},
        {"names": "north"},
        {"names": [1]},
        {"maybe": "none"},
        {"dice": [0.5]},
        {"dice": {"Liver": "good"}},
        {"dice": {"Liver": {"x": 1}}},
    ],
    ids=str,
)
def test_a_value_of_another_type_than_its_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=next(iter(fields))):
        wire.decode(Note, forged(**fields))


@pytest.mark.parametrize("weights", [3, "all", [1], {"b": 1.0}, None, True])
def test_weights_that_are_no_tensors_are_refused(weights: Any) -> None:
    data = tensorfile.pack({}, {"type": "Note", "fields": {**wire.split(Note({}))[1], "weights": weights}})
    with pytest.raises(ModelFileError, match="weights"):
        wire.decode(Note, data)


def test_tensors_in_a_field_of_numbers_are_refused() -> None:
    header = {"type": "Note", "fields": wire.split(Note(ONE))[1]}
    data = tensorfile.pack({"weights/a": torch.ones(2), "dice/Liver": torch.ones(64)}, header)
    with pytest.raises(ModelFileError, match="dice"):
        wire.decode(Note, data)


@given(
    fields=st.dictionaries(
        st.sampled_from(["weights", "loss", "dice", "names", "new"]),
        st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    )
)
def test_whatever_the_fields_hold_it_is_a_message_or_a_sentence(fields: dict[str, Any]) -> None:
    try:
        found = wire.decode(Note, forged(**fields))
    except ModelFileError:
        return
    assert isinstance(found.loss, int | float)


@pytest.mark.parametrize("fields", [None, 3, "x", [["loss", 1]]])
def test_a_header_without_a_table_of_fields_is_refused(fields: Any) -> None:
    with pytest.raises(ModelFileError):
        wire.decode(Note, tensorfile.pack(ONE, {"type": "Note", "fields": fields}))


def test_a_model_file_is_no_message() -> None:
    with pytest.raises(ModelFileError, match="expected a Note"):
        wire.decode(Note, tensorfile.pack(ONE, {"kind": "model", "name": "global"}))


def test_the_bytes_hold_a_json_header_and_plain_numbers_only() -> None:
    data = wire.encode(Note({"a": torch.tensor([1.0, 2.0])}))
    length = int.from_bytes(data[:8], "little")
    assert json.loads(data[8 : 8 + length])["weights/a"]["shape"] == [2]
    assert data[8 + length :] == torch.tensor([1.0, 2.0]).numpy().tobytes()


def test_messages_of_the_very_same_tensors_and_equal_fields_are_the_same() -> None:
    weights = {"a": torch.ones(1)}
    assert wire.same(Note(weights, 1.0), Note(dict(weights), 1.0))
    assert not wire.same(Note(weights), Note({"a": torch.ones(1)}))
    assert not wire.same(Note(weights), Note({"b": weights["a"]}))
    assert not wire.same(Note(weights), Note({**weights, "b": weights["a"]}))
    assert not wire.same(Note(weights, 1.0), Note(weights, 2.0))
    assert not wire.same(Note(weights), Other(weights))
