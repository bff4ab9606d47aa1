"""The status page in a browser: logged into, kept fresh without a reload, calm when the coordinator is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from FedSegCore.coordinator.statuspage import status_routes
from FedSegCore.federation.keys import make_tls
from Testing.coordinator import browser as browsers
from Testing.coordinator.browser import Browser
from Testing.coordinator.listening import Listening
from Testing.coordinator.standing import Facts, running, site, standing, waiting

LOGIN = "the-login-token"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'

pytestmark = pytest.mark.skipif(browsers.PROGRAM is None, reason="no Chromium is installed")


class Served:
    """A status page over TLS; `facts` is what it shows."""

    def __init__(self, folder: Path) -> None:
        tls = make_tls(folder / "tls", ("127.0.0.1",))
        self.facts: Facts = waiting()
        app = Starlette(routes=status_routes(lambda: {**self.facts, "time": time.time()}, LOGIN))
        self._listening = Listening(app, tls)

    @property
    def address(self) -> str:
        return f"https://{self._listening.address}/status"

    def stop(self) -> None:
        self._listening.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running_ = Served(tmp_path_factory.mktemp("status"))
    yield running_
    running_.stop()


@pytest.fixture(scope="module")
def page(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Logged in by the form."""
    with browsers.browser(tmp_path_factory.mktemp("browser")) as one:
        one.open(served.address)
        one.ask(f"document.querySelector('input').value = {LOGIN!r}; document.querySelector('form').submit()")
        one.until("document.getElementById('overview')")
        one.told.clear()  # the form itself came with 401
        yield one


def finished() -> Facts:
    sites: dict[str, Any] = {
        name: {**one, "state": "sent", "models": True} for name, one in running()["sites"].items()
    }
    return {**running(), "state": "finished", "sites": sites, "round": 20, "eta_s": 0.0}


def test_the_page_is_brought_up_to_date_without_being_loaded_anew(page: Browser, served: Served) -> None:
    heading = "document.querySelector('h1')"
    page.ask(f"window.heading = {heading}; void getSelection().selectAllChildren(heading)")
    served.facts = running()
    page.until("document.querySelector('.tile .value').innerText.startsWith('Running')")
    assert page.ask("document.querySelectorAll('polyline').length") == 12
    assert page.ask(f"window.heading === {heading} && String(getSelection())") == "Liver and kidney"


@pytest.mark.parametrize("width", [1280, 390])
def test_every_state_fits_on_a_desk_and_in_a_hand(
    page: Browser, served: Served, width: int, tmp_path: Path
) -> None:
    page.wide(width)
    empty = standing("waiting", {})
    for name, facts in {
        "empty": empty,
        "waiting": waiting(),
        "running": running(),
        "finished": finished(),
    }.items():
        served.facts = {**facts, "study": f"Study {name}"}
        page.open(served.address)
        page.until(f"document.querySelector('h1').innerText === 'Study {name}'")
        assert page.ask("document.documentElement.scrollWidth <= innerWidth"), name
        page.photograph(tmp_path / f"{name}_{width}.png")
    assert not page.told


def test_a_hostile_name_does_nothing_in_the_page_and_its_policy_is_never_needed(
    page: Browser, served: Served
) -> None:
    served.facts = standing("running", {HOSTILE: site("training")}, study="Hostile")
    page.open(served.address)
    page.until("document.querySelector('h1').innerText === 'Hostile'")
    assert page.ask("document.querySelector('tbody th').innerText") == HOSTILE
    assert page.ask("document.querySelectorAll('#page script, #page img').length") == 0
    assert not page.told


def test_a_coordinator_that_is_gone_is_told_and_what_was_known_stays(page: Browser, served: Served) -> None:
    served.facts = {**running(), "study": "Last known"}
    page.open(served.address)
    page.until("document.querySelector('h1').innerText === 'Last known'")
    assert page.ask("document.getElementById('alarm').hidden")
    page.online(False)
    page.until("!document.getElementById('alarm').hidden")
    assert "does not answer" in page.ask("document.getElementById('alarm').innerText")
    assert page.ask("document.querySelector('h1').innerText") == "Last known"
    page.online(True)
    page.until("document.getElementById('alarm').hidden")
