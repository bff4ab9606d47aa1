"""A scene's model: found again under another name, or known to have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from FedSegLib.cards import modelsIn
from FedSegLib.identity import identityOf, studyOf

from FedSegCore.inference.modelfile import ModelHeader
from Testing.extension.test_cards import CARD, folder
from Testing.extension.test_panel import items
from Testing.inference.conftest import MakeBank
from Testing.slicer_harness.app import App


def write_model(path: Path, sha256: str, study: str = "two organs") -> None:
    """A model file as far as its header."""
    told = {"__metadata__": {"fedseg": json.dumps({"study": study, "sha256": sha256})}}
    header = json.dumps(told).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    made = folder(tmp_path / "models", north=CARD, south=CARD, **{"global": CARD})
    for name in ("global", "north", "south"):
        write_model(made / f"{name}.safetensors", f"hash of {name}")
    return made


def reopened(app: App, models: Path, tmp_path: Path, change: Any) -> Any:
    """The panel of a scene that was saved with the model north, after a change of the models' folder."""
    app.volume()
    panel = app.open()
    panel.ui.modelFolderLineEdit.currentPath = str(models)
    panel.ui.modelComboBox.currentIndex = 1
    app.save(tmp_path / "scene.mrb")
    change()
    panel.exit()
    app.reopen(tmp_path / "scene.mrb")
    panel.enter()
    return panel


def test_a_real_model_tells_its_study_and_its_hash(header: ModelHeader, bank_of: MakeBank) -> None:
    identities = {choice.key: identityOf(choice) for choice in modelsIn(bank_of(header, "north", "south"))}
    assert all(studyOf(identity) == "a study" for identity in identities.values())
    assert len(set(identities.values())) == len(identities), (
        "each model and the mixture is told from the others"
    )


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\xff" * 30, (10**9).to_bytes(8, "little"), b"\2" + bytes(7) + b"[]"]
)
def test_a_file_of_something_else_has_no_identity(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "only.safetensors").write_bytes(content)
    (choice,) = modelsIn(tmp_path)
    assert identityOf(choice) == ""


def test_a_scene_finds_its_model_under_another_name(app: App, models: Path, tmp_path: Path) -> None:
    def rename() -> None:
        (models / "north.safetensors").rename(models / "zenith.safetensors")

    panel = reopened(app, models, tmp_path, rename)
    assert panel.parameterNode.model == "zenith.safetensors" and not panel.ui.messageLabel.visible
    assert items(panel.ui.modelComboBox)[panel.ui.modelComboBox.currentIndex] == "zenith"


def test_a_model_that_changed_since_the_scene_was_saved_is_told(
    app: App, models: Path, tmp_path: Path
) -> None:
    panel = reopened(
        app, models, tmp_path, lambda: write_model(models / "north.safetensors", "another", "else")
    )
    assert panel.parameterNode.model == "north.safetensors"
    assert panel.ui.messageLabel.text.startswith("north.safetensors has changed since it was chosen")
    panel.ui.modelComboBox.currentIndex = 2
    assert not panel.ui.messageLabel.visible, "a choice ends it"


def test_a_model_that_is_gone_is_told_before_another_one_is_used(
    app: App, models: Path, tmp_path: Path
) -> None:
    panel = reopened(app, models, tmp_path, (models / "north.safetensors").unlink)
    told = "The model that was chosen, north.safetensors of the study two organs, is not in this folder."
    assert panel.ui.messageLabel.text.startswith(told)


def test_a_folder_that_cannot_be_reached_is_not_the_end_of_the_choice(
    app: App, models: Path, tmp_path: Path
) -> None:
    panel = reopened(app, models, tmp_path, lambda: models.rename(tmp_path / "away"))
    assert panel.parameterNode.model == "north.safetensors" and not panel.ui.segmentButton.enabled
