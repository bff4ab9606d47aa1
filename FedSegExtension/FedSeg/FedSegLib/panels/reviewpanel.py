"""Review: the queue of results, the doubtful ones first; each is looked at, corrected, and decided by a person."""

from datetime import datetime

import qt
import slicer
from slicer.i18n import tr as _

from FedSegLib import scene, texts
from FedSegLib.panels.showing import fillTable, prepareTable
from FedSegLib.review import (
    APPROVED,
    DRAWING,
    FLAGGED,
    MAP,
    REJECTED,
    decided,
    inOrder,
    nextOpen,
    reopened,
    volumeRole,
)

REVIEWER_SETTING = "FedSeg/reviewer"
UNDO_STEPS = 10


class ReviewPanel:
    """The section "Results and their review".

    :param host: has `addObserver`, `removeObserver` and `sendCorrection(volumes, segmentation)`.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._queue = []
        self._current = ""
        self._editor = None
        self._observed = {}
        prepareTable(ui.queueTable, [_("Result"), _("Disagreement"), _("Status")])
        ui.queueTable.connect("cellClicked(int,int)", self.onRowClicked)
        ui.editorWidget.visible = False
        ui.reviewerLineEdit.text = slicer.util.settingsValue(REVIEWER_SETTING, "")
        ui.reviewerLineEdit.connect("textChanged(QString)", self.onReviewerChanged)
        ui.approveButton.connect("clicked(bool)", lambda checked=False: self._decide(APPROVED))
        ui.flagButton.connect("clicked(bool)", lambda checked=False: self._decide(FLAGGED))
        ui.rejectButton.connect("clicked(bool)", lambda checked=False: self._decide(REJECTED))
        ui.nextButton.connect("clicked(bool)", self.onNextButton)
        ui.editButton.connect("clicked(bool)", self.onEditButton)
        ui.sendButton.connect("clicked(bool)", self.onSendButton)
        self.refresh()

    def refresh(self):
        """Show the scene's results."""
        self._queue = inOrder(scene.results())
        if self._observe(self._queue):
            self._queue = inOrder(scene.results())
        fillTable(self._ui.queueTable, [texts.queueRow(result) for result in self._queue])
        self._ui.queueTable.resizeColumnsToContents()
        self._ui.reviewCollapsibleButton.visible = bool(self._queue)
        self._showCurrent()

    def select(self, segmentation):
        """Look at a result; the editor lets go of the one before."""
        if segmentation.GetID() != self._current:
            self.leave()
        self._current = segmentation.GetID()
        self.refresh()
        if self._result() is not None:
            self._ui.commentLineEdit.text = self._result().comment
            volume = scene.referred(segmentation, volumeRole(self._result().modalities[0]))
            scene.showCase(segmentation, volume, scene.referred(segmentation, MAP))

    def onRowClicked(self, row, column):
        """The user wants to see a result."""
        self.select(scene.findNode(self._queue[row].nodeId))

    def onNextButton(self, checked=False):
        """To the next result that nobody has decided."""
        following = nextOpen(self._queue, self._current)
        if following is not None:
            self.select(scene.findNode(following.nodeId))

    def onReviewerChanged(self, name):
        """Who reviews; of this computer's user, so that it is not saved with the scene but in decisions."""
        qt.QSettings().setValue(REVIEWER_SETTING, name)
        self._showCurrent()

    def onEditButton(self, checked=False):
        """Correct the result in Slicer's own editor, here."""
        segmentation = scene.findNode(self._current)
        if self._editor is None:
            self._editor = slicer.qMRMLSegmentEditorWidget()
            self._editor.setMaximumNumberOfUndoStates(UNDO_STEPS)
            self._editor.setMRMLScene(slicer.mrmlScene)
            self._ui.editorWidget.layout().addWidget(self._editor)
        self._editor.setMRMLSegmentEditorNode(scene.segmentEditorNode())
        self._editor.setSegmentationNode(segmentation)
        self._editor.setSourceVolumeNode(self._volumes(segmentation).get(self._result().modalities[0]))
        self._ui.editorWidget.visible = True

    def onSendButton(self, checked=False):
        """Take the result, corrected or not, to the panel that adds cases to the dataset."""
        segmentation = scene.findNode(self._current)
        self._host.sendCorrection(self._volumes(segmentation), segmentation)

    def leave(self):
        """The module is left, or the scene closes: the editor lets go of both."""
        if self._editor is not None:
            self._editor.setActiveEffect(None)
            self._editor.setSegmentationNode(None)
            self._editor.setSourceVolumeNode(None)
        self._ui.editorWidget.visible = False

    def forget(self):
        """The scene closes."""
        self.leave()
        self._observe([])
        self._current = ""

    def _decide(self, status):
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        told = decided(
            status, reviewer=self._ui.reviewerLineEdit.text, at=now, comment=self._ui.commentLineEdit.text
        )
        segmentation = scene.findNode(self._current)
        scene.setAttributes(segmentation, {**told, DRAWING: self._drawn(segmentation, self._result())})
        self.refresh()
        self.onNextButton()

    def _observe(self, results):
        """A drawing that changes after its approval is no longer approved, whoever changes it, seen or unseen.

        :return: whether one had changed since.
        """
        wanted = {result.nodeId: scene.findNode(result.nodeId).GetSegmentation() for result in results}
        for nodeId, segmentation in list(self._observed.items()):
            if wanted.get(nodeId) is not segmentation:
                del self._observed[nodeId]
                for event in _changes():
                    self._host.removeObserver(segmentation, event, self._onDrawingChanged)
        new = [result for result in results if result.nodeId not in self._observed]
        for result in new:
            segmentation = self._observed[result.nodeId] = wanted[result.nodeId]
            for event in _changes():
                self._host.addObserver(segmentation, event, self._onDrawingChanged)
        changed = [self._reopenChanged(result) for result in new]  # each of them
        return any(changed)

    def _reopenChanged(self, result):
        """A result comes into sight that was decided earlier; whether its drawing is another one now."""
        node = scene.findNode(result.nodeId)
        hasChanged = (
            result.isDone and result.drawing != "" and self._drawn(node, result) not in ("", result.drawing)
        )
        if hasChanged:
            scene.setAttributes(node, reopened())
        return hasChanged

    def _drawn(self, segmentation, result):
        return scene.drawingFacts(
            segmentation, scene.referred(segmentation, volumeRole(result.modalities[0]))
        )

    def _onDrawingChanged(self, segmentation, event):
        for result in self._queue:
            if self._observed.get(result.nodeId) is segmentation and result.isDone:
                scene.setAttributes(scene.findNode(result.nodeId), reopened())
                self.refresh()

    def _result(self):
        return next((result for result in self._queue if result.nodeId == self._current), None)

    def _volumes(self, segmentation):
        """Modality -> volume of what was segmented, as far as it is still there."""
        found = {name: scene.referred(segmentation, volumeRole(name)) for name in self._result().modalities}
        return {name: volume for name, volume in found.items() if volume is not None}

    def _showCurrent(self):
        result = self._result()
        named = bool(self._ui.reviewerLineEdit.text.strip())
        self._ui.reviewLabel.text = texts.resultText(result) if result else _("Click a result to look at it.")
        self._showVerdict(result)
        self._ui.show3DButton.visible = result is not None
        self._ui.show3DButton.setSegmentationNode(scene.findNode(result.nodeId) if result else None)
        for button in (self._ui.approveButton, self._ui.flagButton, self._ui.rejectButton):
            button.enabled = result is not None and named
            button.toolTip = "" if named else _("Say who reviews first.")
        self._ui.editButton.enabled = result is not None
        approved = result is not None and result.status == APPROVED
        self._ui.sendButton.enabled = approved
        self._ui.sendButton.toolTip = (
            _("Take images and drawing to the panel My data, to be added as a training case.")
            if approved
            else _("Approve the result first: only approved drawings are learnt from.")
        )
        self._ui.nextButton.enabled = nextOpen(self._queue, self._current) is not None
        if result is not None:
            self._ui.queueTable.selectRow(self._queue.index(result))

    def _showVerdict(self, result):
        label = self._ui.verdictLabel
        label.text = texts.verdictText(result) if result else ""
        label.visible = bool(label.text)
        font = label.font
        font.setBold(result is not None and result.abstains)
        label.font = font


def _changes():
    """What tells that a drawing is another one."""
    events = slicer.vtkSegmentation
    return events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved
