"""The panels of the module: they show and ask; what is done, `FedSegLib`'s plain files do."""
