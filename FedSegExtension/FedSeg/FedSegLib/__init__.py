"""What the FedSeg module is made of; everything but `scene` is plain Python, without Qt and Slicer."""
