"""My data: a dataset folder that grows from the scene, and its check."""

import traceback
from pathlib import Path

from slicer.i18n import tr as _

from FedSegLib import scene, texts
from FedSegLib.adding import addCase
from FedSegLib.command import CommandNotFound
from FedSegLib.dataset import DatasetError, beginDataset, openDataset
from FedSegLib.details import namesOf
from FedSegLib.events import Message
from FedSegLib.job import DONE
from FedSegLib.matching import match
from FedSegLib.modality import guessModality
from FedSegLib.panels.inputrows import InputRows
from FedSegLib.panels.notice import Notice
from FedSegLib.panels.showing import fillTable, prepareTable

INPUT = "datasetInput."
"""Prefix of the parameter node's references to the volumes of the case to be added."""
INPUT_ROW = 1
"""Where their selectors stand in the section's form."""


class DataPanel:
    """The sections "Dataset", "Add the loaded case" and "Check".

    :param host: has `logic`, `parameterNode`, `startTimer()`, and `showDataset(dataset)`, which is told the dataset
        that can be trained on, or None.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._opened = self._dataset = self._folderProblem = None
        self._checking = None
        self._problems = []
        self._rows = InputRows(ui.addCollapsibleButton.layout(), INPUT_ROW, INPUT, self.refresh)
        ui.datasetLineEdit.connect("currentPathChanged(QString)", self.onDatasetChanged)
        ui.modalitiesLineEdit.connect("editingFinished()", self.refresh)
        ui.addButton.connect("clicked(bool)", self.onAddButton)
        ui.checkButton.connect("clicked(bool)", self.onCheckButton)
        ui.problemsTable.connect("cellClicked(int,int)", self.onProblemClicked)
        prepareTable(ui.problemsTable, [_("Problem"), _("What to do")], isWrapped=True)
        ui.problemsTable.visible = False
        self._addNotice = Notice(ui.addMessageLabel, ui.addMessageCopyButton, self._names)
        self._checkNotice = Notice(ui.checkMessageLabel, ui.checkMessageCopyButton, self._names)

    def onDatasetChanged(self, path):
        """The user named a folder."""
        parameters = self._host.parameterNode
        if parameters is not None:
            parameters.datasetFolder = path
            self._ui.problemsTable.visible = False
            self._checkNotice.tell([])
            self.refresh()

    def reload(self):
        """The folder may have changed since."""
        self._opened = None

    def refresh(self):
        """Show what the parameters and the scene say."""
        parameters = self._host.parameterNode
        if parameters is None:
            return
        if self._ui.datasetLineEdit.currentPath != parameters.datasetFolder:
            self._ui.datasetLineEdit.currentPath = parameters.datasetFolder
        if self._opened != parameters.datasetFolder:
            self._open(parameters.datasetFolder)
        known = self._dataset is not None
        if known:
            self._ui.modalitiesLineEdit.text = ", ".join(self._dataset.modalities)
        self._ui.modalitiesTitle.visible = self._ui.modalitiesLineEdit.visible = not known
        self._guessVolumes()
        self._ui.datasetLabel.text = texts.datasetText(
            parameters.datasetFolder, self._dataset, self._folderProblem
        )
        self._ui.addCollapsibleButton.visible = bool(parameters.datasetFolder)
        self._ui.resampleCheckBox.visible = len(self._modalities()) > 1
        segments = scene.segmentsOf(parameters.segmentation) if parameters.segmentation else None
        matching = None if segments is None else match(segments, self._structures(segments))
        self._ui.matchLabel.text = texts.matchingText(matching, segments) if matching else ""
        self._ui.matchLabel.visible = bool(matching)
        missing = texts.addMissingText(
            hasFolder=bool(parameters.datasetFolder),
            folderProblem=self._folderProblem,
            modalities=self._modalities(),
            volumes=self._rows.volumes(),
            matching=matching,
        )
        self._ui.addButton.enabled = not missing
        self._ui.addButton.toolTip = missing or self._ui.addButton.text
        self._ui.addMissingLabel.text = missing
        self._ui.addMissingLabel.visible = bool(missing)
        hasCases = known and self._dataset.numCases > 0
        self._ui.checkCollapsibleButton.visible = hasCases
        self._ui.checkButton.enabled = hasCases and self._checking is None
        self._host.showDataset(self._dataset if hasCases else None)

    def onAddButton(self, checked=False):
        """Add the case that is loaded."""
        parameters = self._host.parameterNode
        segmentation = parameters.segmentation
        segments = scene.segmentsOf(segmentation)
        try:
            dataset = self._dataset or beginDataset(
                Path(parameters.datasetFolder), self._modalities(), segments
            )
            volumes, before = self._rows.volumes(), dataset.numCases
            case = addCase(
                scene,
                dataset,
                [volumes[name] for name in dataset.modalities],
                segmentation,
                match(segments, dataset.structures),
                resample=parameters.resample,
            )
        except DatasetError as error:
            self._addNotice.fail(error.message)
        except OSError as error:
            self._addNotice.fail(texts.fileMessage(error), trace=traceback.format_exc())
        else:
            told = (
                _("Added as {case}. Cases now: {number}")
                if dataset.numCases > before
                else _("Replaced {case}.")
            )
            told = told.format(case=case.name, number=dataset.numCases)
            self._addNotice.tell([Message(told, "")])
        self.reload()
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
        self._checkNotice.tell([])
        try:
            self._checking = self._host.logic.startCheck(self._dataset.folder)
        except CommandNotFound as error:
            self._checkNotice.fail(error.message)
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
            error = Message(unreadable, self._problems[row].message.fix)
            self._checkNotice.fail(error, trace=traceback.format_exc())

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
        self._opened = folder
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
        parameterNode, modalities = self._host.parameterNode.parameterNode, self._modalities()
        self._rows.show(modalities, parameterNode)
        for volume in scene.imageVolumes():
            chosen = self._rows.volumes()
            name = modalities[0] if len(modalities) == 1 else guessModality(scene.textsOf(volume), modalities)
            if name and name not in chosen and volume not in chosen.values():
                parameterNode.SetNodeReferenceID(INPUT + name, volume.GetID())
        self._rows.show(modalities, parameterNode)

    def _names(self):
        """What an error's details must not tell."""
        return [*namesOf(self._opened), *(self._dataset.names if self._dataset else [])]

    def _structures(self, segments):
        """Those of the dataset; of one that is only to be begun those that were drawn."""
        return self._dataset.structures if self._dataset else {s.name: s.code for s in segments}

    def _takeCheck(self):
        job, self._checking = self._checking, None
        if job.state == DONE:
            self._problems = job.story.problems
            table = self._ui.problemsTable
            table.visible = bool(self._problems)
            fillTable(table, [texts.problemRow(problem) for problem in self._problems])
            self._checkNotice.tell([Message(texts.checkText(self._problems), "")])
        elif job.story.error is not None:
            self._checkNotice.fail(job.story.error, job=job)
        self.refresh()
