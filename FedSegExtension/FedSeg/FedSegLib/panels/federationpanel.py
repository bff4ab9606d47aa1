"""Federation: the study that this computer takes part in, from its invitation to its models."""

import qt
import slicer
from slicer.i18n import tr as _

from FedSegLib import federationtexts as texts
from FedSegLib.cards import placeOf
from FedSegLib.details import namesOf
from FedSegLib.federation import PAUSED, Membership, chosenModel, presentRounds, progressOf, siteFolder
from FedSegLib.panels.curveplot import plot
from FedSegLib.panels.invitationpanel import InvitationPanel
from FedSegLib.panels.notice import Notice
from FedSegLib.panels.sentpanel import SentPanel
from FedSegLib.panels.showing import showProgress
from FedSegLib.participation import Participation
from FedSegLib.training import diceCurves

MEMBERSHIP_SETTING = "FedSeg/federation"
"""The study that this computer takes part in: of this computer, and never of a scene, which is given to others."""


class FederationPanel:
    """The tab "Federation": the invitation, "Take part", "This study", and what was sent and has come.

    :param host: has `logic`, `parameterNode`, `startTimer()` and `useModels(folder, name)`.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._dataset = None
        self._wasRunning = self._wasOver = False
        self._shownRounds = 0
        self._part = Participation(host.logic, remember)
        self._exchanged = SentPanel(ui, host)
        self._invitation = InvitationPanel(ui, host, self.onInvitationChanged)
        self._notice = Notice(ui.studyMessageLabel, ui.studyMessageCopyButton, self._names)
        ui.studyCurveLabel.visible = False
        ui.siteDataLineEdit.connect("currentPathChanged(QString)", self.onDataChanged)
        for box in (ui.ethicsCheckBox, ui.agreementCheckBox, ui.publishCheckBox):
            box.connect("toggled(bool)", lambda checked: self._show())
        ui.joinButton.connect("clicked(bool)", self.onJoinButton)
        ui.goOnButton.connect("clicked(bool)", lambda checked=False: self._do(self._part.goOn))
        ui.stopButton.connect("clicked(bool)", lambda checked=False: self._do(self._part.stop))
        ui.pauseButton.connect("clicked(bool)", lambda checked=False: self._do(self._part.pauseOrResume))
        ui.leaveButton.connect("clicked(bool)", self.onLeaveButton)
        self._recall()

    def refresh(self):
        """Show what the parameters say."""
        parameters = self._host.parameterNode
        if parameters is not None and self._ui.siteDataLineEdit.currentPath != parameters.datasetFolder:
            self._ui.siteDataLineEdit.currentPath = parameters.datasetFolder

    def showDataset(self, dataset):
        """The dataset that could take part; None: there is none, or it has no cases."""
        self._dataset = dataset
        self._show()

    def onDataChanged(self, path):
        """The user named a folder, here or in the tab of the data: it is one and the same."""
        if self._host.parameterNode is not None:
            self._host.parameterNode.datasetFolder = path

    def onInvitationChanged(self):
        """Another file was opened, or read; what was confirmed for the one before says nothing of it."""
        for box in (self._ui.ethicsCheckBox, self._ui.agreementCheckBox, self._ui.publishCheckBox):
            box.checked = False
        isKnown = self._part.isOf(self._invitation.file)
        self._ui.leavesCollapsibleButton.collapsed = isKnown
        if self._part.isOver and not isKnown:
            self._part.forget()
            self._exchanged.clear()
        self._show()

    def onJoinButton(self, checked=False):
        """The user agrees and joins."""
        invitation, file = self._invitation.invitation, self._invitation.file
        if self._part.rests and not self._part.isOf(file):
            question = _(
                "This computer takes part in {study}. Join another study instead, without leaving it?"
            )
            if not slicer.util.confirmOkCancelDisplay(question.format(study=self._part.member.study)):
                return
        member = Membership(
            study=invitation.study,
            site=invitation.site,
            file=file,
            folder=siteFolder(file, invitation, self._dataset.folder),
            data=self._dataset.folder,
            publishes=invitation.asksPersonal and self._ui.publishCheckBox.checked,
        )
        self._do(lambda: self._part.join(member))

    def onLeaveButton(self, checked=False):
        """Leave for good, after asking."""
        question = _(
            "Leave {study}? Nothing more will be sent. What was sent stays part of the study's models, and coming "
            "back takes a new invitation."
        )
        if slicer.util.confirmOkCancelDisplay(question.format(study=self._part.member.study)):
            self._do(self._part.leave)

    def poll(self):
        """Listen to what runs; whether anything still does."""
        wasBusy = self._part.isRunning or self._part.isAsking
        isReading, isTakingPart = self._invitation.poll(), self._part.poll()
        if self._part.story.consent is not None:
            self._invitation.showConsent(self._part.story.consent)
        if wasBusy:
            self._show()
        return isReading or isTakingPart

    def abandon(self):
        """End what runs; the study can be gone on with."""
        self._invitation.abandon()
        self._part.close()

    def _recall(self):
        """The study of another day is offered again."""
        self._part.recall(slicer.util.settingsValue(MEMBERSHIP_SETTING, ""))
        if self._part.member is not None:
            self._ui.invitationLineEdit.currentPath = str(self._part.member.invitation)
            self._host.startTimer()
        self._show()

    def _do(self, begin):
        """Begin what a button asks for, and listen to it."""
        begin()
        self._host.startTimer()
        self._show()

    def _show(self):
        ui, part = self._ui, self._part
        if part.isRunning and not self._wasRunning:
            ui.leavesCollapsibleButton.collapsed = True  # it was agreed to; the study needs the room
        self._wasRunning = part.isRunning
        self._invitation.show(isLocked=part.isRunning)
        self._showOffer()
        self._showStudy()
        self._exchanged.show(part.sent, part.models)
        hasEnded = part.isOver and not self._wasOver and not part.hasLeft
        self._wasOver = part.isOver  # before the models are listed, which comes back here
        if hasEnded:
            self._useModels()

    def _showOffer(self):
        """The section "Take part"."""
        ui, part, invitation = self._ui, self._part, self._invitation.invitation
        isNew = part.mustAgree or not part.isOf(self._invitation.file)
        ui.joinCollapsibleButton.visible = invitation is not None and isNew and not part.isRunning
        ui.siteDataLabel.text = texts.datasetLine(self._dataset)
        ui.siteDataLabel.visible = self._dataset is not None
        ui.publishCheckBox.visible = invitation is not None and invitation.asksPersonal
        missing = texts.joinMissingText(
            hasDataset=self._dataset is not None,
            isApproved=ui.ethicsCheckBox.checked,
            isAgreed=ui.agreementCheckBox.checked,
        )
        ui.joinButton.enabled = not missing
        ui.joinMissingLabel.text = missing
        ui.joinMissingLabel.visible = bool(missing)

    def _showStudy(self):
        """The section "This study"."""
        ui, part = self._ui, self._part
        ui.studyCollapsibleButton.visible = part.member is not None or bool(part.told)
        ui.studyLabel.visible = part.member is not None
        if part.member is not None:
            ui.studyLabel.text = texts.studyText(part)
        isBusy = part.isRunning and part.state != PAUSED
        ui.studyProgressBar.visible = isBusy
        if isBusy:
            showProgress(ui.studyProgressBar, progressOf(part.story))
        ui.goOnButton.visible = part.rests
        ui.stopButton.visible = ui.pauseButton.visible = part.isRunning
        ui.leaveButton.visible = part.isRunning or part.rests
        ui.pauseButton.text = _("Resume") if part.isToPause else _("Pause")
        for button in (ui.goOnButton, ui.pauseButton, ui.leaveButton):
            button.enabled = not part.isAsking and not part.isLeaving
        if part.failed is not None:
            self._notice.fail(part.failed.story.error, among=texts.notices(part), job=part.failed)
        else:
            self._notice.tell(texts.notices(part))
        self._showCurve()

    def _names(self):
        """What an error's details must not tell."""
        member = self._part.member
        told = namesOf(member.folder, member.data, member.invitation) if member else []
        return [*told, *namesOf(self._invitation.file), *(self._dataset.names if self._dataset else [])]

    def _showCurve(self):
        rounds = self._part.story.rounds
        if len(rounds) == self._shownRounds:
            return
        self._shownRounds = len(rounds)
        curves = diceCurves(presentRounds(rounds))
        self._ui.studyCurveLabel.visible = bool(curves)
        if curves:
            self._ui.studyCurveLabel.setPixmap(plot(curves, self._ui.studyCurveLabel.palette))

    def _useModels(self):
        """The study has ended: its model is the one to segment with."""
        model = chosenModel(self._part.models)
        if model is not None:
            self._host.useModels(*placeOf(model.path))


def remember(text):
    """Keep a text in the application's settings; an empty one takes it away."""
    if text:
        qt.QSettings().setValue(MEMBERSHIP_SETTING, text)
    else:
        qt.QSettings().remove(MEMBERSHIP_SETTING)
