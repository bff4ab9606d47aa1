"""The module's own test, as Slicer runs it: without network, torch and models."""

import shutil
import sys
import tempfile
from pathlib import Path

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from FedSegLib.command import Command

OBLIQUE = ((-1.6, 1.2, 0, 9), (1.2, 1.6, 0, -4), (0, 0, -2, 7), (0, 0, 0, 1))
"""From voxel to RAS, as Slicer has it of a volume read from a file: 2 mm voxels, turned about the z axis."""

STAND_IN = """
import json, shutil, sys
shutil.copyfile({prepared!r}, sys.argv[sys.argv.index("-o") + 1])
print(json.dumps({{"event": "result", "paths": [], "summary": {{"volumes_ml": {{"Liver": 1.0}}}}}}))
"""
"""Stands for `fedseg`: its result was drawn before. What a model finds is for the core's tests."""


class FedSegTest(ScriptedLoadableModuleTest):
    """The panel opens; a volume goes out to the command and its segmentation comes back to the same place."""

    def setUp(self):
        """An empty scene and a folder."""
        slicer.mrmlScene.Clear()
        self.folder = Path(tempfile.mkdtemp(prefix="FedSegTest-"))

    def tearDown(self):
        """Nothing is left."""
        slicer.mrmlScene.Clear()
        shutil.rmtree(str(self.folder), ignore_errors=True)

    def test_panelSaysWhatIsMissing(self):
        """Nothing can be begun without a volume and a model."""
        widget = slicer.util.getModuleWidget("FedSeg")
        widget.enter()
        try:
            self.assertFalse(widget.ui.segmentButton.enabled)
            self.assertTrue(widget.ui.missingLabel.text)
        finally:
            widget.exit()

    def test_segmentationComesBackWhereTheVolumeIs(self):
        """The segment covers the same voxels, and nobody has reviewed it."""
        volume = self._volume()
        from FedSeg import FedSegLogic  # which imports this file

        logic = FedSegLogic()
        logic.command = self._standIn(volume)
        segmentation = logic.segment({"CT": volume}, self.folder / "model.safetensors").segmentation

        self.assertEqual(segmentation.GetAttribute("FedSeg.status"), "unreviewed")
        segments = segmentation.GetSegmentation()
        self.assertEqual(
            [segments.GetSegment(name).GetName() for name in segments.GetSegmentIDs()], ["Liver"]
        )
        drawn = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segments.GetSegmentIDs()[0], volume)
        self.assertTrue(((slicer.util.arrayFromVolume(volume) > 100) == (drawn > 0)).all())

    def _volume(self):
        import numpy  # Slicer brings it, but no file of FedSeg needs it to be loaded

        voxels = numpy.zeros((6, 7, 8), numpy.int16)
        voxels[1:4, 2:6, 3:5] = 200
        return slicer.util.addVolumeFromArray(voxels, ijkToRAS=numpy.array(OBLIQUE), name="volume")

    def _standIn(self, volume):
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        slicer.modules.volumes.logic().CreateLabelVolumeFromVolume(slicer.mrmlScene, labels, volume)
        slicer.util.arrayFromVolume(labels)[:] = slicer.util.arrayFromVolume(volume) > 100
        drawing = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, drawing)
        drawing.GetSegmentation().GetNthSegment(0).SetName("Liver")
        prepared, program = self.folder / "prepared.seg.nrrd", self.folder / "fedseg.py"
        slicer.util.exportNode(drawing, str(prepared), {})
        program.write_text(STAND_IN.format(prepared=str(prepared)))
        python = shutil.which("PythonSlicer") or sys.executable
        return lambda: Command((python, str(program)))
