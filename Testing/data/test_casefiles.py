from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from FedSegCore.data.batches import Batches
from FedSegCore.data.case import Dataset, read_dataset
from FedSegCore.data.casefiles import CaseFiles, digest_of
from FedSegCore.data.labels import Annotation, annotate
from FedSegCore.data.phantom import write_phantom_dataset
from FedSegCore.data.plan import Plan
from FedSegCore.data.prepared import FiledCase, cache_case, file_case, key_of
from FedSegCore.errors import StorageError

PLAN = Plan(3, patch=(8, 8, 8))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("site")
    write_phantom_dataset(folder, cases=3, seed=0, shape=(12, 10, 9))
    return read_dataset(folder)


@pytest.fixture
def annotation(dataset: Dataset) -> Annotation:
    return annotate(("Liver", "Kidney"), dataset.labels)


def filed(dataset: Dataset, annotation: Annotation, plan: Plan, folder: Path) -> list[FiledCase]:
    files = CaseFiles(folder)
    return [
        file_case(case, dataset, plan, annotation, channels=(0,), files=files) for case in dataset.training
    ]


@pytest.mark.parametrize(
    "plan", [PLAN, Plan(2, patch=(8, 8)), Plan(3, patch=(16, 8, 16)), Plan(2, patch=(16, 8))],
    ids=["volumes", "slices", "padded volumes", "padded slices"],
)  # fmt: skip
def test_patches_from_files_are_those_from_memory(
    plan: Plan, dataset: Dataset, annotation: Annotation, tmp_path: Path
) -> None:
    kept = [cache_case(case, dataset, plan, annotation, channels=(0,)) for case in dataset.training]
    ways = [kept, filed(dataset, annotation, plan, tmp_path / "cache")]
    first, second = (
        Batches(cases, patch=plan.patch, batch_size=2, dims=plan.dims) for cases in ways  # type: ignore[arg-type]
    )  # fmt: skip
    for seed in (0, 1):
        pairs = zip(
            first.epoch(torch.Generator().manual_seed(seed)),
            second.epoch(torch.Generator().manual_seed(seed)),
            strict=True,
        )
        for one, other in pairs:
            assert torch.equal(one.image, other.image) and torch.equal(one.target, other.target)
            assert torch.equal(one.annotated, other.annotated)
    for one, other in zip(*ways, strict=True):
        assert torch.equal(one.image, other.image) and torch.equal(one.target, other.target)


def test_a_case_is_prepared_once(
    dataset: Dataset, annotation: Annotation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed(dataset, annotation, PLAN, tmp_path / "cache")
    monkeypatch.setattr("FedSegCore.data.prepared.read_labelled_case", None)
    assert len(filed(dataset, annotation, PLAN, tmp_path / "cache")) == len(dataset.training)


def test_whatever_changes_what_is_prepared_changes_its_name(
    dataset: Dataset, annotation: Annotation, tmp_path: Path
) -> None:
    case, plain = dataset.training[0], {"channels": (0,), "purpose": "training"}

    def name(plan: Plan = PLAN, said: Annotation = annotation, **changed: Any) -> str:
        return key_of(case, dataset, plan, said, **(plain | changed))

    fewer = Annotation(annotation.labels, (annotation.groups[0], ()))
    names = [name(), name(replace(PLAN, spacing_mm=(2.0, 2.0, 2.0))), name(said=fewer), name(purpose="test"),
             name(channels=(0, None))]  # fmt: skip
    shutil.copytree(dataset.folder, tmp_path / "moved")
    moved = read_dataset(tmp_path / "moved").training[0]
    assert key_of(moved, dataset, PLAN, annotation, **plain) == names[0], "the place does not matter"
    shutil.copy(dataset.training[1].images[0], moved.images[0])
    names.append(key_of(moved, dataset, PLAN, annotation, **plain))
    assert len(set(names)) == len(names)


def test_a_full_disk_is_said_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("FedSegCore.data.casefiles.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        CaseFiles(tmp_path / "cache").keep("key", lambda: {"image": np.zeros(3)})
    assert not list((tmp_path / "cache").iterdir())


def test_of_two_processes_that_prepare_one_case_the_first_ones_files_stay(tmp_path: Path) -> None:
    files = CaseFiles(tmp_path / "cache")

    def slow() -> dict[str, np.ndarray]:
        files.keep("key", lambda: {"image": np.ones(3)})
        return {"image": np.zeros(3)}

    assert files.keep("key", slow)["image"].sum() == 3
    assert [path.name for path in files.folder.iterdir()] == ["key"]


def test_a_mapped_array_is_let_go_with_its_last_user(tmp_path: Path) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what a process maps")
    arrays = CaseFiles(tmp_path / "cache").keep("key", lambda: {"image": np.arange(9.0)})
    image = torch.from_numpy(arrays["image"])
    image += 1.0
    assert arrays["image"][0] == 0.0, "what a user changes stays with that user"
    assert str(tmp_path) in maps.read_text()
    del image
    assert str(tmp_path) not in maps.read_text()


def test_two_images_whose_names_hold_brackets_or_that_name_their_voxels_file_are_told_apart(
    tmp_path: Path,
) -> None:
    headers = [tmp_path / "case[1].mhd", tmp_path / "case[2].mhd", tmp_path / "other.mhd"]
    for header, voxels in zip(headers, ("case[1].raw", "case[2].raw", "elsewhere.bin"), strict=True):
        header.write_text(f"ElementDataFile = {voxels}\n")
        (tmp_path / voxels).write_bytes(voxels.encode())
    digests = [digest_of([header], {}) for header in headers]
    assert len(set(digests)) == 3
    (tmp_path / "elsewhere.bin").write_bytes(b"changed")
    (tmp_path / "case[1].raw").write_bytes(b"changed")
    assert [digest_of([header], {}) == was for header, was in zip(headers, digests, strict=True)] == [
        False,
        True,
        False,
    ]
