"""Segments a folder of patients without a window and without questions.

Slicer --no-splash --no-main-window --python-script FedSegBatch.py -- --input DIR --model FILE --output DIR
    [--route DIR instead of --model] [--modality NAME] [--resume] [--device auto|cpu|cuda]

The output folder receives a .seg.nrrd of each patient and batch.csv. Slicer ends with 0 if all went well, 1 if some
patients failed, 2 if nothing could begin.
"""

import sys
from pathlib import Path

import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from FedSegLib.batch import runScript, segmentFolder

runScript(slicer, segmentFolder)
