"""The FedSeg module of 3D Slicer: a panel over the `fedseg` command, which runs as a process of its own."""

from pathlib import Path

import qt
import slicer
import vtk
from FedSegLib import scene
from FedSegLib.command import (
    COMMAND_SETTING,
    CommandNotFound,
    checkWords,
    connectionWords,
    demoWords,
    infoWords,
    joinWords,
    packagesFolder,
    siteWords,
    slicersCommand,
    trainWords,
)
from FedSegLib.installing import installer
from FedSegLib.job import DONE, Job
from FedSegLib.panels.datapanel import DataPanel
from FedSegLib.panels.federationpanel import FederationPanel
from FedSegLib.panels.reviewpanel import ReviewPanel
from FedSegLib.panels.samples import registerSamples
from FedSegLib.panels.segmentpanel import MODELS_SETTING, SegmentPanel
from FedSegLib.panels.setuppanel import SetupPanel
from FedSegLib.panels.trainingpanel import TrainingPanel
from FedSegLib.segmenting import SegmentationRun
from FedSegLib.selftest import FedSegTest
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

__all__ = ["FedSeg", "FedSegLogic", "FedSegParameterNode", "FedSegTest", "FedSegWidget"]

POLL_MS = 100
DATA_TAB, SEGMENT_TAB = 1, 2


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
models that is fitted to the volume. Everything runs on this computer; only who joins a federation sends something,
and is told before what that is.
<p><b>Research use only. Not a medical device. Every segmentation must be reviewed by a qualified person.</b></p>
See <a href="https://github.com/fedseg/SlicerFedSeg">the documentation</a>.
""")
        self.parent.acknowledgementText = _("""
The methods are those of FedGIN, IOP-FL, SegViz and FedMEPD; see the documentation for how to cite them.
""")
        icon = Path(__file__).parent / "Resources" / "Icons" / "FedSeg.png"
        slicer.app.connect("startupCompleted()", lambda: registerSamples(FedSegLogic().startDemo, icon))


@parameterNodeWrapper
class FedSegParameterNode:
    """What the user chose, saved with the scene.

    volume - The volume to segment.
    allVolumes - Segment every volume of the scene instead.
    resampleCase - Bring a case's images onto the first one's grid.
    modelFolder - A folder of published models.
    model - The file name of one of them, the way to this hospital's own, or "." for a mixture of all.
    modelIdentity - Which model that is: its study and the hash of its content.
    modality - What the volume is, in the model's words.
    modalityVolume - Which volume that was told of.
    initFolder, initModel, initIdentity - The same of the published model that a training starts from.
    datasetFolder - The folder of the site's training cases.
    segmentation - The drawing of the case to be added to it.
    resample - Bring its images onto the first one's grid.
    """

    volume: vtkMRMLScalarVolumeNode
    allVolumes: bool = False
    resampleCase: bool = False
    modelFolder: str = ""
    model: str = ""
    modelIdentity: str = ""
    modality: str = ""
    modalityVolume: vtkMRMLScalarVolumeNode
    initFolder: str = ""
    initModel: str = ""
    initIdentity: str = ""
    datasetFolder: str = ""
    segmentation: vtkMRMLSegmentationNode
    resample: bool = False


class FedSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panels, their common life, and what one panel hands to another."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self._guiTag = None
        self._isShowing = False
        self._isInitializing = False
        self._panels = []

    def setup(self):
        """Called once, when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/FedSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for name, title in (
            ("Federation", _("Federation")),
            ("Data", _("My data and training")),
            ("Segment", _("Segment and review")),
        ):
            page = slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))
            self.ui.tabWidget.addTab(page, title)
            vars(self.ui).update(vars(slicer.util.childWidgetVariables(page)))
            page.setMRMLScene(slicer.mrmlScene)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = FedSegLogic()
        self.ui.commandLineEdit.currentPath = slicer.util.settingsValue(COMMAND_SETTING, "")

        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onTimer)
        self._segmenting = SegmentPanel(self.ui, self)
        self._review = ReviewPanel(self.ui, self)
        self._data = DataPanel(self.ui, self)
        self._training = TrainingPanel(self.ui, self)
        self._federation = FederationPanel(self.ui, self)
        self._setup = SetupPanel(self.ui, self)
        self._panels = [self._federation, self._segmenting, self._data, self._training, self._setup]
        self.ui.commandLineEdit.connect("currentPathChanged(QString)", self.onCommandChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        for event in (
            slicer.mrmlScene.EndCloseEvent,
            slicer.mrmlScene.EndImportEvent,
            slicer.mrmlScene.NodeAddedEvent,
            slicer.mrmlScene.NodeRemovedEvent,
        ):
            self.addObserver(slicer.mrmlScene, event, self.onSceneChanged)
        self.initializeParameterNode()
        self.ui.tabWidget.currentIndex = SEGMENT_TAB
        self._setup.check()

    def cleanup(self):
        """Called when the module is unloaded, reloaded, or the application ends."""
        self._abandon()
        self.setParameterNode(None)  # its widgets are about to be destroyed
        self.removeObservers()

    def enter(self):
        """Called each time the module is opened; models may have come since."""
        self._segmenting.reload()
        self._training.reload()
        self._data.reload()
        self.initializeParameterNode()

    def exit(self):
        """Called each time another module is opened; what runs goes on."""
        self._review.leave()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        """What runs was meant for this scene."""
        self._segmenting.abandon()
        self.setParameterNode(None)
        self._review.forget()

    def onSceneChanged(self, caller, event):
        """Nodes came or went, one by one or by the loading of a scene."""
        if slicer.mrmlScene.IsBatchProcessing() or self._isInitializing:
            return
        if self.parameterNode is None and self.parent.isEntered:
            self.initializeParameterNode()
        elif self.parameterNode is not None:
            self.onParametersModified()

    def initializeParameterNode(self):
        """Observe the scene's parameters; the first volume and the models used last are selected if none are."""
        # A scene without parameters gets them now, which is a change of the scene.
        self._isInitializing = True
        try:
            parameterNode = self.logic.getParameterNode()
        finally:
            self._isInitializing = False
        self.setParameterNode(parameterNode)
        first = next(iter(scene.imageVolumes()), None)
        if first and not self.parameterNode.volume:
            self.parameterNode.volume = first
        models = slicer.util.settingsValue(MODELS_SETTING, "")
        if models and not self.parameterNode.modelFolder and Path(models).is_dir():
            self.parameterNode.modelFolder = models

    def setParameterNode(self, parameterNode):
        """Observe these parameters instead of the ones before; None: none."""
        if self.parameterNode:
            self.parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self.parameterNode = parameterNode
        if self.parameterNode:
            self._guiTag = self.parameterNode.connectGui(self.ui)
            self.addObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self.onParametersModified()

    def onParametersModified(self, caller=None, event=None):
        """Show what the parameters and the scene say. Panels may change parameters meanwhile, as a list that is read
        anew has another first line; that is no reason to begin again."""
        if not self._isShowing:
            self._isShowing = True
            try:
                self._segmenting.refresh()
                self._federation.refresh()
                self._data.refresh()
                self._training.refresh()
                self._review.refresh()
            finally:
                self._isShowing = False

    def onCommandChanged(self, path):
        """The user named a program; it is of this computer, so that it is not saved with the scene."""
        qt.QSettings().setValue(COMMAND_SETTING, path)
        self._segmenting.reload()
        self._setup.check()
        self.onParametersModified()

    def onTimer(self):
        """Listen to what runs; the only place that does."""
        busy = [panel.poll() for panel in self._panels]  # each of them is asked, whatever the first says
        if not any(busy):
            self._timer.stop()

    def startTimer(self):
        """Something runs now and is to be listened to."""
        self._timer.start()

    def showDataset(self, dataset):
        """The dataset that can be trained on, or None."""
        self._training.showDataset(dataset)
        self._federation.showDataset(dataset)

    def useModels(self, folder, name):
        """Select a model that was trained here, or has come from a federation; the list may not know it yet."""
        self._segmenting.reload()
        parameterNode = self.parameterNode or self.logic.getParameterNode()
        wasShowing, self._isShowing = self._isShowing, True  # the two are one change; either alone is none
        parameterNode.modelIdentity = ""  # whichever it is now
        parameterNode.modelFolder = str(folder)
        parameterNode.model = name
        self._isShowing = wasShowing
        self.onParametersModified()

    def showReview(self, segmentation):
        """Put a new result into the queue and look at it, unless more are to come and the user looks at others."""
        if self._segmenting.isWaiting or self.parameterNode is None:
            self._review.refresh()
        else:
            self._review.select(segmentation)

    def sendCorrection(self, volumes, segmentation):
        """Take a reviewed case to the panel that adds cases."""
        self.ui.tabWidget.currentIndex = DATA_TAB
        self._data.sendCorrection(volumes, segmentation)

    def _abandon(self):
        self._timer.stop()
        for panel in self._panels:
            panel.abandon()


class FedSegLogic(ScriptedLoadableModuleLogic):
    """What scripts may call, with or without the panel."""

    def getParameterNode(self):
        """The scene's parameters."""
        return FedSegParameterNode(super().getParameterNode())

    def startSegmentation(self, volumes, model, resample=False):
        """Begin to segment a case.

        :param volumes: modality, one of those on the model's card -> volume node; the result belongs to the first.
        :param model: a model file, or a folder of models to be mixed for this case.
        :param resample: bring the volumes onto the first one's grid where they differ.
        :return: the run, to be polled, loaded and closed by the caller.
        :raises CommandNotFound: there is no `fedseg`.
        """
        if not volumes or any(volume is None or volume.GetImageData() is None for volume in volumes.values()):
            raise ValueError(_("There is no volume to segment, or it is empty."))
        environment = slicer.util.startupEnvironment()
        return SegmentationRun(
            scene, volumes, Path(model), command=self.command(), environment=environment, resample=resample
        )

    def segment(self, volumes, model, resample=False):
        """Segment a case and wait for it; parameters as above.

        :return: the loaded nodes, and what was told of them.
        :raises RuntimeError: it failed; the error's text says why and what to do.
        """
        run = self.startSegmentation(volumes, model, resample=resample)
        try:
            if run.job.wait() != DONE:
                raise RuntimeError(f"{run.error.text} {run.error.fix}")
            return run.load()
        finally:
            run.close()

    def startInfo(self, file=None):
        """Begin to ask what a file is, or without one what FedSeg runs on."""
        return self._start(infoWords(file))

    def startDemo(self, folder):
        """Begin to make three hospitals of generated images in a folder, and to train a model at them."""
        return self._start(demoWords(folder))

    def startCheck(self, dataset):
        """Begin to look for a dataset's problems."""
        return self._start(checkWords(dataset))

    def startTraining(self, dataset, out, init=None):
        """Begin to train on a dataset, or go on with what an interrupted training left in `out`.

        :param init: the published model to start from; None: from scratch.
        """
        return self._start(trainWords(dataset, out, init, resume=True))

    def startConnectionTest(self, invitation):
        """Begin to try the way to the coordinator of an invitation."""
        return self._start(connectionWords(invitation))

    def startJoining(self, invitation, data, folder, publishes=False, accepts=False):
        """Begin to take part in a study, until it ends.

        :param data: the site's dataset.
        :param folder: receives what the site keeps; a study that was joined there is gone on with.
        :param publishes: the site's own model may be published.
        :param accepts: a person has agreed to what leaves and has the approvals; else an earlier agreement holds.
        """
        return self._start(joinWords(invitation, data, folder, publishes=publishes, accepts=accepts))

    def startSiteVerb(self, verb, folder):
        """Begin to `pause`, `resume` or `leave` a study that was joined, or to ask for its `status`."""
        return self._start(siteWords(verb, folder))

    def canInstall(self):
        """Whether the command is Slicer's Python, to which FedSeg's folder and the PyTorch extension belong."""
        try:
            command = self.command()
            return command.isInterpreter and Path(command.words[0]).stem.startswith("PythonSlicer")
        except CommandNotFound:
            return False

    def startInstall(self):
        """Begin to install FedSeg's packages into its own folder."""
        requirements = Path(__file__).parent / "Resources" / "requirements.txt"
        command, words = installer(self.command(), requirements, packagesFolder(slicer))
        return Job(command, words, folder=Path.home(), environment=slicer.util.startupEnvironment())

    def installTorch(self):
        """Let the PyTorch extension install torch, which it asks about itself; whether torch is there then.

        :raises ModuleNotFoundError: there is no PyTorch extension.
        """
        import PyTorchUtils

        return PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is not None

    def command(self):
        """The way to call `fedseg`.

        :raises CommandNotFound: there is none.
        """
        return slicersCommand(slicer)

    def _start(self, words):
        environment = slicer.util.startupEnvironment()
        return Job(self.command(), words, folder=Path.home(), environment=environment)
