"""An invitation: what it is, what will leave this computer, and whether its coordinator can be reached."""

from pathlib import Path

from slicer.i18n import tr as _

from FedSegLib import federationtexts as texts
from FedSegLib.command import CommandNotFound
from FedSegLib.details import namesOf
from FedSegLib.events import Message
from FedSegLib.federation import readInvitation
from FedSegLib.job import DONE
from FedSegLib.panels.notice import Notice


class InvitationPanel:
    """The sections "Invitation" and "What leaves this computer".

    :param host: has `logic` and `startTimer()`.
    :param onChanged: called when another file was opened, and when it was read.
    """

    def __init__(self, ui, host, onChanged):
        self._ui, self._host, self._onChanged = ui, host, onChanged
        self.file = self.invitation = None
        self._consent = None
        self._reading = self._testing = None
        ui.invitationLineEdit.connect("currentPathChanged(QString)", self.onFileChanged)
        ui.connectionButton.connect("clicked(bool)", self.onConnectionButton)
        self._connection = Notice(ui.connectionLabel, ui.connectionCopyButton, self._names)
        self._notice = Notice(ui.invitationMessageLabel, ui.invitationMessageCopyButton, self._names)
        self.show()

    def onFileChanged(self, path):
        """The user named a file."""
        self.open(Path(path) if path else None)

    def open(self, file):
        """Ask the command what a file is; None: no file."""
        self.abandon()
        self.file, self.invitation, self._consent = file, None, None
        self._connection.tell([])
        self._notice.tell([])
        if file is not None and file.is_file():
            try:
                self._reading = self._host.logic.startInfo(file)
                self._host.startTimer()
            except CommandNotFound as error:
                self._notice.fail(error.message)
        elif file is not None:
            told = _("There is no file {file}.").format(file=file)
            self._notice.fail(Message(told, _("Choose the invitation again.")))
        self.show()
        self._onChanged()

    def showConsent(self, consent):
        """What was agreed to, in the words that are kept; they are those of the invitation as it was joined."""
        if consent != self._consent:
            self._consent = consent
            self.show()

    def show(self, isLocked=False):
        """Show the invitation that is open.

        :param isLocked: a study goes on, and no other can be looked at.
        """
        ui, invitation = self._ui, self.invitation
        ui.invitationLineEdit.enabled = not isLocked
        ui.invitationLabel.visible = invitation is not None or self.file is None
        ui.connectionButton.visible = invitation is not None and not isLocked
        ui.connectionButton.enabled = self._testing is None
        if isLocked:
            self._connection.tell([])
        told = self._consent or invitation
        ui.leavesCollapsibleButton.visible = told is not None
        ui.invitationLabel.text = texts.invitationText(invitation)
        if told is not None:
            isPublished = told is invitation and invitation.asksPersonal and ui.publishCheckBox.checked
            ui.leavesLabel.text = texts.listText(told.leavesIfPublished if isPublished else told.leaves)
            ui.neverLeavesLabel.text = texts.listText(told.neverLeaves)
            toKnow = told.toKnow or (invitation.toKnow if invitation else ())
            ui.toKnowLabel.text = texts.listText(toKnow)
            ui.toKnowTitle.visible = ui.toKnowLabel.visible = bool(toKnow)

    def onConnectionButton(self, checked=False):
        """Try the way to the coordinator."""
        try:
            self._testing = self._host.logic.startConnectionTest(self.file)
        except CommandNotFound as error:
            self._connection.fail(error.message)
        else:
            self._host.startTimer()
            self._showTest(Message(_("Trying..."), ""))
        self.show()

    def poll(self):
        """Listen to what runs; whether anything still does."""
        if self._reading is not None and not self._reading.poll():
            self._takeInvitation()
        if self._testing is not None:
            if self._testing.poll():
                self._showTest(Message(_("Trying..."), ""))
            else:
                self._takeTest()
        return self._reading is not None or self._testing is not None

    def abandon(self):
        """End what runs."""
        for job in (self._reading, self._testing):
            if job is not None:
                job.kill()
        self._reading = self._testing = None

    def _names(self):
        """What an error's details must not tell."""
        return namesOf(self.file, self.file and self.file.parent)

    def _takeInvitation(self):
        job, self._reading = self._reading, None
        try:
            if job.state != DONE:
                raise ValueError
            self.invitation = readInvitation(job.story.result["summary"])
        except ValueError:
            isNone = _("{file} is no invitation.").format(file=self.file.name)
            fix = _("Ask the study's coordinator for one.")
            self._notice.fail(job.story.error or Message(isNone, fix), job=job)
        self.show()
        self._onChanged()

    def _takeTest(self):
        reached = Message(_("The coordinator can be reached, and is the one who made the invitation."), "")
        job = self._testing
        self._showTest(reached if job.state == DONE else job.story.error, hasFailed=job.state != DONE)
        self._testing = None
        self.show()

    def _showTest(self, end, *, hasFailed=False):
        """Each step of the way, and how it ended."""
        steps = "\n".join(step for step in self._testing.story.steps if step)
        told = [Message(steps, ""), end] if steps else [end]
        if hasFailed:
            self._connection.fail(end, among=told, job=self._testing)
        else:
            self._connection.tell(told)
