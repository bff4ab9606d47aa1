"""The part of `slicer.util` that reads and writes files."""

import logging

import slicer
import vtk


# Slicer's own functions share one dictionary of properties between all calls that give none.
def loadNodeFromFile(filename, filetype=None, properties={}):  # noqa: B006
    """Reads a file into the scene."""
    properties["fileName"] = str(filename)
    manager = slicer.app.coreIOManager()
    loaded, messages = vtk.vtkCollection(), slicer.vtkMRMLMessageCollection()
    if not manager.loadNodes(filetype or manager.fileType(filename), properties, loaded, messages):
        told = messages.GetAllMessagesAsString() if messages.GetNumberOfMessages() else ""
        raise RuntimeError(f"Failed to load node from file: {filename}\n{told}".strip())
    return loaded.GetItemAsObject(0)


def loadVolume(filename, properties={}):  # noqa: B006
    """An image as a volume node."""
    return loadNodeFromFile(filename, "VolumeFile", properties)


def loadLabelVolume(filename, properties={}):  # noqa: B006
    """An image of labels as a volume node."""
    properties["labelmap"] = True
    return loadNodeFromFile(filename, "VolumeFile", properties)


def loadSegmentation(filename, properties={}):  # noqa: B006
    """A file of segments as a segmentation node."""
    return loadNodeFromFile(filename, "SegmentationFile", properties)


def loadScene(filename, properties={}):  # noqa: B006
    """A saved scene, added to the present one."""
    return loadNodeFromFile(filename, "SceneFile", properties)


def saveNode(node, filename, properties={}):  # noqa: B006
    """Writes a node, which remembers the file."""
    properties["nodeID"], properties["fileName"] = node.GetID(), filename
    manager = slicer.app.coreIOManager()
    messages = slicer.vtkMRMLMessageCollection()
    return manager.saveNodes(manager.fileWriterFileType(node), properties, messages)


def saveScene(filename, properties={}):  # noqa: B006
    """Writes the scene."""
    properties["fileName"] = filename
    messages = slicer.vtkMRMLMessageCollection()
    return slicer.app.coreIOManager().saveNodes("SceneFile", properties, messages)


def exportNode(node, filename, properties={}, world=False):  # noqa: B006
    """Writes a node, which does not remember the file; in the world's coordinates if told so."""
    manager = slicer.app.coreIOManager()
    if "fileFormat" not in properties:
        ending = manager.extractKnownExtension(filename, node)
        formats = {
            slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString(text): text
            for text in manager.fileWriterExtensions(node)
        }
        if ending not in formats:
            raise ValueError(
                f"Failed to export {node.GetID()} - no known file format for filename {filename}"
            )
        properties["fileFormat"] = formats[ending]
    messages = slicer.vtkMRMLMessageCollection()
    isWritten = manager.exportNodes([node.GetID()], [filename], properties, world, messages)
    if not isWritten:
        logging.error("Failed to export node to file: %s", filename)
    return isWritten
