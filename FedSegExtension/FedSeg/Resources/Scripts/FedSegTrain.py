"""Trains a model on a dataset folder without a window and without questions.

Slicer --no-splash --no-main-window --python-script FedSegTrain.py -- --data DIR --out DIR [--init MODEL] [--resume]

Slicer ends with 0 if all went well, 1 if training failed, 2 if it could not begin.
"""

import sys
from pathlib import Path

import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from FedSegLib.batch import runScript, trainOn

runScript(slicer, trainOn)
