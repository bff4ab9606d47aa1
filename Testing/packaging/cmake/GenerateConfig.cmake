# Slicer writes here what other extensions find this one by; FedSeg offers nothing to compile against.
