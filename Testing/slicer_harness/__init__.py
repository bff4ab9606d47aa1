"""Stands in for the 3D Slicer application: real MRML, PySide6 with PythonQt's manners. See README.md."""
