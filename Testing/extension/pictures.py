"""Pictures of the module's panels in their main states, drawn by the harness, with the real command on real images.

    python -m Testing.extension.pictures DIR --models RUN/models [--only NAME ...] [--dark]

RUN is a finished run of `Resources/studies/outside_twin.toml`. Needed: $FEDSEG_DATA. What runs, runs in the folder
FedSeg of the system's temporary folder, whose paths the pictures show.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from Testing.extension.picturesets import REAL_DATA, federation, links, site
from Testing.slicer_harness.app import App, start
from Testing.slicer_harness.picture import save_picture

FEDERATION, DATA, SEGMENT = range(3)
LONGEST_S = 900.0
SHOWN = ("running", "train", "abstain")
"""The panels that stand in one picture, panels.png."""
HIGHEST = 760
"""Pixels of that picture."""


@dataclass
class Studio:
    """What a state is made with.

    Args:
        folder: receives what the command reads and writes, new for each state.
        models: published models of members of a study.
        take: draw the panel as it is now, under a name.
    """

    app: App
    folder: Path
    models: Path
    take: Callable[[str], None]
    panel: Any = None

    @property
    def ui(self) -> Any:
        """The panel's widgets."""
        return self.panel.ui

    def open(self, tab: int) -> None:
        """The panel, at rest, with one of its tabs in front."""
        self.panel = self.app.open()
        self.ui.tabWidget.currentIndex = tab
        self.rest()

    def rest(self, until: Callable[[], bool] = lambda: False) -> None:
        """Wait until something is true, or nothing runs any more."""
        self.app.wait(lambda: until() or not self.panel._timer.isActive(), LONGEST_S)

    def segment(self, model: int) -> None:
        """One line of the list of models on the selected volume, until its result is shown."""
        self.ui.modelComboBox.currentIndex = model
        self.rest()
        self.app.click(self.ui.segmentButton)
        self.rest()


def setup(studio: Studio) -> None:
    """The first time: no torch, no package."""
    bin_ = studio.folder / "bin"
    bin_.mkdir()
    program = bin_ / "PythonSlicer"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    program.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = studio.app.environment["PATH"] = f"{bin_}:/bin"
    try:
        studio.app.settings.clear()
        studio.open(SEGMENT)
        studio.take("setup")
    finally:
        os.environ["PATH"] = before


def segment(studio: Studio) -> None:
    """A model chosen by its card, its result in 3-D, a mixture that trusts itself, one that does not, the queue."""
    app = studio.app
    for name, case in (
        ("Scan A", "east/imagesTr/hippocampus_098"),
        ("Scan B", "island/imagesTr/hippocampus_096"),
    ):
        app.load(REAL_DATA / "hippo_shift" / f"{case}.nii.gz", name)
    scans = app.nodes("vtkMRMLScalarVolumeNode")
    studio.open(SEGMENT)
    studio.take("empty")
    links(studio.models, studio.folder / "models")
    studio.ui.modelFolderLineEdit.currentPath = str(studio.folder / "models")
    studio.rest()
    studio.take("ready")
    mixture = studio.ui.modelComboBox.count - 1
    studio.panel.parameterNode.volume = scans[0]
    studio.segment(0)
    studio.take("segment")
    studio.segment(mixture)
    studio.take("routed")
    studio.panel.parameterNode.volume = scans[1]
    studio.segment(mixture)
    studio.take("abstain")
    studio.ui.reviewerLineEdit.text = "Dr. Example"
    studio.ui.inputsCollapsibleButton.collapsed = True
    studio.ui.queueTable.cellClicked.emit(2, 0)
    app.click(studio.ui.approveButton)
    studio.take("review")


def data(studio: Studio) -> None:
    """A dataset that grows, its planted fault, a training."""
    folder = studio.folder / "hippocampus"
    site("north", folder, cases=8, fault=True)
    app = studio.app
    app.load(REAL_DATA / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz", "Scan C")
    app.slicer.util.loadSegmentation(
        str(REAL_DATA / "hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"), {}
    )
    drawing = app.nodes("vtkMRMLSegmentationNode")[0].GetSegmentation()
    for place, structure in enumerate(("Anterior", "Posterior")):
        drawing.GetNthSegment(place).SetName(structure)
    studio.open(DATA)
    studio.take("no_dataset")
    studio.ui.datasetLineEdit.currentPath = str(folder)
    studio.panel.parameterNode.segmentation = app.nodes("vtkMRMLSegmentationNode")[0]
    studio.rest()
    studio.take("add")
    app.click(studio.ui.checkButton)
    studio.rest()
    studio.take("check")
    shutil.rmtree(folder)
    site("north", folder, cases=8)
    studio.ui.addCollapsibleButton.collapsed = True
    app.click(studio.ui.checkButton)
    studio.rest()
    app.click(studio.ui.trainButton)
    studio.rest(lambda: "Round 6 of" in studio.ui.trainLabel.text)
    studio.take("train")
    app.click(studio.ui.trainButton)
    studio.rest()
    studio.take("cancelled")


def take_part(studio: Studio) -> None:
    """An invitation, the study as it runs, what was sent, and its end."""
    with federation(studio.folder) as made:
        studio.open(FEDERATION)
        studio.take("no_invitation")
        ui, app = studio.ui, studio.app
        ui.invitationLineEdit.currentPath = str(made.invite("north"))
        ui.siteDataLineEdit.currentPath = str(studio.folder / "north")
        studio.rest()
        studio.take("invitation")
        app.click(ui.connectionButton)
        studio.rest()
        for button in (ui.ethicsCheckBox, ui.agreementCheckBox):
            app.click(button)
        studio.take("agreed")
        app.click(ui.joinButton)
        studio.rest(lambda: "Round 6 of" in ui.studyLabel.text)
        studio.take("running")
        ui.invitationCollapsibleButton.collapsed = True
        ui.sentTable.selectRow(2)
        ui.sentTable.cellClicked.emit(2, 0)
        studio.take("ledger")
        ui.sentDetails.visible = False
        studio.rest(lambda: studio.panel._federation._part.isOver)
        studio.take("ended")


def shrink(path: Path) -> None:
    """A picture in its 256 most used colours, a third of the bytes."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def beside(folder: Path, names: tuple[str, ...], out: Path, qt: Any) -> None:
    """Some pictures in one, if all are there."""
    paths = [folder / f"panel_{name}.png" for name in names]
    if not all(path.is_file() for path in paths):
        return
    pictures = [qt.QPixmap(str(path)) for path in paths]
    whole = qt.QPixmap(
        sum(one.width() for one in pictures), min(max(one.height() for one in pictures), HIGHEST)
    )
    whole.fill(pictures[0].toImage().pixelColor(0, 0))
    painter, left = qt.QPainter(whole), 0
    for one in pictures:
        painter.drawPixmap(left, 0, one)
        left += one.width()
    painter.end()
    whole.save(str(out))
    shrink(out)


STATES = {"setup": setup, "segment": segment, "data": data, "federation": take_part}


def darken(app: App) -> None:
    """The colours of Slicer's dark style."""
    qt: Any = app.qt
    palette = qt.QPalette(qt.QColor(50, 50, 50), qt.QColor(50, 50, 50))
    palette.setColor(qt.QPalette.Base, qt.QColor(30, 30, 30))
    palette.setColor(qt.QPalette.Highlight, qt.QColor(80, 110, 150))
    app.slicer.app.setPalette(palette)


def main() -> None:
    """Draw what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=[*STATES], default=[*STATES])
    parser.add_argument("--dark", action="store_true")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.gettempdir()) / "FedSeg"
    app = start(Path(tempfile.mkdtemp(prefix="slicer-harness-")))
    if words.dark:
        darken(app)
    for name in words.only:
        work.mkdir()
        try:
            with app.session():
                app.settings.setValue("FedSeg/command", sys.executable)
                app.environment["OMP_NUM_THREADS"] = "1"
                studio = Studio(app, work, words.models.resolve(), lambda _name: None)

                def take(name: str, studio: Studio = studio) -> None:
                    print(name, flush=True)
                    save_picture(studio.panel.parent, words.out / f"panel_{name}.png")
                    shrink(words.out / f"panel_{name}.png")

                studio.take = take
                STATES[name](studio)
        finally:
            shutil.rmtree(work)
    beside(words.out, SHOWN, words.out / "panels.png", app.qt)
    sys.stdout.flush()
    os._exit(0)  # Qt and VTK may not agree on who is destroyed first


if __name__ == "__main__":
    main()
