"""Local training on the site's dataset, without any federation."""

import traceback

from slicer.i18n import tr as _

from FedSegLib import texts
from FedSegLib.command import CommandNotFound
from FedSegLib.details import namesOf
from FedSegLib.events import Message
from FedSegLib.job import CANCELLED, DONE
from FedSegLib.panels.curveplot import plot
from FedSegLib.panels.modelchoice import ModelChoice
from FedSegLib.panels.notice import Notice
from FedSegLib.panels.showing import showProgress
from FedSegLib.places import placeMessages
from FedSegLib.training import diceCurves, modelsOf, trainingFolder


class TrainingPanel:
    """The section "Train here".

    :param host: has `logic`, `parameterNode`, `startTimer()` and `useModels(folder, name)`.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._dataset = self._job = self._trained = self._out = None
        self._shownRounds = 0
        self._notice = Notice(ui.trainMessageLabel, ui.trainMessageCopyButton, self._names)
        self._init = ModelChoice(
            (ui.initFolderLineEdit, ui.initComboBox, ui.initTitle, ui.initCardLabel),
            ("initFolder", "initModel", "initIdentity"),
            host,
            self._notice.tell,
            isMixable=False,
        )
        ui.trainButton.connect("clicked(bool)", self.onTrainButton)
        ui.curveLabel.visible = False
        self._show()

    def showDataset(self, dataset):
        """Another dataset, or more cases of it; None: nothing to train on."""
        self._dataset = dataset
        self._show()

    def reload(self):
        """Models may have come since."""
        self._init.reload()

    def refresh(self):
        """Show what the parameters say."""
        if self._host.parameterNode is not None:
            self._init.refresh()
            self._show()

    def onTrainButton(self, checked=False):
        """Begin to train, or cancel what has begun."""
        if self._job is not None:
            self._job.cancel()
            return
        self._notice.tell([])
        init = self._init.choice()
        try:
            self._trained = self._dataset.folder
            self._out = trainingFolder(self._trained)
            self._job = self._host.logic.startTraining(self._trained, self._out, init and init.path)
        except CommandNotFound as error:
            self._notice.fail(error.message)
        except OSError as error:
            self._notice.fail(texts.fileMessage(error), trace=traceback.format_exc())
        else:
            self._shownRounds = 0
            self._ui.curveLabel.visible = False
            self._host.startTimer()
        self._show()

    def poll(self):
        """Listen to what runs; whether anything still does."""
        if self._init.poll():
            self.refresh()
        if self._job is not None:
            if self._job.poll():
                self._show()
            else:
                self._conclude()
        return self._job is not None or self._init.isAsking

    def abandon(self):
        """End what runs; it can be gone on with."""
        self._init.abandon()
        if self._job is not None:
            self._job.kill()
            self._job = None
            self._show()

    def _show(self):
        job = self._job
        self._ui.trainButton.text = _("Train") if job is None else _("Cancel")
        self._ui.trainCollapsibleButton.visible = job is not None or self._dataset is not None
        usable = not self._ui.initFolderLineEdit.currentPath or self._init.isUsable()
        self._ui.trainButton.enabled = job is not None or (self._dataset is not None and usable)
        self._ui.trainButton.toolTip = "" if usable else _("Choose a folder with a published model, or none.")
        self._ui.trainProgressBar.visible = job is not None
        self._ui.trainLabel.visible = job is not None
        for widget in (self._ui.initFolderLineEdit, self._ui.initComboBox):
            widget.enabled = job is None
        if job is None:
            return
        showProgress(self._ui.trainProgressBar, job.story.progress)
        self._ui.trainLabel.text = texts.trainingText(job.story)
        if len(job.story.rounds) != self._shownRounds:
            self._shownRounds = len(job.story.rounds)
            curves = diceCurves(job.story.rounds)
            self._ui.curveLabel.visible = bool(curves)
            if curves:
                self._ui.curveLabel.setPixmap(plot(curves, self._ui.curveLabel.palette))

    def _names(self):
        """What an error's details must not tell."""
        told = namesOf(self._trained, self._out, self._ui.initFolderLineEdit.currentPath)
        return [*told, *(self._dataset.names if self._dataset else [])]

    def _conclude(self):
        self._show()
        job, self._job = self._job, None
        if job.state == DONE:
            model = modelsOf(self._out)[0]
            self._host.useModels(model.parent, model.name)
            told = _("Trained: {model}. It is selected in the panel Segment and review.").format(
                model=model.name
            )
            self._notice.tell(
                [Message(told, ""), *placeMessages(self._trained, self._out), *job.story.warnings],
            )
        elif job.state == CANCELLED:
            told = Message(_("Cancelled."), _("Train again to go on where it stopped."))
            self._notice.tell([told])
        else:
            self._notice.fail(job.story.error, job=job)
        self._show()
