"""Files of volumes, segmentations and scenes, read and written by Slicer's own logics and storage nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer_core as mrml
import vtk
from PySide6 import QtCore

qt: Any = sys.modules["qt"]

VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
OPTIONS = {
    "labelmap": 0x1,
    "center": 0x2,
    "singleFile": 0x4,
    "autoWindowLevel": 0x8,
    "discardOrientation": 0x10,
}
"""Of vtkSlicerVolumesLogic::AddArchetypeVolume."""


class qSlicerCoreIOManager(qt.QObject):
    """What `slicer.util` loads and saves with."""

    newFileLoaded = QtCore.Signal(object)
    SIGNALS = ("newFileLoaded(qSlicerIO::IOProperties)",)

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._app = app

    def fileType(self, fileName: str) -> str:
        """The reader that is surest of a file, by its name."""
        name = Path(fileName).name.lower()
        if name.endswith((".mrml", ".mrb")):
            return "SceneFile"
        if ".seg." in name:
            return "SegmentationFile"
        return "VolumeFile" if name.endswith(VOLUMES) else "NoFile"

    def loadNodes(self, fileType: str, properties: Any, loaded: Any = None, messages: Any = None) -> bool:
        """Reads a file into the scene; its nodes are added to the collection `loaded`."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self._loadScene(path, properties, messages)
        loaders = {"VolumeFile": self._loadVolume, "SegmentationFile": self._loadSegmentation}
        if fileType not in loaders:
            raise NotImplementedError(f"the harness has no reader {fileType!r}")
        name = properties.get("name") or self._app.mrmlScene().GenerateUniqueName(_stem(path))
        node = loaders[fileType](path, name, properties) if Path(path).exists() else None
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        self.newFileLoaded.emit(properties)
        return True

    def saveNodes(self, fileType: str, properties: Any, messages: Any = None) -> bool:
        """Writes the scene, or a node that remembers the file as its own from then on."""
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self._saveScene(path, messages)
        node = self._app.mrmlScene().GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", storage.GetUseCompression())))
        return bool(storage.WriteData(node))

    def exportNodes(
        self, nodeIDs: Any, fileNames: Any, properties: Any, hardenTransform: bool, messages: Any = None
    ) -> bool:
        """Writes copies of nodes, whose own storage nodes are left as they are."""
        scene = self._app.mrmlScene()
        for nodeID, path in zip(nodeIDs, fileNames, strict=True):
            node = scene.GetNodeByID(nodeID)
            if properties.get("fileFormat") not in self.fileWriterExtensions(node):
                return False  # such as the format of an earlier call's node
            copy = scene.CreateNodeByClass(node.GetClassName())
            copy.UnRegister(None)
            copy.Copy(node)
            if hardenTransform:
                _harden(copy, node.GetParentTransformNode())
            storage = node.CreateDefaultStorageNode()
            storage.UnRegister(None)
            storage.SetFileName(str(path))
            storage.SetUseCompression(int(properties.get("useCompression", 1)))
            if not storage.WriteData(copy):
                return False
        return True

    def fileWriterFileType(self, node: Any, _fileFormat: str = "") -> str:
        return "SegmentationFile" if node.IsA("vtkMRMLSegmentationNode") else "VolumeFile"

    def fileWriterExtensions(self, node: Any) -> list[str]:
        """The formats that a node can be written in, such as `NIfTI (.nii.gz)`."""
        scene = self._app.mrmlScene()
        storage = scene.CreateNodeByClass(node.GetDefaultStorageNodeClassName())
        storage.UnRegister(None)
        scene.AddNode(storage)  # it names its formats once it is in a scene
        types = storage.GetSupportedWriteFileTypes()
        found = [types.GetValue(place) for place in range(types.GetNumberOfValues())]
        scene.RemoveNode(storage)
        return found

    def extractKnownExtension(self, fileName: str, node: Any) -> str:
        """The longest ending of a name that is one of the node's formats, dot included."""
        extensions = [
            mrml.vtkDataFileFormatHelper.GetFileExtensionFromFormatString(text)
            for text in self.fileWriterExtensions(node)
        ]
        known = [extension for extension in extensions if str(fileName).lower().endswith(extension)]
        return max(known, key=len, default="")

    def _loadVolume(self, path: str, name: str, properties: Any) -> Any:
        options = {"autoWindowLevel": True, **properties}
        flags = sum(flag for key, flag in OPTIONS.items() if options.get(key))
        logic = self._app.moduleLogic("Volumes")
        node = logic.AddArchetypeVolume(path, name, flags)
        if node is not None and properties.get("show", True):
            selection = self._app.applicationLogic().GetSelectionNode()
            selection.SetActiveVolumeID(node.GetID())
            self._app.applicationLogic().PropagateVolumeSelection()
        return node

    def _loadSegmentation(self, path: str, name: str, properties: Any) -> Any:
        logic = self._app.moduleLogic("Segmentations")
        return logic.LoadSegmentationFromFile(path, properties.get("autoOpacities", True), name)

    def _loadScene(self, path: str, properties: Any, messages: Any) -> bool:
        scene = self._app.mrmlScene()
        clear = bool(properties.get("clear", False))
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def _saveScene(self, path: str, messages: Any) -> bool:
        scene = self._app.mrmlScene()
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None, messages))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            return bool(scene.Commit())
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, messages))


def _harden(node: Any, transform: Any) -> None:
    """Moves a node to where it is seen. A linear transform changes the grid, any other one the voxels."""
    if transform is None:
        return
    if transform.IsTransformToWorldLinear():
        matrix = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(matrix)
        node.ApplyTransformMatrix(matrix)
    else:
        general = vtk.vtkGeneralTransform()
        transform.GetTransformToWorld(general)
        node.ApplyTransform(general)


def _stem(path: str) -> str:
    """A file's name without what says its format."""
    name = Path(path).name
    for ending in (".seg.nrrd", *VOLUMES):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
