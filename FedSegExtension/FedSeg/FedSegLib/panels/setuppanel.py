"""What FedSeg runs on: whether all of it is there, and its installation on request."""

import slicer
from slicer.i18n import tr as _

from FedSegLib.command import COMMAND_SETTING, CommandNotFound
from FedSegLib.details import namesOf
from FedSegLib.events import Message
from FedSegLib.installing import installationText, readInstallation
from FedSegLib.job import DONE
from FedSegLib.panels.notice import Notice


class SetupPanel:
    """The section "Setup".

    :param host: has `logic` and `startTimer()`.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._checking = self._installing = self._installation = None
        ui.installButton.connect("clicked(bool)", self.onInstallButton)
        ui.checkInstallationButton.connect("clicked(bool)", lambda checked=False: self.check())
        ui.setupCollapsibleButton.connect("contentsCollapsed(bool)", self.onCollapsed)
        self._notice = Notice(ui.installationLabel, ui.installationCopyButton, self._names)
        self._show("")

    def check(self):
        """Ask the command what it runs on; of another one that is asked no answer is wanted any more."""
        if self._installing is not None:
            return
        if self._checking is not None:
            self._checking.kill()
            self._checking = None
        try:
            self._checking = self._host.logic.startInfo()
        except CommandNotFound as error:
            self._installation = None
            self._fail(error.message)
        else:
            self._show(_("Looking at the installation..."))
            self._host.startTimer()

    def onCollapsed(self, collapsed):
        """The section was collapsed or expanded."""
        if not collapsed:
            self._notice.show()
            self._showButtons()

    def onInstallButton(self, checked=False):
        """Install what is lacking, after asking."""
        found = self._installation
        question = _(
            "FedSeg needs {names}. Torch is installed by the PyTorch extension, the others from the Python "
            "package index into a folder of FedSeg's own; no package of Slicer is changed. Install them now?"
        )
        if not slicer.util.confirmOkCancelDisplay(question.format(names=", ".join(found.lacking))):
            return
        try:
            if found.lacksTorch and not self._host.logic.installTorch():
                self._show(_("Torch was not installed."), isFlaw=True)
                return
            if found.lacksOthers:
                self._installing = self._host.logic.startInstall()
                self._show(_("Installing..."))
                self._host.startTimer()
                return
        except CommandNotFound as error:
            self._fail(error.message)
            return
        except ModuleNotFoundError:
            needs = _("FedSeg needs the extension PyTorch.")
            fix = _("Install it in the Extensions Manager and restart Slicer.")
            self._fail(Message(needs, fix))
            return
        self.check()

    def poll(self):
        """Listen to what runs; whether anything still does."""
        if self._checking is not None and not self._checking.poll():
            self._takeCheck()
        if self._installing is not None and not self._installing.poll():
            job, self._installing = self._installing, None
            if job.state == DONE:
                self.check()
            else:
                self._fail(job.story.error, job)
        return self._checking is not None or self._installing is not None

    def abandon(self):
        """End what runs."""
        for job in (self._checking, self._installing):
            if job is not None:
                job.kill()
        self._checking = self._installing = None
        self._show(self._ui.installationLabel.text)

    def _names(self):
        """What an error's details must not tell."""
        return namesOf(slicer.util.settingsValue(COMMAND_SETTING, ""))

    def _takeCheck(self):
        job, self._checking = self._checking, None
        try:
            if job.state != DONE:
                raise ValueError
            self._installation = readInstallation(job.story.result["summary"])
        except ValueError:
            self._installation = None
            message = job.story.error or Message(
                _("This FedSeg does not say what it runs on."), _("Install its present version.")
            )
            self._fail(message, job)
        else:
            self._show(installationText(self._installation), isFlaw=bool(self._installation.lacking))

    def _show(self, text, isFlaw=False):
        self._notice.tell([Message(text, "")] if text else [])
        self._showButtons()
        if isFlaw:
            self._ui.setupCollapsibleButton.collapsed = False

    def _fail(self, error, job=None):
        self._show("", isFlaw=True)
        self._notice.fail(error, job=job)

    def _showButtons(self):
        found = self._installation
        self._ui.installButton.visible = bool(found and found.lacking) and self._host.logic.canInstall()
        busy = self._checking is not None or self._installing is not None
        self._ui.installButton.enabled = self._ui.checkInstallationButton.enabled = not busy
