"""The FedSeg module of 3D Slicer: a panel over the `fedseg` command, which runs as a process of its own."""

import logging
from pathlib import Path

import qt
import slicer
import vtk
from FedSegLib import scene, texts
from FedSegLib.command import CommandNotFound, findCommand, infoWords
from FedSegLib.events import Message
from FedSegLib.gallery import Gallery
from FedSegLib.job import CANCELLED, DONE, Job
from FedSegLib.segmenting import SegmentationRun
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

COMMAND_SETTING = "FedSeg/command"
POLL_MS = 100


class FedSeg(ScriptedLoadableModule):
    """What Slicer's module selector and help show."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "FedSeg"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations"]
        self.parent.contributors = ["The FedSeg authors"]
        self.parent.helpText = _("""
Segments a volume with a model that hospitals trained together without sharing images, or with a mixture of their
models that is fitted to the volume. Everything runs on this computer.
<p><b>Research use only. Not a medical device. Every segmentation must be reviewed by a qualified person.</b></p>
See <a href="https://github.com/fedseg/SlicerFedSeg">the documentation</a>.
""")
        self.parent.acknowledgementText = _("""
The methods are those of FedGIN, IOP-FL, SegViz and FedMEPD; see the documentation for how to cite them.
""")


@parameterNodeWrapper
class FedSegParameterNode:
    """What the user chose, saved with the scene.

    volume - The volume to segment.
    modelFolder - A folder of published models.
    model - The file name of one of them, or "." for a mixture of all.
    modality - What the volume is, in the model's words.
    """

    volume: vtkMRMLScalarVolumeNode
    modelFolder: str = ""
    model: str = ""
    modality: str = ""


class FedSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel "Segment and review". It shows and asks; what is done, the logic and `FedSegLib` do."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._gallery = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._listedFolder = None
        self._shownVolume = ""
        self._modalities = []
        self._run = None

    def setup(self):
        """Called once, when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FedSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = FedSegLogic()
        self._gallery = Gallery(self.logic.startInfo)
        self.ui.commandLineEdit.currentPath = self.logic.toldCommand()
        self._showResult(None)
        self._showMessages([])

        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onTimer)
        self.ui.modelFolderLineEdit.connect("currentPathChanged(QString)", self.onModelFolderChanged)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        self.ui.modalityComboBox.connect("currentIndexChanged(int)", self.onModalityChosen)
        self.ui.commandLineEdit.connect("currentPathChanged(QString)", self.onCommandChanged)
        self.ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def cleanup(self):
        """Called when the module is unloaded, reloaded, or the application ends."""
        self._abandon()
        self.removeObservers()

    def enter(self):
        """Called each time the module is opened; models may have come since."""
        self._listedFolder = None
        self.initializeParameterNode()

    def exit(self):
        """Called each time another module is opened; what runs goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """What runs was meant for this scene."""
        self._abandon()
        self._showResult(None)
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        """The closed scene took the parameters with it."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Observe the scene's parameters; the first volume is selected if none is."""
        self.setParameterNode(self.logic.getParameterNode())
        first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        if first and not self._parameterNode.volume:
            self._parameterNode.volume = first

    def setParameterNode(self, parameterNode):
        """Observe these parameters instead of the ones before; None: none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._parameterNode = parameterNode
        self._shownVolume = ""
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.onParametersModified()

    def onParametersModified(self, caller=None, event=None):
        """Show what the parameters say."""
        if self._parameterNode:
            self._askModalityAnew()
            self._showModels()
            self._showCard()
            self._showButton()

    def onModelFolderChanged(self, path):
        """The user named a folder."""
        if self._parameterNode:
            self._parameterNode.modelFolder = path

    def onModelChosen(self, index):
        """The user chose a line of the list of models."""
        if self._parameterNode:
            self._parameterNode.model = self._gallery.choices[index].key if index >= 0 else ""

    def onModalityChosen(self, index):
        """The user said what the volume is."""
        if self._parameterNode:
            self._parameterNode.modality = self._modalities[index] if index >= 0 else ""

    def onCommandChanged(self, path):
        """The user named a program; it is of this computer, so that it is not saved with the scene."""
        qt.QSettings().setValue(COMMAND_SETTING, path)
        self._gallery.forget()
        self.onParametersModified()

    def onSegmentButton(self, checked=False):
        """Begin, or cancel what has begun."""
        if self._run is not None:
            self._run.job.cancel()
            self._showButton()
            return
        self._showMessages([])
        self._showResult(None)
        volume, model = self._parameterNode.volume, self._choice().path
        try:
            self._run = self.logic.startSegmentation(volume, model, self._modality())
        except CommandNotFound as error:
            self._showMessages([error.message])
        except OSError as error:
            self._showMessages([Message(str(error), _("Check the disk's space and your rights."))])
        except ValueError as error:
            self._showMessages([Message(str(error), _("Select another volume."))])
        else:
            self._timer.start()
        self._showButton()

    def onTimer(self):
        """Listen to what runs; the only place that does."""
        if self._gallery.isAsking:
            message = self._gallery.poll()
            if message is not None:
                self._showMessages([message])
            if not self._gallery.isAsking:
                self.onParametersModified()
        if self._run is not None:
            if self._run.job.poll():
                self._showProgress()
            else:
                self._finishRun()
        if self._run is None and not self._gallery.isAsking:
            self._timer.stop()

    def _askModalityAnew(self):
        """What one volume is says nothing of another."""
        volume = self._parameterNode.volume
        before, self._shownVolume = self._shownVolume, volume.GetID() if volume else ""
        if before and before != self._shownVolume:
            self._modalities = []
            self._parameterNode.modality = ""

    def _choice(self):
        return self._gallery.choice(self._parameterNode.model) if self._parameterNode else None

    def _showModels(self):
        folder = self._parameterNode.modelFolder
        if folder == self._listedFolder:
            return
        self._listedFolder = folder
        if self.ui.modelFolderLineEdit.currentPath != folder:
            self.ui.modelFolderLineEdit.currentPath = folder
        self._gallery.open(folder)
        keys = [choice.key for choice in self._gallery.choices]
        chosen = keys.index(self._parameterNode.model) if self._parameterNode.model in keys else 0
        _fill(self.ui.modelComboBox, [texts.choiceText(choice) for choice in self._gallery.choices], chosen)
        self._parameterNode.model = keys[chosen] if keys else ""

    def _showCard(self):
        choice = self._choice()
        card = self._gallery.card(choice)
        if choice is not None and card is None:
            self._ask(choice)
        self.ui.cardLabel.text = texts.cardText(card) if card else ""
        modalities = list(card.modalities) if card else []
        if len(modalities) > 1:
            modalities.insert(0, "")  # a wrong guess would segment badly without a word
        if modalities != self._modalities:
            self._modalities = modalities
            chosen = modalities.index(self._modality()) if modalities else 0
            _fill(self.ui.modalityComboBox, [name or _("Choose") for name in modalities], chosen)

    def _modality(self):
        """What the user told of this volume; else the only thing that it can be, or nothing."""
        told = self._parameterNode.modality
        return told if told in self._modalities else self._modalities[0] if self._modalities else ""

    def _ask(self, choice):
        message = self._gallery.ask(choice)
        if message is not None:
            self._showMessages([message])
        if self._gallery.isAsking:
            self._timer.start()

    def _showButton(self):
        running = self._run is not None
        missing = "" if running else self._missing()
        self.ui.segmentButton.text = _("Cancel") if running else _("Segment")
        self.ui.segmentButton.toolTip = missing
        self.ui.segmentButton.enabled = not missing
        self.ui.missingLabel.text = missing
        self.ui.missingLabel.visible = bool(missing)
        self.ui.inputsCollapsibleButton.enabled = not running
        self.ui.progressBar.visible = running
        if running:
            self._showProgress()

    def _missing(self):
        choice = self._choice()
        parameters = self._parameterNode
        return texts.missingText(
            hasVolume=bool(parameters and parameters.volume),
            hasModel=choice is not None and not self._gallery.isUnreadable(choice),
            card=self._gallery.card(choice),
            hasModality=bool(parameters and self._modality()),
        )

    def _showProgress(self):
        progress = self._run.job.story.progress
        value = progress.value if progress else 0.0
        # Until something is known a bar without an end moves.
        self.ui.progressBar.maximum = 100 if value > 0 else 0
        self.ui.progressBar.value = round(100 * value)

    def _finishRun(self):
        run, self._run = self._run, None
        try:
            if run.error is not None:
                logging.info("fedseg told:\n%s", "\n".join([*run.job.story.foreign, run.job.log]))
                self._showMessages([run.error])
            elif run.job.state == CANCELLED:
                self._showMessages([Message(_("Cancelled; the scene is unchanged."), "")])
            else:
                self._showResult(run.load())
        except (LookupError, RuntimeError) as error:
            self._showMessages([Message(str(error), _("Segment the volume again."))])
        finally:
            run.close()
            self._showButton()

    def _showResult(self, result):
        self.ui.resultCollapsibleButton.visible = result is not None
        self.ui.show3DButton.setSegmentationNode(result.segmentation if result else None)
        if result is None:
            return
        self._showMessages(result.warnings)
        self.ui.statusLabel.text = _("{name}: unreviewed. Research use only; review every slice.").format(
            name=result.segmentation.GetName()
        )
        self.ui.verdictLabel.text = texts.verdictText(result.mixture) if result.mixture else ""
        self.ui.verdictLabel.visible = result.mixture is not None
        if result.disagreement is not None:
            slicer.util.setSliceViewerLayers(foreground=result.disagreement, foregroundOpacity=0.5)

    def _showMessages(self, messages):
        self.ui.messageLabel.text = texts.messageText(messages)
        self.ui.messageLabel.visible = bool(messages)

    def _abandon(self):
        """End what runs, without a result."""
        self._timer.stop()
        if self._run is not None:
            self._run.close()
            self._run = None
        self._gallery.close()


def _fill(comboBox, names, chosen):
    """Other lines, without telling that the user chose one."""
    wasBlocked = comboBox.blockSignals(True)
    comboBox.clear()
    comboBox.addItems(names)
    comboBox.currentIndex = chosen if names else -1
    comboBox.enabled = len(names) > 1
    comboBox.blockSignals(wasBlocked)


class FedSegLogic(ScriptedLoadableModuleLogic):
    """What scripts may call, with or without the panel."""

    def getParameterNode(self):
        """The scene's parameters."""
        return FedSegParameterNode(super().getParameterNode())

    def toldCommand(self):
        """The `fedseg` program or the Python interpreter that the user named; empty: FedSeg looks for one."""
        return slicer.util.settingsValue(COMMAND_SETTING, "")

    def startSegmentation(self, volume, model, modality):
        """Begin to segment a volume.

        :param volume: the volume node.
        :param model: a model file, or a folder of models to be mixed for this volume.
        :param modality: what the volume is, one of the modalities on the model's card.
        :return: the run, to be polled, loaded and closed by the caller.
        :raises CommandNotFound: there is no `fedseg`.
        """
        if volume is None or volume.GetImageData() is None:
            raise ValueError(_("There is no volume to segment, or it is empty."))
        environment = slicer.util.startupEnvironment()
        command = findCommand(self.toldCommand(), environment)
        return SegmentationRun(
            scene, {modality: volume}, Path(model), command=command, environment=environment
        )

    def segment(self, volume, model, modality):
        """Segment a volume and wait for it; parameters as above.

        :return: the loaded nodes, and what was told of them.
        :raises RuntimeError: it failed; the error's text says why and what to do.
        """
        run = self.startSegmentation(volume, model, modality)
        try:
            if run.job.wait() != DONE:
                raise RuntimeError(f"{run.error.text} {run.error.fix}")
            return run.load()
        finally:
            run.close()

    def startInfo(self, file):
        """Begin to ask what a file is."""
        environment = slicer.util.startupEnvironment()
        command = findCommand(self.toldCommand(), environment)
        return Job(command, infoWords(file), folder=file.parent, environment=environment)
