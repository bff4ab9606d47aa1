"""The engine as it runs: who is let in, and let in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from FedSegCore.errors import RunError
from FedSegCore.federation.flower import SuperLink
from FedSegCore.federation.keys import make_engine_key, make_tls


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Flower uses
def test_a_site_that_was_let_go_is_let_in_again_by_its_key_as_often_as_it_comes_back(tmp_path: Path) -> None:
    key = make_engine_key(tmp_path / "engine.key")
    link = SuperLink(tmp_path / "engine", make_tls(tmp_path / "tls", ()))
    try:
        numbers = [link.admit(key)]
        with pytest.raises(RunError):
            link.admit(key)
        for _ in range(2):
            link.dismiss(numbers[-1])
            numbers.append(link.admit(key))
        assert len(set(numbers)) == 3, "a message to the connection before does not reach the present one"
    finally:
        link.stop()
