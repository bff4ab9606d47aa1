"""Segment: a model or a mixture, chosen by its card, on one case or on every volume of the scene."""

import logging
import traceback

import qt
from slicer.i18n import tr as _

from FedSegLib import scene, texts
from FedSegLib.command import CommandNotFound
from FedSegLib.details import namesOf
from FedSegLib.events import Message
from FedSegLib.job import CANCELLED
from FedSegLib.modality import guessModality
from FedSegLib.panels.inputrows import InputRows
from FedSegLib.panels.modelchoice import ModelChoice
from FedSegLib.panels.notice import Notice
from FedSegLib.panels.showing import fillList, showProgress

MODELS_SETTING = "FedSeg/models"
"""The application's setting of the folder of models that was used last: offered to a scene that names none."""
INPUT = "segmentInput."
"""Prefix of the parameter node's references to the volumes of a case of several images."""
INPUT_ROW = 3
"""Where their selectors stand in the section's form."""


class SegmentPanel:
    """The section "Segment".

    :param host: has `logic`, `parameterNode`, `startTimer()`, and `showReview(segmentation)`, which is told of each
        new result.
    """

    def __init__(self, ui, host):
        self._ui, self._host = ui, host
        self._notice = Notice(ui.messageLabel, ui.messageCopyButton, self._names)
        self._models = ModelChoice(
            (ui.modelFolderLineEdit, ui.modelComboBox, ui.modelTitle, ui.cardLabel),
            ("modelFolder", "model", "modelIdentity"),
            host,
            self._tellAnew,
            isMixable=True,
        )
        self._modalities = []
        self._waiting = []
        self._model, self._resample = None, False
        self._run = None
        self._told = []
        self._rows = InputRows(ui.inputsCollapsibleButton.layout(), INPUT_ROW, INPUT, self._showButton)
        ui.modalityComboBox.connect("currentIndexChanged(int)", self.onModalityChosen)
        ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)

    @property
    def isWaiting(self):
        """Whether more cases are to come."""
        return bool(self._waiting)

    def reload(self):
        """Models may have come since; another command may know more."""
        self._models.reload()

    def refresh(self):
        """Show what the parameters say."""
        if self._host.parameterNode is None:
            return
        self._askModalityAnew()
        self._models.refresh()
        self._showInputs()
        self._showButton()

    def onModalityChosen(self, index):
        """The user said what the volume is."""
        parameters = self._host.parameterNode
        if parameters:
            parameters.modalityVolume = parameters.volume
            parameters.modality = self._modalities[index] if index >= 0 else ""

    def onSegmentButton(self, checked=False):
        """Begin, or cancel what has begun."""
        if self._run is not None:
            self._waiting = []
            self._run.job.cancel()
            self._showButton()
            return
        self._tellAnew([])
        self._waiting = self._cases()
        qt.QSettings().setValue(MODELS_SETTING, self._host.parameterNode.modelFolder)
        self._model, self._resample = self._models.choice().path, self._host.parameterNode.resampleCase
        self._startNext()

    def poll(self):
        """Listen to what runs; whether anything still does."""
        if self._models.poll():
            self.refresh()
        if self._run is not None:
            if self._run.job.poll():
                self._showProgress()
            else:
                self._finishRun()
        return self._run is not None or self._models.isAsking

    def abandon(self):
        """End what runs, without a result."""
        self._waiting = []
        if self._run is not None:
            self._run.close()
            self._run = None
        self._models.abandon()

    def _cases(self):
        """Modality -> volume of each case to be segmented."""
        parameters = self._host.parameterNode
        if self._takesSeveral():
            return [self._rows.volumes()]
        volumes = scene.imageVolumes() if parameters.allVolumes else [parameters.volume]
        model = self._models.choice().path.name
        todo = [v for v in volumes if not (parameters.allVolumes and scene.hasResult(v, model))]
        if len(todo) < len(volumes):
            skipped = _("{number} volumes have a result of this model already and were left out.")
            fix = _("Delete the result of a volume to segment it again.")
            self._tell(Message(skipped.format(number=len(volumes) - len(todo)), fix))
        cases = {volume: self._modalityOf(volume) for volume in todo}
        unknown = [volume.GetName() for volume, modality in cases.items() if not modality]
        if unknown:
            told = _("It is not known what these volumes are, and they were left out: {names}.")
            fix = _("Segment each alone and say its modality.")
            self._tell(Message(told.format(names=", ".join(unknown)), fix))
        return [{modality: volume} for volume, modality in cases.items() if modality]

    def _modalityOf(self, volume):
        """What the user told of the selected volume; of others what their names and headers speak for."""
        modalities = [name for name in self._modalities if name]
        if len(modalities) == 1 or volume is self._host.parameterNode.volume:
            return self._modality()
        return guessModality(scene.textsOf(volume), modalities)

    def _startNext(self):
        if self._waiting:
            case = self._waiting.pop(0)
            try:
                self._run = self._host.logic.startSegmentation(case, self._model, resample=self._resample)
            except CommandNotFound as error:
                self._waiting = []
                self._fail(error.message)
            except OSError as error:
                self._waiting = []
                self._fail(texts.fileMessage(error), trace=traceback.format_exc())
            except ValueError as error:
                self._tell(Message(str(error), _("Select another volume.")))
                self._startNext()
            else:
                self._host.startTimer()
        self._showButton()

    def _finishRun(self):
        run, self._run = self._run, None
        try:
            if run.error is not None:
                logging.info("fedseg told:\n%s", "\n".join([*run.job.story.foreign, run.job.log]))
                self._fail(run.error, job=run.job)
            elif run.job.state == CANCELLED:
                self._tell(Message(_("Cancelled; the scene is unchanged."), ""))
            else:
                result = run.load()
                self._tell(*result.warnings)
                scene.showIn3D(result.segmentation)
                self._host.showReview(result.segmentation)
        except (LookupError, RuntimeError) as error:
            self._fail(Message(str(error), _("Segment the volume again.")), trace=traceback.format_exc())
        finally:
            run.close()
            self._startNext()

    def _names(self):
        """What an error's details must not tell."""
        return namesOf(self._ui.modelFolderLineEdit.currentPath, self._model)

    def _askModalityAnew(self):
        """What one volume is says nothing of another."""
        parameters = self._host.parameterNode
        if parameters.modality and parameters.modalityVolume != parameters.volume:
            self._modalities = []
            parameters.modality = ""

    def _takesSeveral(self):
        card = self._models.card()
        return card is not None and card.takesSeveral

    def _showInputs(self):
        """The selectors that the chosen model needs."""
        card = self._models.card()
        several = self._takesSeveral()
        self._ui.resampleCaseCheckBox.visible = several
        for widget in (
            self._ui.volumeTitle,
            self._ui.volumeSelector,
            self._ui.allVolumesCheckBox,
        ):
            widget.visible = not several
        asks = card is not None and not several and len(card.modalities) > 1
        self._ui.modalityTitle.visible = self._ui.modalityComboBox.visible = asks
        self._rows.show(card.modalities if several else [], self._host.parameterNode.parameterNode)
        self._showModalities(card)

    def _showModalities(self, card):
        modalities = list(card.modalities) if card else []
        if len(modalities) > 1:
            modalities.insert(0, "")  # a wrong guess would segment badly without a word
        if modalities != self._modalities:
            self._modalities = modalities
            chosen = modalities.index(self._modality()) if modalities else 0
            fillList(self._ui.modalityComboBox, [name or _("Choose") for name in modalities], chosen)

    def _modality(self):
        """What the user told of this volume; else the only thing that it can be, or nothing."""
        told = self._host.parameterNode.modality
        return told if told in self._modalities else self._modalities[0] if self._modalities else ""

    def _showButton(self):
        running = self._run is not None
        missing = "" if running else self._missing()
        self._ui.segmentButton.text = _("Cancel") if running else _("Segment")
        self._ui.segmentButton.toolTip = missing
        self._ui.segmentButton.enabled = not missing
        self._ui.missingLabel.text = missing
        self._ui.missingLabel.visible = bool(missing)
        self._ui.inputsCollapsibleButton.enabled = not running
        self._ui.progressBar.visible = running
        if running:
            self._showProgress()

    def _missing(self):
        card = self._models.card()
        parameters = self._host.parameterNode
        several = card is not None and card.takesSeveral
        volumes = self._rows.volumes() if several else {}
        return texts.missingText(
            hasVolume=bool(parameters and (several or parameters.volume or parameters.allVolumes)),
            hasModel=self._models.isUsable(),
            card=card,
            lacking=[name for name in card.modalities if name not in volumes] if several else [],
            hasModality=bool(parameters and (several or self._modality())),
        )

    def _showProgress(self):
        showProgress(self._ui.progressBar, self._run.job.story.progress)

    def _tellAnew(self, messages):
        self._told = []
        self._tell(*messages)

    def _tell(self, *messages):
        """Add to what this press of the button has led to."""
        self._told += [message for message in messages if message not in self._told]
        self._notice.tell(self._told)

    def _fail(self, error, *, job=None, trace=""):
        """An error, after all else that this press of the button has led to."""
        self._tell(error)
        self._notice.fail(error, among=self._told, job=job, trace=trace)
