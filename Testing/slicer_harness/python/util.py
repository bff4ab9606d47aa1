"""What a module uses of `slicer.util`: names, arguments and errors are Slicer's."""

import fnmatch
from pathlib import Path

import qt
import slicer
from slicer.util_dialogs import (
    confirmOkCancelDisplay,
    confirmYesNoDisplay,
    delayDisplay,
    errorDisplay,
    infoDisplay,
    messageBox,
    tryWithErrorDisplay,
    warningDisplay,
)
from slicer.util_files import (
    exportNode,
    loadLabelVolume,
    loadNodeFromFile,
    loadScene,
    loadSegmentation,
    loadVolume,
    saveNode,
    saveScene,
)
from slicer.util_nodes import (
    MRMLNodeNotFoundException,
    NodeModify,
    VTKObservationMixin,
    addVolumeFromArray,
    arrayFromSegmentBinaryLabelmap,
    arrayFromVolume,
    getNode,
    getNodes,
    getNodesByClass,
)

__all__ = [
    "MRMLNodeNotFoundException",
    "NodeModify",
    "VTKObservationMixin",
    "addVolumeFromArray",
    "arrayFromSegmentBinaryLabelmap",
    "arrayFromVolume",
    "childWidgetVariables",
    "confirmOkCancelDisplay",
    "confirmYesNoDisplay",
    "delayDisplay",
    "errorDisplay",
    "exit",
    "exportNode",
    "findChild",
    "findChildren",
    "getModuleWidget",
    "getNode",
    "getNodes",
    "getNodesByClass",
    "infoDisplay",
    "loadLabelVolume",
    "loadNodeFromFile",
    "loadScene",
    "loadSegmentation",
    "loadUI",
    "loadVolume",
    "mainWindow",
    "messageBox",
    "modulePath",
    "saveNode",
    "saveScene",
    "setSliceViewerLayers",
    "settingsValue",
    "startupEnvironment",
    "tempDirectory",
    "toBool",
    "tryWithErrorDisplay",
    "warningDisplay",
]

EXIT_SUCCESS, EXIT_FAILURE = 0, 1


def exit(status=EXIT_SUCCESS):
    """Ends the application once what runs has come to its end."""
    slicer.app.commandOptions().runPythonAndExit = False  # so that --testing does not replace the code
    slicer.app.exit(status)


def startupEnvironment():
    """The variables of the time before Slicer started."""
    told = slicer.app.startupEnvironment()
    return {name: told.value(name) for name in told.keys() if name}  # noqa: SIM118 - it is Qt's


def mainWindow():
    """There is none."""


def loadUI(path):
    """The widget of a .ui file."""
    file = qt.QFile(str(path))
    if not file.open(qt.QFile.ReadOnly):
        raise RuntimeError(f"Could not load UI file: file not found {path}")
    return qt.QUiLoader().load(file)


def childWidgetVariables(widget):
    """The named widgets below one, each as an attribute."""
    ui = type("", (), {})()
    for child in [widget, *widget.findChildren(qt.QWidget)]:
        if getattr(child, "name", ""):
            setattr(ui, child.name, child)
    return ui


def findChildren(widget=None, name="", text="", title="", className=""):
    """The widgets below one whose name, text, title and class are as these patterns."""
    wanted = {"name": name, "text": text, "title": title, "className": className}

    def fits(child):
        for key, pattern in wanted.items():
            value = getattr(child, key, None)
            value = value() if key == "className" and value else value
            if pattern and not (isinstance(value, str) and fnmatch.fnmatchcase(value, pattern)):
                return False
        return True

    return [child for child in [widget, *widget.findChildren(qt.QWidget)] if fits(child)]


def findChild(widget, name):
    """The widget of this name below another one."""
    found = findChildren(widget, name=name)
    if not found:
        raise RuntimeError(f"Widget with name={name!r} does not exist.")
    return found[0]


def setSliceViewerLayers(
    background="keep-current",
    foreground="keep-current",
    label="keep-current",
    foregroundOpacity=None,
    labelOpacity=None,
    fit=False,
    rotateToVolumePlane=False,
):
    """What the slice views show; None: nothing."""
    if rotateToVolumePlane:
        slicer.app.layoutManager().sliceViewNames()  # without a main window there is nothing that could be turned
    for view in getNodesByClass("vtkMRMLSliceCompositeNode"):
        layers = {"Background": background, "Foreground": foreground, "Label": label}
        for layer, node in layers.items():
            if node != "keep-current":
                nodeId = node.GetID() if isinstance(node, slicer.vtkMRMLNode) else node
                getattr(view, f"Set{layer}VolumeID")(nodeId)
        if foregroundOpacity is not None:
            view.SetForegroundOpacity(foregroundOpacity)
        if labelOpacity is not None:
            view.SetLabelOpacity(labelOpacity)


def modulePath(moduleName):
    """The file of a module."""
    return getattr(slicer.modules, moduleName.lower()).path


def getModuleWidget(module):
    """The Python object of a module's panel."""
    module = getattr(slicer.modules, module.lower()) if isinstance(module, str) else module
    return module.widgetRepresentation().self()


def toBool(value):
    """What a setting means, which may come back as a text."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return bool(int(value))


def settingsValue(key, default, converter=lambda v: v, settings=None):
    """A setting of this computer's user."""
    settings = qt.QSettings() if settings is None else settings
    return converter(settings.value(key)) if settings.contains(key) else default


def tempDirectory(key="__SlicerTemp__", tempDir=None, includeDateTime=True):
    """A new folder, which nobody removes."""
    name = (
        f"{key}{qt.QDateTime.currentDateTime().toString('yyyy-MM-dd_hh+mm+ss.zzz')}"
        if includeDateTime
        else key
    )
    path = Path(tempDir or slicer.app.temporaryPath) / name
    path.mkdir(parents=True, exist_ok=True)
    return str(path)
