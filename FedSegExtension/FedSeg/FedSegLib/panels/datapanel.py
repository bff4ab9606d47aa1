"""My data: a dataset folder that grows from the scene, and its check."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

from FedSegLib import scene, texts
from FedSegLib.adding import addCase
from FedSegLib.command import CommandNotFound
from FedSegLib.dataset import DatasetError, beginDataset, openDataset
from FedSegLib.events import Message
from FedSegLib.job import DONE
from FedSegLib.matching import match
from FedSegLib.modality import guessModality
from FedSegLib.panels.inputrows import InputRows

INPUT = "datasetInput."
"""Prefix of the parameter node's references to the volumes of the case to be added."""


class DataPanel:
    """The sections "Dataset", "Add a case" and "Check".

    :param host: has `logic`, `parameterNode`, `startTimer()`, and `showDataset(dataset)`, which is told the dataset
        that can be trained on, or None.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._dataset = self._folderProblem = None
        self._checking = None
        self._problems = []
        self._rows = InputRows(ui.inputRowsWidget.layout(), INPUT, self.refresh)
        ui.datasetLineEdit.connect("currentPathChanged(QString)", self.onDatasetChanged)
        ui.modalitiesLineEdit.connect("editingFinished()", self.refresh)
        ui.addButton.connect("clicked(bool)", self.onAddButton)
        ui.checkButton.connect("clicked(bool)", self.onCheckButton)
        ui.problemsTable.connect("cellClicked(int,int)", self.onProblemClicked)
        ui.problemsTable.setHorizontalHeaderLabels([_("File"), _("Problem"), _("What to do")])
        ui.problemsTable.horizontalHeader().setStretchLastSection(True)
        ui.problemsTable.verticalHeader().hide()
        ui.problemsTable.visible = False
        texts.tell(ui.addMessageLabel, [])
        texts.tell(ui.checkMessageLabel, [])

    def onDatasetChanged(self, path):
        """The user named a folder."""
        parameters = self._host.parameterNode
        if parameters is not None:
            parameters.datasetFolder = path
            self._ui.problemsTable.visible = False
            texts.tell(self._ui.checkMessageLabel, [])
            self.refresh()

    def refresh(self):
        """Show what the parameters and the scene say."""
        parameters = self._host.parameterNode
        if parameters is None:
            return
        if self._ui.datasetLineEdit.currentPath != parameters.datasetFolder:
            self._ui.datasetLineEdit.currentPath = parameters.datasetFolder
        self._open(parameters.datasetFolder)
        known = self._dataset is not None
        if known:
            self._ui.modalitiesLineEdit.text = ", ".join(self._dataset.modalities)
        self._ui.modalitiesLineEdit.enabled = not known
        self._rows.show(self._modalities(), parameters.parameterNode)
        self._guessVolumes()
        self._ui.datasetLabel.text = texts.datasetText(self._dataset, self._folderProblem)
        self._ui.datasetLabel.visible = bool(parameters.datasetFolder)
        matching = self._matching()
        self._ui.matchLabel.text = texts.matchingText(matching, self._segmentNames()) if matching else ""
        self._ui.matchLabel.visible = bool(matching)
        missing = self._missing(matching)
        self._ui.addButton.enabled = not missing
        self._ui.addButton.toolTip = missing or self._ui.addButton.text
        self._ui.addMissingLabel.text = missing
        self._ui.addMissingLabel.visible = bool(missing)
        hasCases = known and self._dataset.numCases > 0
        self._ui.checkButton.enabled = hasCases and self._checking is None
        self._host.showDataset(self._dataset if hasCases else None)

    def onAddButton(self, checked=False):
        """Add the case that is loaded."""
        parameters = self._host.parameterNode
        segmentation = parameters.segmentation
        try:
            dataset = self._dataset or beginDataset(
                Path(parameters.datasetFolder), self._modalities(), scene.segmentsOf(segmentation)
            )
            volumes, before = self._rows.volumes(), dataset.numCases
            case = addCase(
                scene,
                dataset,
                [volumes[name] for name in dataset.modalities],
                segmentation,
                match(scene.segmentsOf(segmentation), dataset.structures),
                resample=parameters.resample,
            )
        except DatasetError as error:
            texts.tell(self._ui.addMessageLabel, [error.message])
        except OSError as error:
            texts.tell(
                self._ui.addMessageLabel, [Message(str(error), _("Check the disk's space and your rights."))]
            )
        else:
            told = (
                _("Added as {case}. Cases now: {number}")
                if dataset.numCases > before
                else _("Replaced {case}.")
            )
            told = told.format(case=case.name, number=dataset.numCases)
            texts.tell(self._ui.addMessageLabel, [Message(told, "")])
        self.refresh()

    def sendCorrection(self, volumes, segmentation):
        """Select a corrected result's images and drawing as the case to be added.

        :param volumes: modality -> volume.
        """
        self._host.parameterNode.segmentation = segmentation
        if self._dataset is None and not self._ui.modalitiesLineEdit.text:
            self._ui.modalitiesLineEdit.text = ", ".join(volumes)
        self._rows.show(self._modalities(), self._host.parameterNode.parameterNode)
        for name in self._modalities():
            self._rows.select(name, volumes.get(name))  # none of another case stays selected
        self.refresh()

    def onCheckButton(self, checked=False):
        """Ask the command what is wrong with the dataset."""
        texts.tell(self._ui.checkMessageLabel, [])
        try:
            self._checking = self._host.logic.startCheck(self._dataset.folder)
        except CommandNotFound as error:
            texts.tell(self._ui.checkMessageLabel, [error.message])
        else:
            self._host.startTimer()
        self.refresh()

    def onProblemClicked(self, row, column):
        """Show the case that a problem is of."""
        path = self._dataset.folder / self._problems[row].file
        try:
            scene.showFile(path)
        except (OSError, RuntimeError):
            unreadable = _("{file} cannot be opened here.").format(file=path.name)
            texts.tell(self._ui.checkMessageLabel, [Message(unreadable, self._problems[row].message.fix)])

    def poll(self):
        """Listen to what runs; whether anything still does."""
        if self._checking is not None and not self._checking.poll():
            self._takeCheck()
        return self._checking is not None

    def abandon(self):
        """End what runs."""
        if self._checking is not None:
            self._checking.kill()
            self._checking = None

    def _open(self, folder):
        self._dataset, self._folderProblem = None, None
        if folder:
            try:
                self._dataset = openDataset(Path(folder))
            except DatasetError as error:
                self._folderProblem = error.message
            except OSError as error:
                told = _("{folder} cannot be read: {reason}.").format(folder=folder, reason=error.strerror)
                self._folderProblem = Message(told, _("Check your rights and the connection."))

    def _modalities(self):
        if self._dataset is not None:
            return list(self._dataset.modalities)
        told = (name.strip() for name in self._ui.modalitiesLineEdit.text.split(","))
        return list(dict.fromkeys(name for name in told if name))

    def _guessVolumes(self):
        """Volumes whose name or header speaks for a modality that has none yet, for the user to confirm."""
        for volume in scene.imageVolumes():
            chosen = self._rows.volumes()
            modalities = self._modalities()
            name = modalities[0] if len(modalities) == 1 else guessModality(scene.textsOf(volume), modalities)
            if name and name not in chosen and volume not in chosen.values():
                self._host.parameterNode.parameterNode.SetNodeReferenceID(INPUT + name, volume.GetID())
        self._rows.show(self._modalities(), self._host.parameterNode.parameterNode)

    def _segmentNames(self):
        segmentation = self._host.parameterNode.segmentation
        return {s.segmentId: s.name for s in scene.segmentsOf(segmentation)} if segmentation else {}

    def _matching(self):
        segmentation = self._host.parameterNode.segmentation
        if segmentation is None:
            return None
        segments = scene.segmentsOf(segmentation)
        structures = self._dataset.structures if self._dataset else {s.name: s.code for s in segments}
        return match(segments, structures)

    def _missing(self, matching):
        return texts.addMissingText(
            hasFolder=bool(self._host.parameterNode.datasetFolder),
            folderProblem=self._folderProblem,
            modalities=self._modalities(),
            volumes=self._rows.volumes(),
            matching=matching,
        )

    def _takeCheck(self):
        job, self._checking = self._checking, None
        if job.state == DONE:
            self._problems = job.story.problems
            self._fillProblems()
            found = texts.checkText(self._problems)
            texts.tell(self._ui.checkMessageLabel, [Message(found, "")])
        elif job.story.error is not None:
            texts.tell(self._ui.checkMessageLabel, [job.story.error])
        self.refresh()

    def _fillProblems(self):
        table = self._ui.problemsTable
        table.visible = bool(self._problems)
        table.setRowCount(len(self._problems))
        for row, problem in enumerate(self._problems):
            kind = _("Error") if problem.isError else _("Warning")
            for column, text in enumerate(
                (problem.file, f"{kind}: {problem.message.text}", problem.message.fix)
            ):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                table.setItem(row, column, item)
        table.resizeRowsToContents()
