from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from FedSegCore.errors import StorageError
from FedSegCore.hospital.answers import HubRefused, HubUnreachable, NotAHub
from FedSegCore.hospital.hubclient import HubClient
from Testing.hospital.certificates import Authority
from Testing.hospital.hub import Answer, Hub, file, said

DATA = bytes(range(256)) * 10_000  # 2.56 MB: three pieces
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = "/hub/models/run/global.safetensors"

Fetch = Callable[..., Path]


@pytest.fixture
def fetch(hub: Hub, authority: Authority, tmp_path: Path) -> Iterator[Fetch]:
    """Downloads the one file; returns where it stands."""
    target = tmp_path / "models" / "run" / "global.safetensors"

    with HubClient(
        hub.address, authority.pem, "cr3dential", patience_s=60, wait=lambda seconds: None
    ) as client:

        def get(*, size: int | None = len(DATA), sha256: str = SHA256, patience_s: float = 60) -> Path:
            client.patience_s = patience_s
            client.download("run", "global.safetensors", sha256, target, size=size)
            return target

        yield get


def partial(tmp_path: Path) -> Path:
    return tmp_path / "models" / "run" / ".global.safetensors.partial"


def nothing_is_kept(tmp_path: Path) -> bool:
    return not [path for path in tmp_path.rglob("*") if path.is_file()]


def ranges(hub: Hub) -> list[str]:
    return [asked.headers.get("range", "") for asked in hub.asked]


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_file_arrives_whole_and_leaves_nothing_beside_it(hub: Hub, fetch: Fetch, size: int | None) -> None:
    hub.on(PATH, file(DATA))
    target = fetch(size=size)
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_after_a_break_only_the_rest_is_asked_for(hub: Hub, fetch: Fetch) -> None:
    hub.on(PATH, file(DATA, cuts=[2**20, 2**20]))
    assert fetch().read_bytes() == DATA
    assert ranges(hub) == ["", f"bytes={2**20}-", f"bytes={2**21}-"]


def test_patience_begins_anew_with_every_new_byte(hub: Hub, fetch: Fetch) -> None:
    hub.on(PATH, file(DATA, cuts=[2**18] * 8))
    assert fetch(patience_s=1.5).read_bytes() == DATA, (
        "eight waits in a row, each twice the last, take far longer"
    )


def test_what_has_arrived_of_a_file_that_is_withdrawn_is_not_kept(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.on(PATH, file(DATA, cuts=[2**20]), said({"message": "There is no such model.", "fix": ""}, 404))
    with pytest.raises(HubRefused, match="no such model"):
        fetch()
    assert nothing_is_kept(tmp_path)


def test_a_server_that_ignores_ranges_starts_the_file_over(hub: Hub, fetch: Fetch) -> None:
    hub.on(PATH, file(DATA, cuts=[2**20], ranges=False))
    assert fetch().read_bytes() == DATA


def test_another_part_than_asked_for_is_refused(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    other = Answer(206, DATA[2**19 :], {"Content-Range": f"bytes {2**19}-{len(DATA) - 1}/{len(DATA)}"})
    hub.on(PATH, Answer(200, DATA, cut=2**20), other)
    with pytest.raises(NotAHub, match="another part"):
        fetch()
    assert nothing_is_kept(tmp_path)


def test_a_later_process_goes_on_where_an_earlier_one_was_broken_off(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.on(PATH, file(DATA, cuts=[2**20]))
    with pytest.raises(HubUnreachable):
        fetch(patience_s=0)
    assert partial(tmp_path).stat().st_size == 2**20
    assert fetch().read_bytes() == DATA
    assert ranges(hub)[-1] == f"bytes={2**20}-"


def test_what_is_left_of_another_file_is_thrown_away_and_the_file_fetched_anew(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.on(PATH, file(DATA))
    partial(tmp_path).parent.mkdir(parents=True)
    partial(tmp_path).write_bytes(b"other" * 1000)
    assert fetch().read_bytes() == DATA
    assert ranges(hub) == ["bytes=5000-", ""]


def test_a_longer_rest_of_another_file_is_thrown_away_unasked(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.on(PATH, file(DATA))
    partial(tmp_path).parent.mkdir(parents=True)
    partial(tmp_path).write_bytes(DATA + b"more")
    assert fetch().read_bytes() == DATA
    assert ranges(hub) == [""]


def test_a_file_that_is_there_already_is_not_fetched_again(hub: Hub, fetch: Fetch) -> None:
    hub.on(PATH, file(DATA))
    fetch()
    fetch()
    assert len(hub.asked) == 1


def test_a_file_with_another_hash_is_refused_and_nothing_of_it_kept(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.on(PATH, file(DATA[:-1] + b"!"))
    with pytest.raises(NotAHub, match="sha256"):
        fetch()
    assert nothing_is_kept(tmp_path)
    assert len(hub.asked) == 1


def test_an_older_file_stays_until_the_new_one_is_whole(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.on(PATH, file(b"other"))
    target = partial(tmp_path).with_name("global.safetensors")
    target.parent.mkdir(parents=True)
    target.write_bytes(b"older")
    with pytest.raises(NotAHub):
        fetch(size=5)
    assert target.read_bytes() == b"older"


def test_a_longer_file_than_announced_is_refused_before_it_is_read(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.on(PATH, file(DATA + b"more"))
    with pytest.raises(NotAHub, match=f"{len(DATA)} were announced"):
        fetch()
    assert nothing_is_kept(tmp_path)


def chunked(data: bytes) -> Answer:
    return Answer(
        200, b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data), {"Transfer-Encoding": "chunked"}, length=-1
    )


def test_more_bytes_than_announced_without_a_length_are_refused(
    hub: Hub, fetch: Fetch, tmp_path: Path
) -> None:
    hub.on(PATH, chunked(DATA + b"more"))
    with pytest.raises(NotAHub, match="more than"):
        fetch()
    assert nothing_is_kept(tmp_path)


def test_a_file_whose_length_nobody_tells_is_refused(hub: Hub, fetch: Fetch, tmp_path: Path) -> None:
    hub.on(PATH, chunked(DATA))
    with pytest.raises(NotAHub, match="without its length"):
        fetch(size=None)
    assert nothing_is_kept(tmp_path)


def test_a_shorter_file_than_announced_is_given_up_when_patience_ends(hub: Hub, fetch: Fetch) -> None:
    hub.on(PATH, file(DATA[:100]))
    with pytest.raises(HubUnreachable):
        fetch(patience_s=0)


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "a\\b", "..", "", ".hidden", "nul\0", "C:evil", "x" * 201]
)
def test_a_name_that_leads_elsewhere_is_never_asked_for(
    hub: Hub, authority: Authority, tmp_path: Path, name: str
) -> None:
    with HubClient(hub.address, authority.pem, "c") as client:
        for run, one in ((name, "file"), ("run", name)):
            with pytest.raises(NotAHub, match="no name of a model"):
                client.download(run, one, SHA256, tmp_path / "file")
    assert hub.asked == []


def test_a_full_disk_is_told_and_what_was_fetched_makes_room(
    hub: Hub, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    hub.on(PATH, file(DATA))
    monkeypatch.setattr("FedSegCore.hospital.download.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        fetch()
    assert nothing_is_kept(tmp_path)
