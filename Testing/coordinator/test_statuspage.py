"""The status page: who may see it, what it says, and that nothing from outside does anything in it."""

from __future__ import annotations

import html
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from FedSegCore.coordinator.roster import Refused
from FedSegCore.coordinator.statuspage import Visitors, status_routes
from FedSegCore.coordinator.statusview import status_page
from Testing.coordinator.standing import RUN, Facts, line, running, site, standing, waiting

with warnings.catch_warnings():
    # It asks for another HTTP package than the one that the engine brings, and works with both.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

LOGIN = "the-login-token"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def client(snapshot: Callable[[], Facts] = running) -> TestClient:
    app = Starlette(routes=status_routes(snapshot, LOGIN))
    return TestClient(app, base_url="https://testserver", follow_redirects=False)


@pytest.fixture
def stranger() -> TestClient:
    return client()


@pytest.fixture
def visitor() -> TestClient:
    inside = client()
    assert inside.post("/status/login", data={"token": LOGIN}).status_code == 303
    return inside


def words_of(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", " ", page)))


def test_without_login_neither_page_nor_facts_are_shown(stranger: TestClient) -> None:
    for path in ("/status", "/status.json"):
        answer = stranger.get(path)
        assert answer.status_code == 401 and "Liver" not in answer.text and "north" not in answer.text


def test_the_token_opens_a_session_in_a_cookie_that_only_https_and_no_script_has(
    stranger: TestClient,
) -> None:
    answer = stranger.post("/status/login", data={"token": LOGIN})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 303 and answer.headers["location"] == "/status"
    assert cookie.startswith("__Host-") and LOGIN not in cookie
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/;"))
    assert "north" in stranger.get("/status").text


def test_a_wrong_token_opens_nothing(stranger: TestClient) -> None:
    answer = stranger.post("/status/login", data={"token": "wrong"})
    assert answer.status_code == 401 and "set-cookie" not in answer.headers
    assert "not the login token" in answer.text and stranger.get("/status").status_code == 401


def test_a_token_in_the_address_opens_nothing(stranger: TestClient) -> None:
    assert stranger.get("/status", params={"token": LOGIN}).status_code == 401
    assert stranger.post("/status/login", params={"token": LOGIN}).status_code == 401


def test_after_a_few_wrong_tries_even_the_right_token_waits(stranger: TestClient) -> None:
    for _ in range(3):
        stranger.post("/status/login", data={"token": "wrong"})
    assert stranger.post("/status/login", data={"token": LOGIN}).status_code == 429


def test_the_wait_grows_ends_and_is_each_address_s_own() -> None:
    now = 0.0
    visitors = Visitors(LOGIN, lambda: now)

    def tried(token: str, address: str = "1.2.3.4") -> int:
        try:
            visitors.admit(token, address)
        except Refused as refused:
            return refused.status
        return 303

    assert [tried("wrong") for _ in range(4)] == [401, 401, 401, 429]
    assert tried(LOGIN, "5.6.7.8") == 303
    now = 1.1
    assert [tried("wrong"), tried(LOGIN)] == [401, 429]
    now = 2.2  # the second pause is longer than the first
    assert tried(LOGIN) == 429
    now = 3.2
    assert [tried(LOGIN), tried("wrong")] == [303, 401]


def test_a_session_ends_by_itself() -> None:
    now = 0.0
    visitors = Visitors(LOGIN, lambda: now)
    session = visitors.admit(LOGIN, "1.2.3.4")
    assert visitors.knows(session) and not visitors.knows("another") and not visitors.knows("")
    now = 13 * 3600.0
    assert not visitors.knows(session)


def test_what_is_remembered_of_strangers_and_visitors_is_bounded() -> None:
    visitors = Visitors(LOGIN)
    first = visitors.admit(LOGIN, "a")
    sessions = [visitors.admit(LOGIN, "a") for _ in range(150)]
    for index in range(1200):
        with pytest.raises(Refused):
            visitors.admit("wrong", f"address {index}")
    assert not visitors.knows(first) and visitors.knows(sessions[-1])
    assert len(visitors._wrong) <= 1000 and len(visitors._sessions) <= 100


def test_logging_out_ends_the_session_at_the_coordinator_too(visitor: TestClient) -> None:
    kept = dict(visitor.cookies)
    assert visitor.post("/status/logout").status_code == 303
    visitor.cookies.update(kept)
    assert visitor.get("/status").status_code == 401


def test_a_program_gets_the_facts_with_the_token_in_a_header(stranger: TestClient) -> None:
    told = stranger.get("/status.json", headers={"Authorization": f"Bearer {LOGIN}"})
    assert told.status_code == 200 and told.json()["round"] == 7
    assert stranger.get("/status.json", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_every_answer_forbids_frames_foreign_script_guessing_and_keeping(visitor: TestClient) -> None:
    answers = [
        visitor.get(path) for path in ("/status", "/status.json", "/status/page.js", "/status/page.css")
    ]
    answers += [client().get("/status"), visitor.post("/status/login", data={"token": "wrong"})]
    answers.append(visitor.post("/status/logout"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_asks_nobody_else_for_anything_and_obeys_its_own_policy(visitor: TestClient) -> None:
    page = visitor.get("/status").text + client().get("/status").text
    sources = set(re.findall(r'(?:src|href|action)="([^"]*)"', page))
    assert sources == {"/status/page.css", "/status/page.js", "/status/login", "/status/logout", "data:,"}
    assert not re.search(r'<style|style="|<script>| on\w+="', page)
    for path in ("/status/page.css", "/status/page.js"):
        assert "//" not in re.sub(r"(?m)^//.*$", "", visitor.get(path).text)


@pytest.mark.parametrize(
    "path", ["/status/status.js", "/status/login", "/status/..%2fstatus.css", "/status/page.py"]
)
def test_no_other_file_is_served(visitor: TestClient, path: str) -> None:
    assert visitor.get(path).status_code in (403, 404, 405)


def test_nothing_can_be_changed(visitor: TestClient) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert visitor.request(method, "/status").status_code == 405
        assert visitor.request(method, "/status.json").status_code == 405


def test_page_and_json_tell_the_same_facts(visitor: TestClient) -> None:
    told = visitor.get("/status.json").json()
    assert set(told) == set(running()) and told["sites"]["north"]["cases"] == 18


def test_a_running_study_is_told_in_words() -> None:
    text = words_of(status_page(running()))
    for words in (
        "Running", "7 of 20", "39 min", "trains round 8", "done with round 8", "no news for 3 min", "run 1 of 1",
        "left out of round 7: it is not connected.", "47.1 MB", "20 messages", "Kidney 0.68",
        "its update is not finite.", "(2 times)",
    ):  # fmt: skip
        assert words in text, words


def test_the_curves_have_each_site_s_values_and_the_rounds_that_it_missed() -> None:
    page = status_page(running())
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    titles = [words_of(figure).split(" by")[0] for figure in figures]
    assert len(figures) == 4 and all(figure.count("<polyline") == 3 for figure in figures), titles
    assert "north, round 7: 0.680" in page and "island, round 7:" not in page
    assert "island was left out of round 6: it is not connected." in page


def test_a_waiting_study_tells_whom_to_invite_and_how() -> None:
    text = words_of(status_page(waiting()))
    assert "1 of the 2 sites needed have joined" in text
    assert "fedseg invite south --from /srv/study -o south.fedseg" in text
    assert "can be used for 24.0 h more" in text and "fedseg invite north" not in text


def test_an_invitation_that_has_expired_is_told() -> None:
    facts = standing("waiting", {"north": site("invited", seen=None, expires=1.0)})
    assert "its invitation has expired" in words_of(status_page(facts))


def test_a_study_that_too_few_can_take_part_in_says_so_first_and_how_to_go_on() -> None:
    facts = waiting()
    facts["sites"]["island"]["expires"] = facts["time"] - 5
    facts["sites"]["south"] = site("enrolled", refused="It annotates <Spleen>; the study has Liver.")
    page = status_page(facts)
    assert "Too few sites: more must be invited" in page
    assert "The study needs 2 sites, and only 1 can take part: island did not use its invitation" in page
    assert "was refused (It annotates &lt;Spleen&gt;; the study has Liver)" in page
    assert "invite island" in page and "correct its dataset and join again" in page
    assert page.index('id="shortage"') < page.index('id="overview"')


def test_a_finished_study_tells_who_has_the_models() -> None:
    sites = {"north": site("sent", models=True), "south": site("sent", seen=900), "west": site("left")}
    text = words_of(status_page(standing("finished", sites, run=RUN, round=20, eta_s=0.0)))
    assert (
        "Finished" in text
        and "has the models" in text
        and "fetches the models" in text
        and "has left" in text
    )
    assert "no news" not in text and "fedseg invite" not in text


def test_a_study_of_nobody_is_a_page_too() -> None:
    assert "0 of 0" in words_of(status_page(standing("waiting", {})))


def test_names_and_reasons_from_outside_are_only_text() -> None:
    facts: dict[str, Any] = standing(
        "running", {HOSTILE: site("lost", cases=1, round=1), "new": site("uninvited", seen=None)}, study=HOSTILE,
        run=HOSTILE, runs=[HOSTILE], round=2, folder=HOSTILE,
        rounds=[line(1, {HOSTILE: {HOSTILE: 0.5, "Liver": 0.1}}), line(2, {}, {HOSTILE: HOSTILE})],
        lost=[{"run": HOSTILE, "round": 2, "site": HOSTILE, "reason": HOSTILE, "times": 1}],
    )  # fmt: skip
    page = status_page(facts)
    assert "<script>" not in page and "<img" not in page and page.count(html.escape(HOSTILE)) > 10
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/status/page.js" defer>']


def test_numbers_that_are_none_break_no_plot() -> None:
    rounds = [
        line(n, {"north": {"Liver": value}}) for n, value in ((1, float("nan")), (2, float("inf")), (3, 0.5))
    ]
    page = status_page(standing("running", {"north": site("training")}, run=RUN, round=3, rounds=rounds))
    assert '="nan' not in page and '="inf' not in page and "north, round 3: 0.500" in page


def test_a_long_study_of_many_sites_stays_a_small_page() -> None:
    names = [f"site {index}" for index in range(20)]
    rounds = [line(n, {name: {"Liver": 0.5, "Kidney": 0.4} for name in names}) for n in range(1, 1001)]
    sites = {name: site("training") for name in names}
    facts = standing("running", sites, run=RUN, round=1000, total=1000, rounds=rounds)
    assert len(status_page(facts)) < 600_000 < len(json.dumps(facts))
