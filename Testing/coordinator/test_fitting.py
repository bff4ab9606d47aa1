"""What one site tells must not end the study of the others."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from FedSegCore.agreement import Agreement, agree
from FedSegCore.coordinator import fitting
from FedSegCore.coordinator.agreeing import Own, await_agreement
from FedSegCore.coordinator.fitting import agree_among, fit_alone, fit_late
from FedSegCore.errors import DataError, StudyError
from FedSegCore.federation.joining import Joining
from FedSegCore.study import Study, parse_study

SITES = ("east", "north", "south")


def study(sites: tuple[str, ...] = SITES, **other: Any) -> Study:
    tables = {
        "name": "s", "method": "fedavg", "plan": {"auto": False, "patch": [16, 16, 16]},
        "site": [{"name": name, "data": name} for name in sites], **other,
    }  # fmt: skip
    return parse_study(tables, Path())


def told(name: str, *structures: str, modality: str = "CT", **other: Any) -> Joining:
    labels = structures or ("Liver",)
    facts: dict[str, Any] = {"num_cases": 3, "licence": "", "passport": {}, **other}
    values = {label: [number] for number, label in enumerate(labels, start=1)}
    return Joining(name, [modality], list(labels), values, **facts)


def by_name(*joinings: Joining) -> dict[str, Joining]:
    return {one.name: one for one in joinings}


def test_a_site_that_has_one_of_the_studys_structures_fits() -> None:
    fit_alone(study(labels=["Liver", "Kidney"]), told("north", "Kidney"))


def test_a_site_that_has_none_of_them_is_told_what_the_study_has() -> None:
    with pytest.raises(StudyError, match="north annotates Spleen; the study has Liver, Kidney"):
        fit_alone(study(labels=["Liver", "Kidney"]), told("north", "Spleen"))


def test_a_site_need_not_have_every_modality_that_the_study_has_rules_for() -> None:
    table = {
        "auto": False,
        "patch": [16, 16, 16],
        "intensity": {"CT": {"rule": "window", "lower": 0.0, "upper": 1.0}},
    }
    fit_alone(study(plan=table), told("north", modality="MR"))


def odd_one_out(monkeypatch: pytest.MonkeyPatch, *odd: str, number: int = 2) -> list[set[str]]:
    """Let `agree` fail for any `number` sites or more where an odd one is among them; what it was asked."""
    asked: list[set[str]] = []

    def picky(study: Study, joinings: Mapping[str, Joining]) -> Agreement:
        asked.append(set(joinings))
        if set(odd) & set(joinings) and len(joinings) >= number:
            raise DataError("No plan can be made.", "Let the site make its passport again.")
        return agree(study, joinings)

    monkeypatch.setattr(fitting, "agree", picky)
    return asked


def test_sites_that_agree_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = odd_one_out(monkeypatch)
    agreement, left = agree_among(study(), by_name(*map(told, SITES)), SITES)
    assert asked == [set(SITES)] and left == {}
    assert agreement == agree(study(), by_name(*map(told, SITES)))


def test_the_one_that_does_not_fit_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    odd_one_out(monkeypatch, "east")
    agreement, left = agree_among(study(), by_name(*map(told, SITES)), SITES)
    assert list(left) == ["east"] and left["east"].message == "No plan can be made."
    assert agreement == agree(study(), by_name(told("north"), told("south")))


def test_no_more_are_left_out_than_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    odd_one_out(monkeypatch, "east", "south")
    _, left = agree_among(study(("east", "north", "south", "west")), by_name(*map(told, (*SITES, "west"))),
                          (*SITES, "west"))  # fmt: skip
    assert set(left) == {"east", "south"}


def test_each_is_told_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(study: Study, joinings: Mapping[str, Joining]) -> Agreement:
        for odd in ("east", "south"):
            if odd in joinings and len(joinings) > 1:
                raise DataError(f"{odd} does not fit.", "")
        return agree(study, joinings)

    monkeypatch.setattr(fitting, "agree", picky)
    sites = (*SITES, "west")
    _, left = agree_among(study(sites), by_name(*map(told, sites)), sites)
    assert {name: fault.message for name, fault in left.items()} == {
        "east": "east does not fit.",
        "south": "south does not fit.",
    }


def test_the_servers_own_data_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    odd_one_out(monkeypatch, "east", number=1)
    with pytest.raises(DataError, match="No plan"):
        agree_among(study(), by_name(*map(told, SITES)), ("north", "south"))


def test_who_comes_late_is_asked_what_the_others_were() -> None:
    agreed = agree(study(), by_name(told("north"), told("south")))
    fit_late(agreed, told("east"))
    with pytest.raises(DataError, match="without a modality or a case"):
        fit_late(agreed, told("east", num_cases=0))
    with pytest.raises(StudyError, match="annotates Spleen"):
        fit_late(agreed, told("east", "Spleen"))


class Lobby:
    """Sites that join while an agreement is awaited, in a thread of its own."""

    def __init__(self, study: Study, folder: Path, *, min_sites: int) -> None:
        self.there: dict[str, Joining] = {}
        self.away: dict[str, str] = {}
        self.messages: list[str] = []
        self.error: Exception | None = None
        self.setting: Any = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self._wait, args=(Own(study, ()), folder / "agreement.json", min_sites), daemon=True
        )
        self._thread.start()

    def _wait(self, own: Own, path: Path, min_sites: int) -> None:
        try:
            self.setting = await_agreement(own, path, lambda: dict(self.there), self._turn_away,
                                           min_sites=min_sites, emit=self._emit)  # fmt: skip
        except Exception as error:
            self.error = error

    def _turn_away(self, site: str, reason: str, fix: str) -> None:
        del self.there[site]
        self.away[site] = reason

    def _emit(self, event: str, **fields: Any) -> None:
        with self._changed:
            self.messages.append(fields["message"])
            self._changed.notify_all()

    def says(self, *words: str) -> None:
        """Wait until a message holds all the words."""
        with self._changed:
            spoken = self._changed.wait_for(
                lambda: any(all(word in one for word in words) for one in self.messages), timeout=30
            )
        assert spoken, self.messages

    def done(self) -> None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("FedSegCore.coordinator.agreeing._GLANCE_S", 0.01)


def test_the_others_go_on_without_the_site_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_one_out(monkeypatch, "east")
    lobby = Lobby(study(), tmp_path, min_sites=2)
    lobby.there.update(by_name(*map(told, SITES)))
    lobby.done()
    assert lobby.error is None and set(lobby.setting.joined) == {"north", "south"}
    assert "does not go together" in lobby.away["east"] and "No plan can be made" in lobby.away["east"]


def test_where_too_few_remain_they_wait_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd_one_out(monkeypatch, "east")
    lobby = Lobby(study(), tmp_path, min_sites=2)
    lobby.there.update(by_name(told("east"), told("north")))
    lobby.says("1 of 2 sites have joined", "east")
    assert lobby.error is None and not (tmp_path / "agreement.json").exists()
    lobby.there.update(by_name(told("south")))
    lobby.done()
    assert set(lobby.setting.joined) == {"north", "south"}


def test_a_structure_that_only_a_late_site_has_is_waited_for(tmp_path: Path) -> None:
    lobby = Lobby(study(labels=["Liver", "Kidney"]), tmp_path, min_sites=2)
    lobby.there.update(by_name(told("north"), told("south")))
    lobby.says("2 of 2 sites have joined", "east", 'No site annotates "Kidney"')
    lobby.there.update(by_name(told("east", "Kidney")))
    lobby.done()
    assert lobby.setting.labels == ("Liver", "Kidney")


def test_a_structure_that_no_site_has_ends_the_wait_once_all_have_joined(tmp_path: Path) -> None:
    lobby = Lobby(study(labels=["Liver", "Kidney"]), tmp_path, min_sites=2)
    lobby.there.update(by_name(*map(told, SITES)))
    lobby.done()
    assert isinstance(lobby.error, StudyError) and "Kidney" in lobby.error.message


def test_what_was_agreed_on_holds_after_a_restart(tmp_path: Path) -> None:
    first = Lobby(study(), tmp_path, min_sites=2)
    first.there.update(by_name(told("north"), told("south")))
    first.done()
    again = Lobby(replace(study(), min_sites=1), tmp_path, min_sites=3)
    again.done()
    assert again.setting.agreement == first.setting.agreement
