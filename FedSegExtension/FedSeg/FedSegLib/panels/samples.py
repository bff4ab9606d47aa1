"""Sample data: the hospitals and models of `fedseg demo`, made on this computer, so that nothing is downloaded."""

import shutil
import time
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from FedSegLib import texts
from FedSegLib.command import CommandNotFound
from FedSegLib.job import CANCELLED, DONE
from FedSegLib.panels.segmentpanel import MODELS_SETTING

NAME = "FedSegDemo"
_making = []
"""The folder that the demo is being made in, while it is; a second press must not take it away."""


def registerSamples(startDemo, icon):
    """Let Slicer's module Sample Data offer it.

    :param startDemo: begins to make it in a folder, and gives the job.
    :param icon: the picture on its button.
    """
    try:
        import SampleData
    except ImportError:
        return  # an application without that module
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="FedSeg",
        sampleName=NAME,
        uris="",  # nothing is fetched
        fileNames=NAME,
        nodeNames=NAME,
        thumbnailFileName=str(icon),
        customDownloader=lambda source: loadDemo(startDemo),
    )


def loadDemo(startDemo):
    """A scan of the demo as a volume, and its models offered to the panel; both are made the first time, which takes
    about a minute.

    :return: the loaded nodes; none where it was cancelled or failed, which is told, or is being made already.
    """
    if _making:
        return []
    folder = Path(slicer.app.cachePath) / NAME
    models = folder / "models"
    if not any(models.glob("*.safetensors")):
        _making.append(folder)
        try:
            isMade = _make(startDemo, folder)
        finally:
            _making.clear()
        if not isMade:
            shutil.rmtree(str(folder), ignore_errors=True)
            return []
    qt.QSettings().setValue(MODELS_SETTING, str(models))
    scan = sorted((folder / "hospitals" / "north" / "imagesTs").iterdir())[0]
    return [slicer.util.loadVolume(str(scan), {"name": NAME})]


def _make(startDemo, folder):
    """Whether it was made."""
    shutil.rmtree(str(folder), ignore_errors=True)  # what an interrupted one left
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        job = startDemo(folder)
    except CommandNotFound as error:
        slicer.util.errorDisplay(texts.messageText([error.message]))
        return False
    bar = qt.QProgressDialog(_("Three generated hospitals train a model here..."), _("Cancel"), 0, 100)
    bar.setWindowModality(qt.Qt.ApplicationModal)  # the loop below lets every other window be clicked in
    bar.setMinimumDuration(0)
    bar.setValue(0)  # which shows it
    while job.poll():
        if bar.wasCanceled:
            job.cancel()
        elif job.story.progress:
            bar.setValue(min(round(100 * job.story.progress.value), 99))
        slicer.app.processEvents()
        time.sleep(0.02)
    bar.close()
    if job.state not in (DONE, CANCELLED):
        slicer.util.errorDisplay(texts.messageText([job.story.error]))
    return job.state == DONE
