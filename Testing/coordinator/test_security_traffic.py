"""What a hospital sends in a real study, request by request: what its ledger says, and nothing of any patient."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization

from FedSegCore.federation.flower import CALLS
from FedSegCore.federation.ledger import read_lines, verify_ledger
from Testing.hospitals import Hospitals, write_study

pytestmark = pytest.mark.slow
MARKER = "MARKER-7f3a"
VALUES = np.array([1131 + 97 * place % 1009 for place in range(32)], np.int16)
"""64 bytes, and as floats more, that stand in a row of every image."""
PIECE = "20000"
SMALL = 4096


@dataclass
class Request:
    """One request as it reached the port."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def plant(dataset: Path) -> None:
    """The marker into the names, headers, pixels and texts of a phantom dataset."""
    description = (dataset / "dataset.json").read_text()
    for path in sorted(dataset.rglob("*.nii.gz")):
        image = nib.load(path)  # type: ignore[attr-defined]
        voxels = np.asarray(image.dataobj).astype(np.float32)  # type: ignore[attr-defined]
        if "images" in str(path):
            voxels[2:34, 20, 20] = VALUES
        marked = nib.Nifti1Image(voxels, image.affine)  # type: ignore[attr-defined]
        marked.header["descrip"] = marked.header["db_name"] = MARKER.encode()  # type: ignore[index]
        path.unlink()
        marked.to_filename(path.with_name(path.name.replace("phantom", MARKER)))
    told = json.loads(description.replace("phantom", MARKER))
    (dataset / "dataset.json").write_text(json.dumps({**told, "description": MARKER, "reference": MARKER}))


@dataclass
class Finished:
    """A study that has ended: its folder, and what north sent."""

    hospitals: Hospitals
    requests: list[Request]

    @property
    def home(self) -> Path:
        return self.hospitals.home("north")

    @property
    def north(self) -> list[Request]:
        """Those that north's credential or key signed, and its enrolment."""
        bearer = f"Bearer {(self.home / 'credential').read_text()}"
        key = serialization.load_ssh_private_key((self.home / "engine.key").read_bytes(), None)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signed = base64.b64encode(public).decode()
        return [
            one for one in self.requests
            if one.headers.get("authorization") == bearer or one.headers.get("flwr-public-key") == signed
            or (one.path == "/hub/enrol" and json.loads(one.body)["site"] == "north")
        ]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("traffic")
    recorded = ["Testing.coordinator.recording", str(folder / "traffic")]
    hospitals = Hospitals(folder, folder / "study.toml", programs={"serve": recorded})
    write_study(folder, {"north": "publish_personal = true", "south": ""}, methods=["fedgin"], shape=(40, 48, 40),
                more="[method_options]\npersonal = 0.1\n")  # fmt: skip
    for name in ("north", "south"):
        plant(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE", PIECE)
        try:
            hospitals.serve()
            hospitals.join("north", "--publish-personal")
            hospitals.join("south")
            hospitals.finish()
            heads = sorted((folder / "traffic").glob("*.head"))
            yield Finished(
                hospitals,
                [
                    Request(*json.loads(one.read_text()), one.with_suffix(".body").read_bytes())
                    for one in heads
                ],
            )
        finally:
            hospitals.stop()


def pushed(requests: list[Request]) -> dict[str, bytes]:
    """Every object of Flower's that was pushed, by its id."""
    from flwr.proto.message_pb2 import PushObjectRequest

    told = [PushObjectRequest.FromString(one.body) for one in requests if one.path == "/v1/fleet/push-object"]
    return {one.object_id: one.object_content for one in told}


def kind_of(content: bytes) -> str:
    return content.partition(b" ")[0].decode()


def messages(requests: list[Request], objects: dict[str, bytes]) -> list[bytes]:
    """The messages of some requests, put together from the pieces that their arrays name.

    What another site has pushed already, such as an offer of nothing, Flower does not ask for again.

    Args:
        objects: those that any site pushed.
    """
    from flwr.proto.fleet_pb2 import PushMessagesRequest
    from flwr.supercore.inflatable.inflatable_object import (
        get_object_head_values_from_object_content as head_of,
    )
    from flwr.supercore.inflatable.inflatable_object import (
        iterate_object_tree,
    )

    def body(content: bytes) -> bytes:
        return content[content.index(b"\0") + 1 :]

    found = []
    for one in requests:
        if one.path == "/v1/fleet/push-messages":
            (tree,) = PushMessagesRequest.FromString(one.body).message_object_trees
            held = [objects[node.object_id] for node in iterate_object_tree(tree)]
            (array,) = (content for content in held if kind_of(content) == "Array")
            pieces = [body(objects[piece]) for piece in head_of(array)[1]]
            found.append(b"".join(pieces[place] for place in json.loads(body(array))["arraychunk_ids"]))
    return found


def test_what_was_pushed_is_the_ledgers_messages_byte_for_byte(study: Finished) -> None:
    lines = [line for line in read_lines(study.home / "ledger.jsonl") if line["kind"] != "join"]
    sent = messages(study.north, pushed(study.requests))
    assert [(hashlib.sha256(data).hexdigest(), len(data)) for data in sent] == [
        (line["sha256"], line["bytes"]) for line in lines
    ]
    assert [line["kind"] for line in lines] == ["update", "update", "publish"]
    assert verify_ledger(study.home / "ledger.jsonl") == len(lines) + 1


def test_no_piece_was_pushed_that_is_of_no_message(study: Finished) -> None:
    whole = b"".join(messages(study.north, pushed(study.requests)))
    for content in pushed(study.north).values():
        if kind_of(content) == "ArrayChunk":
            assert content[content.index(b"\0") + 1 :] in whole


def test_messages_went_in_several_pieces(study: Finished) -> None:
    kinds = Counter(map(kind_of, pushed(study.north).values()))
    assert kinds["ArrayChunk"] > kinds["Array"] > 1


def test_what_it_told_when_joining_is_the_first_line(study: Finished) -> None:
    (body,) = (one.body for one in study.north if one.path == "/hub/join")
    (line,) = (line for line in read_lines(study.home / "ledger.jsonl") if line["kind"] == "join")
    assert (line["sha256"], line["bytes"]) == (hashlib.sha256(body).hexdigest(), len(body))


def test_both_ends_wrote_down_the_same_messages(study: Finished) -> None:
    left = [line["sha256"] for line in read_lines(study.home / "ledger.jsonl") if line["kind"] != "join"]
    (path,) = study.hospitals.out.rglob("ledger.jsonl")
    assert [line["sha256"] for line in read_lines(path) if line["site"] == "north"] == left
    assert verify_ledger(path) > len(left)


def test_the_rest_is_small_and_of_known_kinds(study: Finished) -> None:
    known = {f"/v1/fleet/{call}" for call in CALLS} | {
        "/hub/enrol", "/hub/join", "/hub/study", "/hub/attach", "/hub/state", "/hub/received", "/hub/models",
    }  # fmt: skip
    sizes: dict[str, list[int]] = {}
    for one in study.north:
        path = "/hub/models/RUN/FILE" if one.path.startswith("/hub/models/") else one.path
        assert path in known | {"/hub/models/RUN/FILE"}
        assert len(one.query) < 20 and sum(map(len, one.headers.values())) < 2000
        sizes.setdefault(path, []).append(len(one.body))
    for path, bodies in sorted(sizes.items()):
        print(
            f"{path:40s} {len(bodies):5d} requests, largest {max(bodies):6d} bytes, {sum(bodies):8d} in all"
        )
    rest = {
        path: max(bodies)
        for path, bodies in sizes.items()
        if path not in ("/v1/fleet/push-object", "/hub/join")
    }
    assert max(rest.values()) < SMALL
    objects = [content for content in pushed(study.north).values() if kind_of(content) != "ArrayChunk"]
    assert {kind_of(content) for content in objects} <= {
        "Array",
        "ArrayRecord",
        "ConfigRecord",
        "RecordDict",
        "Message",
    }
    assert max(map(len, objects)) < SMALL


def plain_and_unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes themselves, and what they hold where they are compressed."""
    yield data
    for place in range(len(data)):
        if data[place : place + 2] in (b"\x1f\x8b", b"\x78\x9c", b"\x78\xda", b"\x78\x01"):
            for unpack in (
                gzip.decompress,
                zlib.decompress,
                lambda packed: zlib.decompressobj().decompress(packed),
            ):
                try:
                    yield unpack(data[place:])
                except (OSError, EOFError, zlib.error):
                    continue


def traces() -> list[bytes]:
    """The marker as text in several writings, and the pixels in several number formats."""
    words = [MARKER.encode(), MARKER.encode("utf-16-le"), base64.b64encode(MARKER.encode())[:12]]
    words += [MARKER.encode().hex().encode(), f"{VALUES[0]:.1f}, {VALUES[1]:.1f}".encode()]
    pixels = [
        VALUES.astype(kind).tobytes()[:32]
        for kind in (np.int16, np.int32, np.float32, np.float64, np.float16)
    ]
    return words + pixels


def found_in(data: bytes) -> list[bytes]:
    return [trace for whole in plain_and_unpacked(data) for trace in traces() if trace in whole]


def test_the_marker_is_where_it_was_planted(study: Finished) -> None:
    """Else the tests below would pass whatever happened."""
    image = next((study.hospitals.folder / "north" / "imagesTr").glob("*.nii.gz"))
    assert MARKER in image.name
    assert {MARKER.encode(), VALUES.astype(np.float32).tobytes()[:32]} <= set(found_in(image.read_bytes()))
    assert MARKER in (study.home / "scores.csv").read_text()


def test_no_request_of_any_site_holds_the_marker(study: Finished) -> None:
    assert len(study.requests) > 50
    for one in study.requests:
        assert not found_in(json.dumps([one.path, one.query, one.headers]).encode()), one.path
        assert not found_in(one.body), one.path
    for data in messages(study.requests, pushed(study.requests)):
        assert not found_in(data)


def test_nothing_that_the_coordinator_wrote_holds_it(study: Finished) -> None:
    folder = study.hospitals.folder
    written = [path for path in sorted(study.hospitals.out.rglob("*")) if path.is_file()]
    written += [folder / "serve.log", folder / "serve.err", *sorted(folder.glob("*.fedseg"))]
    assert len(written) > 15
    for path in written:
        assert MARKER not in path.name
        assert not found_in(path.read_bytes()), path
