"""Volumes and segmentations of the MRML scene, to files and back."""

import contextlib
import zlib

import slicer
import vtk

from FedSegLib.grids import Grid
from FedSegLib.matching import Segment
from FedSegLib.review import readResult, volumeRole
from FedSegLib.terminology import TAG, structureCode

CASE = "FedSeg.case"
"""Attribute of a volume: the dataset folder and case that it was added as."""

MADE = "FedSeg.made"
"""Attribute of the volumes that FedSeg made."""

MOST_VOXELS_IN_3D = 6_000_000
"""Of a segmentation whose surface is made unasked: about 0.08 s a million, for which the application stands still."""

_MADE_ALONG = ("vtkMRMLColorTableNode", "vtkMRMLDisplayNode", "vtkMRMLStorageNode")
"""What comes into the scene with a label map that is exported."""

DISAGREEMENT_SHOWN = 0.05
"""Bits below which the overlay is transparent."""


def exportVolume(volume, path):
    """Write a volume as it lies in the scene: its transforms, if it is under any, are applied.

    Raises:
        OSError: it was not written.
    """
    if not slicer.util.exportNode(volume, str(path), {"useCompression": 0}, world=True):
        raise OSError(f"The volume could not be written to {path}.")


def gridOf(volume):
    """Where the voxels of a volume lie, without the transforms that it is under."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    rows = tuple(tuple(matrix.GetElement(row, column) for column in range(4)) for row in range(4))
    return Grid(rows, tuple(volume.GetImageData().GetDimensions()))


def isTransformed(node):
    """Whether the node is seen elsewhere than its voxels say."""
    return node.GetTransformNodeID() is not None


def allNames():
    """Of everything that the scene shows, patients and studies included."""
    hierarchy = _hierarchy()
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    named = [hierarchy.GetItemName(items.GetId(place)) for place in range(items.GetNumberOfIds())]
    return [*named, *(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode"))]


def textsOf(volume):
    """What speaks for a volume's modality: its name, and that of its DICOM series and its modality."""
    hierarchy = _hierarchy()
    item = hierarchy.GetItemByDataNode(volume)
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    modality = hierarchy.GetItemAttribute(item, constants.GetDICOMSeriesModalityAttributeName())
    return [volume.GetName(), hierarchy.GetItemName(item), modality]


def segmentsOf(segmentation):
    """The segments of a segmentation node with the codes of their terminology."""
    segments = segmentation.GetSegmentation()
    found = []
    for segmentId in segments.GetSegmentIDs():
        segment = segments.GetSegment(segmentId)
        entry = vtk.reference("")
        segment.GetTag(TAG, entry)
        found.append(Segment(segmentId, segment.GetName(), structureCode(str(entry))))
    return found


def drawingFacts(segmentation, volume):
    """What is drawn on a volume's grid, as a text that another drawing has not; "" where the volume is gone."""
    if volume is None:
        return ""
    import numpy  # Slicer brings it, but no file of FedSeg needs it to be loaded

    facts = []
    for segmentId in segmentation.GetSegmentation().GetSegmentIDs():
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume)
        content = b"" if drawn is None else numpy.packbits(drawn > 0).tobytes()
        facts.append(
            f"{segmentation.GetSegmentation().GetSegment(segmentId).GetName()} {zlib.crc32(content):08x}"
        )
    return "|".join(facts)


def drawnOn(segmentation):
    """The volume whose grid a segmentation has, or None where it has its own."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def exportDrawing(segmentation, structures, volume, path):
    """Write segments on a volume's grid, each whole, under the dataset's names.

    :param structures: segment id -> name.
    :raises OSError: it was not written.
    """
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    with temporaryNode("vtkMRMLSegmentationNode") as drawing:
        drawing.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for segmentId, name in structures.items():
            chosen = vtk.vtkStringArray()
            chosen.InsertNextValue(segmentId)
            with temporaryNode("vtkMRMLLabelMapVolumeNode") as labelmap:
                extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
                exported = logic.ExportSegmentsToLabelmapNode(segmentation, chosen, labelmap, volume, extent)
                if not exported or not logic.ImportLabelmapToSegmentationNode(labelmap, drawing):
                    raise OSError(f"The segment {name} could not be drawn on the volume's grid.")
            # Its id too is the structure's name: a segment's own name may be a patient's.
            segments = drawing.GetSegmentation()
            made = segments.GetNthSegmentID(segments.GetNumberOfSegments() - 1)
            segment = segments.GetSegment(made)
            segment.SetName(name)
            segments.RemoveSegment(made)
            segments.AddSegment(segment, name)
        # Properties are given even if there are none: all calls without any share one dictionary, format included.
        if not slicer.util.exportNode(drawing, str(path), {}):
            raise OSError(f"The segmentation could not be written to {path}.")


@contextlib.contextmanager
def resampled(volume, like):
    """A volume on another one's grid, linearly; for the time of a `with`."""
    toVolume, toRas = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(toVolume)
    like.GetIJKToRASMatrix(toRas)
    transform = vtk.vtkTransform()
    transform.SetMatrix(toVolume)
    transform.Concatenate(toRas)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(volume.GetImageData())
    reslice.SetResliceTransform(transform)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputExtent(like.GetImageData().GetExtent())
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetBackgroundLevel(volume.GetImageData().GetScalarRange()[0])
    reslice.Update()
    with temporaryNode("vtkMRMLScalarVolumeNode") as node:
        node.SetIJKToRASMatrix(toRas)
        node.SetAndObserveImageData(reslice.GetOutput())
        yield node


@contextlib.contextmanager
def temporaryNode(kind):
    """A node that nobody sees, gone after the `with`, and with it what the logics made to show and store it."""
    before = {other.GetID() for kindMade in _MADE_ALONG for other in slicer.util.getNodesByClass(kindMade)}
    node = _newNode(kind)
    node.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(node)
    try:
        yield node
    finally:
        slicer.mrmlScene.RemoveNode(node)
        for kindMade in _MADE_ALONG:
            for other in slicer.util.getNodesByClass(kindMade):
                if other.GetID() not in before:
                    slicer.mrmlScene.RemoveNode(other)


def caseOf(volume, folder):
    """The name of the case of this dataset folder that the volume was added as; "" if it was not."""
    folderTold, _separator, name = (volume.GetAttribute(CASE) or "").rpartition("|")
    return name if folderTold == str(folder) else ""


def rememberCase(volume, folder, name):
    """So that a correction replaces the case that it corrects."""
    volume.SetAttribute(CASE, f"{folder}|{name}")


def isOurs(node):
    """Whether FedSeg made this node, such as a map of disagreement."""
    return node.GetAttribute(MADE) is not None


def showFile(path):
    """Load an image, or a drawing, of a dataset and show it; one that is loaded already is not loaded again.

    :raises RuntimeError: it cannot be read.
    """
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        storage = node.GetStorageNode()
        if storage is not None and storage.GetFileName() == str(path):
            break
    else:
        if path.name.endswith(".seg.nrrd"):
            slicer.util.loadSegmentation(str(path), {})
            return
        node = slicer.util.loadVolume(str(path), {"show": False})
    if node.IsA("vtkMRMLVolumeNode"):
        slicer.util.setSliceViewerLayers(background=node, fit=True)


def imageVolumes():
    """The volumes that may be segmented: neither label maps nor what FedSeg made."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    kind = "vtkMRMLScalarVolumeNode"
    return [
        node for node in nodes if node.GetClassName() == kind and node.GetImageData() and not isOurs(node)
    ]


def hasResult(volume, model):
    """Whether a volume has a result of this model."""
    for result in results():
        node = findNode(result.nodeId)
        sources = [referred(node, volumeRole(name)) for name in result.modalities]
        if result.model == model and volume in sources:
            return True
    return False


def showCase(segmentation, volume, disagreement):
    """A result over its image, and no other result; either volume may be gone."""
    for result in results():
        display = findNode(result.nodeId).GetDisplayNode()
        if display is not None:
            display.SetVisibility(result.nodeId == segmentation.GetID())
    slicer.util.setSliceViewerLayers(
        background=volume, foreground=disagreement, foregroundOpacity=0.5 if disagreement else 0.0, fit=True
    )


def showIn3D(segmentation):
    """Make a result's surface, which the 3D views show, unless that would take long."""
    segments = segmentation.GetSegmentation()
    layers = (segments.GetLayerDataObject(layer) for layer in range(segments.GetNumberOfLayers()))
    if sum(layer.GetNumberOfPoints() for layer in layers) <= MOST_VOXELS_IN_3D:
        segmentation.CreateClosedSurfaceRepresentation()


def segmentEditorNode():
    """The one that all of Slicer shares."""
    node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
    if node is None:
        node = _newNode("vtkMRMLSegmentEditorNode")
        node.SetSingletonTag("SegmentEditor")
        node = slicer.mrmlScene.AddNode(node)
    return node


def results():
    """What FedSeg segmented in this scene."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    found = (readResult(node.GetID(), node.GetName(), node.GetAttribute) for node in nodes)
    return [result for result in found if result is not None]


def refer(node, role, other):
    """Let a node know another one; saved with the scene."""
    node.SetNodeReferenceID(role, other.GetID())


def referred(node, role):
    """The node that is known by this role, or None."""
    return node.GetNodeReference(role)


def setAttributes(node, attributes):
    """Attributes, saved with the scene."""
    for key, value in attributes.items():
        node.SetAttribute(key, value)


def findNode(nodeId):
    """The node, or None where it was removed."""
    return slicer.mrmlScene.GetNodeByID(nodeId)


def remove(node):
    """Take a node out of the scene."""
    slicer.mrmlScene.RemoveNode(node)


def loadSegmentation(path, volume, attributes):
    """A .seg.nrrd as a segmentation node of this volume, with attributes."""
    name = slicer.mrmlScene.GenerateUniqueName(f"{volume.GetName()} FedSeg")
    segmentation = slicer.util.loadSegmentation(str(path), {"name": name})
    _forgetFile(segmentation)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    setAttributes(segmentation, attributes)
    _putBeside(segmentation, volume)
    return segmentation


def loadDisagreement(path, volume):
    """The map of where models disagree, in bits from 0 to 1, in colours whose zero is transparent."""
    name = f"{volume.GetName()} FedSeg disagreement"
    disagreement = slicer.util.loadVolume(str(path), {"name": name, "show": False})
    _forgetFile(disagreement)
    disagreement.SetAttribute(MADE, "disagreement")
    display = disagreement.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeIron")
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetAutoThreshold(0)
    display.SetThreshold(DISAGREEMENT_SHOWN, 1.0)
    display.SetApplyThreshold(1)
    _putBeside(disagreement, volume)
    return disagreement


def _newNode(kind):
    """A node that is in no scene yet."""
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)  # the reference that it was created with
    return node


def _hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def _forgetFile(node):
    """A node read from a temporary file must not be saved back to it."""
    storage = node.GetStorageNode()
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)


def _putBeside(node, volume):
    """Into the volume's folder of the subject hierarchy: its patient or study."""
    hierarchy = _hierarchy()
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), parent)
