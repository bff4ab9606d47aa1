"""Bytes made to harm whoever reads them: each is refused with a sentence, quickly, and without much memory."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.errors import ModelFileError
from FedSegCore.federation import wire
from FedSegCore.federation.calibration import BankCounts, SharedBank
from FedSegCore.federation.joining import Joining
from FedSegCore.federation.ledger import ledger_line
from FedSegCore.federation.method import Offer
from FedSegCore.methods.averaging import AveragingUpdate
from FedSegCore.tensors import tensorfile

KINDS = (AveragingUpdate, Joining, Offer, BankCounts, SharedBank)
UPDATE = AveragingUpdate({"kernel": torch.ones(2, 3)}, 0.5, {"Liver": 0.5})
NO_MESSAGE = (ValueError, KeyError, TypeError, AttributeError)


def framed(index: Any, values: bytes = b"", *, length: int | None = None) -> bytes:
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + values


def entry(shape: Any, start: int, end: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def index(header: Any = None, **tensors: Any) -> dict[str, Any]:
    told = {"format": 1, "type": "AveragingUpdate", "fields": {"loss": 0.5, "dice": {}, "scalars": {}}}
    text = header if isinstance(header, str) else json.dumps(told if header is None else header)
    return {
        "__metadata__": {"fedseg": text},
        **{name.replace("_", "/"): one for name, one in tensors.items()},
    }


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


BOMBS = {
    "nothing": b"",
    "a length alone": (10).to_bytes(8, "little"),
    "ten gigabytes of header": framed(b"{}", length=10 * 2**30),
    "a header without end": framed(b"{}", length=2**64 - 1),
    "ten gigabytes of values": framed(index(weights_a=entry([2_684_354_560], 0, 10 * 2**30)), b"\0" * 64),
    "shapes beyond all numbers": framed(index(weights_a=entry([2**62, 2**62], 0, 4)), b"\0" * 4),
    "a hundred dimensions": framed(index(weights_a=entry([1] * 100, 0, 4)), b"\0" * 4),
    "a million dimensions": framed(index(weights_a=entry([1] * 1_000_000, 0, 4)), b"\0" * 4),
    "none of many": framed(index(weights_a=entry([0, 2**40], 0, 0))),
    "overlapping": framed(index(weights_a=entry([2], 0, 8), weights_b=entry([2], 4, 12)), b"\0" * 12),
    "backwards": framed(index(weights_a=entry([1], 4, 0)), b"\0" * 4),
    "a hole": framed(index(weights_a=entry([1], 0, 4), weights_b=entry([1], 8, 12)), b"\0" * 12),
    "a tail": framed(index(weights_a=entry([1], 0, 4)), b"\0" * 400),
    "a negative shape": framed(index(weights_a=entry([-1], 0, 4)), b"\0" * 4),
    "an unknown type": framed(index(weights_a=entry([1], 0, 4, "F31")), b"\0" * 4),
    "complex numbers": framed(index(weights_a=entry([1], 0, 8, "C64")), b"\0" * 8),
    "eight bits": framed(index(weights_a=entry([4], 0, 4, "F8_E4M3")), b"\0" * 4),
    "a deep index": framed(nested(100_000).encode()),
    "a deep header": framed(index(nested(100_000))),
    "deep fields": framed(index('{"format":1,"type":"AveragingUpdate","fields":' + nested(900) + "}")),
    "half letters": framed(index('{"format":1,"type":"\\ud800","fields":{"loss":0.5}}')),
    "a number of 5000 digits": framed(index('{"format":1,"type":"Offer","fields":{"loss":' + "9" * 5000 + "}}")),
    "a list of headers": framed([index()]),
    "a header that is no table": framed(index("[1]")),
    "no metadata": framed({"weights/a": entry([1], 0, 4)}, b"\0" * 4),
    "metadata of numbers": framed({"__metadata__": {"fedseg": 1}}),
    "two metadata": framed({"__metadata__": {"fedseg": "{}", "more": "x"}}),
    "no JSON": framed(b"\xff" * 100),
    "many brackets": framed(index("[" + "[]," * 200_000 + "[]]")),
    "more brackets": framed(index("[" + "[]," * 2_500_000 + "[]]")),
    "a hash of its own": framed(index({"format": 1, "sha256": {"a": 1}, "type": "Offer", "fields": {}})),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_one_sentence(name: str) -> None:
    for kind in KINDS:
        with pytest.raises(ModelFileError) as caught:
            wire.decode(kind, BOMBS[name])
        assert len(str(caught.value)) < 1000
    assert isinstance(wire.type_of(BOMBS[name]), str)


@pytest.mark.parametrize("name", ["ten gigabytes of values", "many brackets", "a deep header"])
def test_a_bomb_takes_little_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            wire.decode(Offer, BOMBS[name])
        wire.type_of(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_the_ledger_takes_a_bomb_or_says_that_it_is_no_message(name: str) -> None:
    try:
        line = ledger_line(BOMBS[name], site="north", round_number=1, kind="update")
    except NO_MESSAGE:
        return
    assert line["bytes"] == len(BOMBS[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "I64", "BOOL", "F16", "X"]), "shape": JSON | st.lists(st.integers(0, 3)),
    "data_offsets": JSON | st.lists(st.integers(0, 16), min_size=2, max_size=2),
})  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["weights/a", "a", "/", "loss", "loss/x", ""]), ENTRY | JSON, max_size=2),
    JSON | st.fixed_dictionaries({"format": st.just(1), "type": st.sampled_from([k.__name__ for k in KINDS]),
                                  "fields": JSON}),
    st.binary(max_size=24),
)  # fmt: skip
def test_any_index_and_header_is_refused_in_a_sentence(
    tensors: dict[str, Any], header: Any, values: bytes
) -> None:
    data = framed({"__metadata__": {"fedseg": json.dumps(header)}, **tensors}, values)
    for kind in KINDS:
        with pytest.raises(ModelFileError):
            wire.decode(kind, data)
    with contextlib.suppress(*NO_MESSAGE):
        ledger_line(data, site="north", round_number=1, kind="update")


@given(
    st.dictionaries(st.sampled_from(["weights", "loss", "dice", "scalars", "more"]), JSON),
    st.sampled_from(KINDS),
)
def test_fields_of_any_value_are_read_as_they_should_be_or_refused(
    fields: dict[str, Any], kind: type[Any]
) -> None:
    """The sender may be anybody, so the hash is right and the values are not."""
    data = tensorfile.pack({"weights/a": torch.ones(1)}, {"type": kind.__name__, "fields": fields})
    try:
        found = wire.decode(kind, data)
    except ModelFileError:
        return
    assert isinstance(found, AveragingUpdate) and isinstance(found.loss, int | float)


@given(st.data())
def test_one_byte_altered_anywhere_is_seen(data: st.DataObject) -> None:
    whole = wire.encode(UPDATE)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    with pytest.raises(ModelFileError):
        wire.decode(AveragingUpdate, whole[:at] + other + whole[at + 1 :])
