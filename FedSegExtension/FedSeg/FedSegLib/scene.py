"""Volumes and segmentations of the MRML scene, to files and back."""

import slicer

DISAGREEMENT_SHOWN = 0.05
"""Bits below which the overlay is transparent."""


def exportVolume(volume, path):
    """Write a volume as it lies in the scene: its transforms, if it is under any, are applied.

    Raises:
        OSError: it was not written.
    """
    if not slicer.util.exportNode(volume, str(path), {"useCompression": 0}, world=True):
        raise OSError(f"The volume could not be written to {path}.")


def findNode(nodeId):
    """The node, or None where it was removed."""
    return slicer.mrmlScene.GetNodeByID(nodeId)


def loadSegmentation(path, volume, attributes):
    """A .seg.nrrd as a segmentation node of this volume, with attributes."""
    name = f"{volume.GetName()} FedSeg"
    segmentation = slicer.util.loadSegmentation(str(path), {"name": name})
    _forgetFile(segmentation)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for key, value in attributes.items():
        segmentation.SetAttribute(key, value)
    _putBeside(segmentation, volume)
    return segmentation


def loadDisagreement(path, volume):
    """The map of where models disagree, in bits from 0 to 1, in colours whose zero is transparent."""
    name = f"{volume.GetName()} FedSeg disagreement"
    disagreement = slicer.util.loadVolume(str(path), {"name": name, "show": False})
    _forgetFile(disagreement)
    display = disagreement.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeIron")
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetAutoThreshold(0)
    display.SetThreshold(DISAGREEMENT_SHOWN, 1.0)
    display.SetApplyThreshold(1)
    _putBeside(disagreement, volume)
    return disagreement


def _forgetFile(node):
    """A node read from a temporary file must not be saved back to it."""
    storage = node.GetStorageNode()
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)


def _putBeside(node, volume):
    """Into the volume's folder of the subject hierarchy: its patient or study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), parent)
