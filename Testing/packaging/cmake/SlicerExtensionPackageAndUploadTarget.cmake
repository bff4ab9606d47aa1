# Found before Slicer's own file of this name: a test uploads nothing.
