from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from FedSegCore.errors import ModelFileError
from FedSegCore.tensors.header import read_header, tensor_shapes
from FedSegCore.tensors.tensorfile import load, save

HEAVY = ("torch", "numpy", "monai", "nibabel", "scipy", "matplotlib", "SimpleITK", "safetensors")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save(file, {"kernel": torch.ones(2, 3), "bias": torch.tensor(1.0)}, {"name": "global"})
    return file


def test_the_header_is_the_one_that_loading_gives(path: Path) -> None:
    assert read_header(path) == load(path)[0]


def test_shapes_are_told_without_the_tensors(path: Path) -> None:
    assert tensor_shapes(path) == {"bias": (), "kernel": (2, 3)}


def test_a_file_cut_anywhere_is_refused_without_reading_its_tensors(path: Path) -> None:
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelFileError):
            read_header(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ModelFileError, match="truncated"):
        read_header(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\3\4 a zip file of another program",
        b"\x10\0\0\0\0\0\0\0{}",
        b"\x02\0\0\0\0\0\0\0[]",
        b"\x02\0\0\0\0\0\0\0{}",
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0\xff\xfe",
        b'\x08\0\0\0\0\0\0\0{"a": 1}',
        b'\x0f\0\0\0\0\0\0\0{"__metadata__":{"fedseg":3}}',
    ],
)
def test_foreign_files_are_one_sentence(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model\.safetensors") as caught:
        read_header(path)
    assert caught.value.fix


def test_another_version_is_told_without_reading_further(path: Path) -> None:
    text = json.dumps({"__metadata__": {"fedseg": json.dumps({"format": 7})}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ModelFileError, match="format version 7, but this FedSeg reads version 1"):
        read_header(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_header(tmp_path / "none")


@pytest.mark.parametrize(
    "code",
    [
        "from FedSegCore.tensors.header import read_header; print(read_header(path)['name'])",
        "from FedSegCore.cli import main; assert main(['info', str(path)]) == 0",
        "from FedSegCore.cli import main; assert main(['info', str(path), '--json']) == 0",
    ],
)
def test_a_header_is_read_without_torch(path: Path, code: str) -> None:
    program = (
        f"import sys; from pathlib import Path; path = Path({str(path)!r})\n{code}\n"
        f"heavy = sorted(set({HEAVY}) & set(sys.modules)); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "global" in done.stdout
