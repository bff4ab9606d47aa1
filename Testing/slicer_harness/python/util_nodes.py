"""The part of `slicer.util` that finds, observes and reads nodes."""

import fnmatch
from warnings import warn

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy


class MRMLNodeNotFoundException(Exception):
    """There is no such node."""


def getNodes(pattern="*", scene=None):
    """The nodes of a name or id, by name."""
    scene = scene or slicer.mrmlScene
    nodes = [scene.GetNthNode(place) for place in range(scene.GetNumberOfNodes())]
    return {
        node.GetName(): node
        for node in nodes
        if fnmatch.fnmatchcase(node.GetName() or "", pattern) or fnmatch.fnmatchcase(node.GetID(), pattern)
    }


def getNode(pattern="*", index=0, scene=None):
    """A node of a name or id."""
    nodes = list(getNodes(pattern, scene).values())
    if not nodes:
        raise MRMLNodeNotFoundException(f"could not find nodes in the scene by name or id '{pattern}'")
    return nodes[index]


def getNodesByClass(className, scene=None):
    """The nodes of a class and of those derived from it."""
    scene = scene or slicer.mrmlScene
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]


class NodeModify:
    """Holds a node's modified events back until the end of a `with`."""

    def __init__(self, node):
        self.node = node

    def __enter__(self):
        self.wasModifying = self.node.StartModify()
        return self.node

    def __exit__(self, *_error):
        self.node.EndModify(self.wasModifying)


def arrayFromVolume(volumeNode):
    """The voxels, k j i, as a view."""
    data = volumeNode.GetImageData()
    shape = tuple(reversed(data.GetDimensions()))
    components = data.GetNumberOfScalarComponents()
    return vtk_to_numpy(data.GetPointData().GetScalars()).reshape(shape + (components,) * (components > 1))


def addVolumeFromArray(narray, ijkToRAS=None, name=None, nodeClassName=None):
    """A new volume node with these voxels, k j i."""
    node = slicer.mrmlScene.AddNewNodeByClass(nodeClassName or "vtkMRMLScalarVolumeNode", name or "")
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(narray.shape))
    image.GetPointData().SetScalars(numpy_to_vtk(np.ravel(narray), deep=True))
    node.SetAndObserveImageData(image)
    if ijkToRAS is not None:
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(np.ravel(ijkToRAS).tolist())
        node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    return node


def arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, referenceVolumeNode=None):
    """The voxels of a segment on a volume's grid, k j i, 0 or 1."""
    chosen = vtk.vtkStringArray()
    chosen.InsertNextValue(segmentId)
    labelmap = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    try:
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
            segmentationNode,
            chosen,
            labelmap,
            referenceVolumeNode,
            slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY,
        )
        return np.array(arrayFromVolume(labelmap))
    finally:
        slicer.mrmlScene.RemoveNode(labelmap)


class VTKObservationMixin:
    """Remembers what it observes, so that all of it can be ended at once."""

    def __init__(self):
        super().__init__()
        self._observations = {}

    def addObserver(self, obj, event, method, group="none", priority=0.0):
        """Calls a method on each event of an object, once."""
        if self.hasObserver(obj, event, method):
            warn("already has observer", stacklevel=2)
            return
        self._observations[obj, event, method] = obj.AddObserver(event, method, priority)

    def removeObserver(self, obj, event, method):
        """Ends one."""
        if not self.hasObserver(obj, event, method):
            warn("does not have observer", stacklevel=2)
            return
        obj.RemoveObserver(self._observations.pop((obj, event, method)))

    def removeObservers(self, method=None):
        """Ends all, or those of a method."""
        for key in [key for key in self._observations if method in (None, key[2])]:
            key[0].RemoveObserver(self._observations.pop(key))

    def hasObserver(self, obj, event, method):
        """Whether it is observed."""
        return (obj, event, method) in self._observations
