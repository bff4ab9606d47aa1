"""What leaves a site: searched byte by byte for what must not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import FedSegCore.simulation.simulate as simulation
from FedSegCore.data.check import check_dataset
from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from FedSegCore.federation.inprocess import InProcess
from FedSegCore.federation.ledger import Ledger, read_lines
from FedSegCore.federation.transport import Outbox
from FedSegCore.methods import averaging
from FedSegCore.simulation.run import Cache
from FedSegCore.study import parse_study
from FedSegCore.tensors import tensorfile

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "DOE_JANE"
HEADER = "BORN19700401"
FOLDER = "WARDSEVEN"
VALUE = 1234.5678
LICENCE = "on request: Dr Hans Mueller, MRN 123456"
METHODS = ("fedavg", "segviz", "iopfl", "local")
SMALL = {
    "name": "markers",
    "network": {"channels": [4, 8]},
    "plan": {"patch": [16, 16, 16]},
    "train": {"batch_size": 2, "threads": 1, "precision": "float32"},
}


@dataclass
class Heard:
    """Every byte that left a site, and what the ledger was told of it."""

    replies: list[bytes] = field(default_factory=list)
    recorded: list[bytes] = field(default_factory=list)
    cache: list[Cache] = field(default_factory=list)

    @property
    def everything(self) -> list[bytes]:
        """All messages, joining included."""
        return [*self.replies, *self.recorded]


def plant(dataset: Path) -> None:
    """Write the markers into headers, pixels and dataset.json of a phantom dataset."""
    for path in sorted(dataset.rglob("*.nii.gz")):
        image = nib.load(path)
        voxels = np.asarray(image.dataobj).copy()
        if "images" in str(path):
            voxels[2:4, 2:6, 2:4] = VALUE
        marked = nib.Nifti1Image(voxels, image.affine)
        marked.header["descrip"] = HEADER.encode()
        marked.header["db_name"] = HEADER.encode()
        marked.to_filename(path)
    description = json.loads((dataset / "dataset.json").read_text())
    for key in ("name", "description", "reference"):
        description[key] = HEADER
    (dataset / "dataset.json").write_text(json.dumps(description))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / FOLDER
    for seed, (name, style) in enumerate((("north", "ct"), ("south", "mr"))):
        write_phantom_dataset(
            folder / name,
            cases=2,
            test_cases=1,
            seed=seed,
            style=STYLES[style],
            shape=(16, 16, 16),
            prefix=NAME,
        )
        plant(folder / name)
    return folder


@pytest.mark.parametrize(
    ("what", "stated"),
    [
        ("licence", {"licence": LICENCE}),
        ("label", {"labels": {"background": 0, "Liver of MRN 123456": 1}}),
        ("channel", {"channel_names": {"0": "CT of Hans Mueller"}}),
    ],
)
def test_check_warns_of_a_person_in_the_texts_that_leave_a_site(
    datasets: Path, tmp_path: Path, what: str, stated: dict[str, Any]
) -> None:
    shutil.copytree(datasets / "north", tmp_path / "site")
    file = tmp_path / "site" / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | stated))
    (warning,) = [
        one for one in check_dataset(tmp_path / "site") if one.message.startswith(f"The {what} seems")
    ]
    assert (warning.file, warning.severity) == ("dataset.json", "warning")
    assert "leaves the site" in warning.fix


def listen(patch: pytest.MonkeyPatch) -> Heard:
    heard = Heard()
    exchange, record, read_cache = InProcess.exchange, Ledger.record, simulation.read_cache

    def heard_exchange(transport: InProcess, outbox: Outbox, round: Any) -> Iterator[Any]:
        for client, reply in exchange(transport, outbox, round):
            assert isinstance(reply, bytes), reply
            heard.replies.append(reply)
            yield client, reply

    def heard_record(ledger: Ledger, data: bytes, **facts: Any) -> dict[str, Any]:
        heard.recorded.append(data)
        return record(ledger, data, **facts)

    def heard_cache(*arguments: Any, **named: Any) -> Cache:
        heard.cache.append(read_cache(*arguments, **named))
        return heard.cache[-1]

    patch.setattr(InProcess, "exchange", heard_exchange)
    patch.setattr(Ledger, "record", heard_record)
    patch.setattr(simulation, "read_cache", heard_cache)
    patch.setattr(simulation, "report", lambda *arguments, **named: Path("report.html"))
    return heard


@pytest.fixture(scope="module")
def run(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Heard, Path]:
    """All methods that send something, once, with every site's personal model published."""
    sites = [
        {"name": name, "data": str(datasets / name), "publish_personal": True} for name in ("north", "south")
    ]
    raw = {"methods": list(METHODS), "rounds": 1, "site": sites, **SMALL}
    out = tmp_path_factory.mktemp("private") / "out"
    with pytest.MonkeyPatch.context() as patch:
        heard = listen(patch)
        study = parse_study(raw, datasets)
        simulation.simulate(
            study, out, device=torch.device("cpu"), resume=False, emit=lambda *event, **fields: None
        )
    return heard, out


def test_joining_updates_and_offers_were_heard(run: tuple[Heard, Path]) -> None:
    heard, _ = run
    kinds = [tensorfile.unpack(data)[0]["type"] for data in heard.recorded]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "Joining": 2 * len(METHODS),
        "AveragingUpdate": 2 * len(METHODS),
        "Offer": 2 * len(METHODS),
        "BankCounts": 2,
    }


@pytest.mark.parametrize("marker", [NAME, HEADER, FOLDER, "imagesTr", ".nii", str(VALUE), f"{VALUE:.2f}"])
def test_no_name_path_or_header_text_leaves_a_site(run: tuple[Heard, Path], marker: str) -> None:
    for data in run[0].everything:
        for encoding in ("utf-8", "utf-16-le"):
            assert marker.encode(encoding) not in data


def test_no_pixel_leaves_a_site_raw_or_prepared(run: tuple[Heard, Path], datasets: Path) -> None:
    heard, _ = run
    traces = {np.full(2, VALUE, kind).tobytes() for kind in (np.float32, np.float64, np.float16)}
    for cases in heard.cache[0].training.values():
        for case in cases:
            for rows in (case.image[0, :, 8, 8:10], case.image[0, 8, :, 8:10], case.image[0, 8:10, 8, :].T):
                traces.update(row.contiguous().numpy().tobytes() for row in rows)
    for path in sorted(datasets.glob("*/imagesTr/*")):
        raw = np.asarray(nib.load(path).dataobj, np.float32)
        traces.update(row.tobytes() for row in raw[:, 8, 8:10])
    traces = {trace for trace in traces if len(set(trace)) > 2}  # a run of zeros is nobody's pixel
    assert len(traces) > 200
    for data in heard.everything:
        assert not [trace for trace in traces if trace in data]


def test_only_weights_parts_and_pooled_numbers_leave(run: tuple[Heard, Path]) -> None:
    allowed = {
        "Joining": {"name", "modalities", "labels", "values", "num_cases", "licence", "passport"},
        "AveragingUpdate": {"weights", "loss", "dice", "scalars"},
        "Offer": {"personal", "private"},
        "BankCounts": {"good", "poor"},
    }
    for data in run[0].recorded:
        header, tensors = tensorfile.unpack(data)
        names = {name.partition("/")[0] for name in tensors} | set(header["fields"])
        assert names == allowed[header["type"]]
        assert set(header) == {"format", "sha256", "type", "fields"}


def test_what_was_heard_is_what_the_ledger_was_told(run: tuple[Heard, Path]) -> None:
    heard, _ = run
    sent = [data for data in heard.recorded if tensorfile.unpack(data)[0]["type"] != "Joining"]
    assert heard.replies == sent


def test_what_a_study_publishes_holds_no_marker(run: tuple[Heard, Path]) -> None:
    _, out = run
    published = [
        *out.rglob("models/*.safetensors"),
        *out.rglob("checkpoint.safetensors"),
        *out.rglob("*.jsonl"),
    ]
    assert len(published) >= 4 * len(METHODS)
    for path in published:
        data = path.read_bytes()
        for marker in (NAME, HEADER, FOLDER, str(VALUE)):
            assert marker.encode() not in data, path


def test_the_text_of_a_failure_stays_at_its_site(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, real = "DOE_JOHN", averaging.train
    calls, events = iter(range(4)), []

    def fail_first(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise ValueError(f"{case} in {datasets} has no voxels")
        return real(*arguments, **named)

    monkeypatch.setattr(averaging, "train", fail_first)
    sites = [{"name": name, "data": str(datasets / name)} for name in ("north", "south")]
    raw = {"method": "fedavg", "rounds": 2, "min_sites": 1, "site": sites, **SMALL}
    simulation.simulate(
        parse_study(raw, datasets), tmp_path, device=torch.device("cpu"), resume=False,
        emit=lambda event, **fields: events.append(str(fields)),
    )  # fmt: skip
    first, second = read_lines(tmp_path / "rounds.jsonl")
    assert first["left_out"] == {
        "north": "its training failed (ValueError); the site's errors.log says more."
    }
    assert second["left_out"] == {}
    (card,) = json.loads((tmp_path / "models" / "index.json").read_text()).values()
    assert card["failures"]["sites_left_out"] == {"north": 1}
    assert case in (tmp_path / "sites" / "north" / "errors.log").read_text()
    elsewhere = [path for path in tmp_path.rglob("*") if path.is_file() and "sites" not in path.parts]
    assert {"rounds.jsonl", "report.html", "index.json"} <= {path.name for path in elsewhere}
    assert not [path for path in elsewhere if case.encode() in path.read_bytes()]
    assert not [fields for fields in events if case in fields]


def test_the_search_would_find_a_marker() -> None:
    planted = tensorfile.pack({"image": torch.full((2,), VALUE)}, {"case": NAME})
    assert NAME.encode() in planted
    assert np.full(2, VALUE, np.float32).tobytes() in planted
