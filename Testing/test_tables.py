from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.errors import StudyError
from FedSegCore.tables import coerce, table


@dataclass(frozen=True)
class Inner:
    rule: Literal["window", "zscore"]
    lower: float = 0.0


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 1
    share: float = 0.5
    flag: bool = False
    folder: Path = Path()
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 1.0)
    dims: Literal[2, 3] = 3
    maybe: tuple[int, ...] | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: Mapping[str, Inner] = field(default_factory=dict)
    anything: Mapping[str, Any] = field(default_factory=dict)


def test_keys_are_fields_and_values_become_the_fields_types() -> None:
    found = table(
        Outer,
        {
            "name": "x", "count": 2, "share": 1, "flag": True, "folder": "a/b", "names": ["p", "q"],
            "pair": [1, 2], "dims": 2, "maybe": [3], "groups": {"K": ["a"]},
            "rules": {"CT": {"rule": "window", "lower": -160}}, "anything": {"z": [1]},
        },
        "[outer]",
    )  # fmt: skip
    assert found == Outer(
        "x", 2, 1.0, True, Path("a/b"), ("p", "q"), (1, 2.0), 2, (3,), {"K": ("a",)},
        {"CT": Inner("window", -160.0)}, {"z": [1]},
    )  # fmt: skip
    assert isinstance(found.share, float)
    assert isinstance(found.pair[1], float)


def test_what_is_not_given_has_its_default() -> None:
    assert table(Outer, {"name": "x"}, "[outer]") == Outer("x")


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"nam": "x"}, 'Unknown key "nam" in [outer].', '"name"'),
    ({"count": 1}, '[outer] lacks "name".', "Add name"),
    ({"name": 3}, '"name" in [outer] must be a text in quotes, got 3.', ""),
    ({"name": "x", "count": 1.0}, "must be a whole number, got 1.0", ""),
    ({"name": "x", "count": True}, "must be a whole number, got True", ""),
    ({"name": "x", "count": "1"}, "must be a whole number, got '1'", ""),
    ({"name": "x", "share": "half"}, "must be a number, got 'half'", ""),
    ({"name": "x", "share": True}, "must be a number, got True", ""),
    ({"name": "x", "share": float("nan")}, "must be a number, got nan", ""),
    ({"name": "x", "share": float("inf")}, "must be a number, got inf", ""),
    ({"name": "x", "share": 10**400}, "must be a number", ""),
    ({"name": "x", "flag": 1}, "must be true or false, got 1", ""),
    ({"name": "x", "folder": 3}, "must be a path, got 3", ""),
    ({"name": "x", "names": "p"}, "must be a list, got 'p'", "brackets"),
    ({"name": "x", "names": ["p", 3]}, "must be a text in quotes, got 3", ""),
    ({"name": "x", "pair": [1]}, "must list 2 values, got 1", ""),
    ({"name": "x", "dims": 4}, "must be one of 2, 3, got 4", ""),
    ({"name": "x", "dims": 3.0}, "must be one of 2, 3, got 3.0", ""),
    ({"name": "x", "dims": [3]}, "must be one of 2, 3", ""),
    ({"name": "x", "maybe": "p"}, "must be a list", ""),
    ({"name": "x", "groups": ["K"]}, "must be a table", ""),
    ({"name": "x", "groups": {"K": "a"}}, '"groups" in [outer] (K) must be a list', ""),
    ({"name": "x", "rules": {"CT": {"rule": "windw"}}}, "must be one of 'window', 'zscore'", '"window"'),
    ({"name": "x", "rules": {"CT": {"rule": "window", "lowr": 1}}}, 'Unknown key "lowr"', '"lower"'),
    ({"name": "x", "rules": {"CT": 3}}, "must be a table, got 3", ""),
    ({"name": "x", "rules": {"CT": {}}}, 'lacks "rule"', ""),
]


@pytest.mark.parametrize(("raw", "message", "fix"), WRONG, ids=[str(raw)[:60] for raw, _, _ in WRONG])
def test_a_wrong_value_is_one_sentence_that_says_where_it_stands(
    raw: dict[str, Any], message: str, fix: str
) -> None:
    with pytest.raises(StudyError) as caught:
        table(Outer, raw, "[outer]")
    assert message in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.fix
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("raw", [3, "x", [1], None])
def test_what_is_no_table_is_one_sentence(raw: object) -> None:
    with pytest.raises(StudyError, match="must be a table"):
        table(Outer, raw, "[outer]")


TOML = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(raw=st.dictionaries(st.sampled_from([*Outer.__dataclass_fields__, "other"]), TOML))
def test_any_table_is_an_outer_or_a_sentence(raw: dict[str, Any]) -> None:
    try:
        found = table(Outer, {"name": "x", **raw}, "[outer]")
    except StudyError as error:
        assert error.message
        return
    assert isinstance(found, Outer)
    assert isinstance(found.share, float)


@given(value=TOML)
def test_any_mapping_of_any_values_passes_through(value: Any) -> None:
    assert coerce({"k": value}, Mapping[str, Any], "x").keys() == {"k"}
