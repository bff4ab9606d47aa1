"""FedMEPD: one encoder for each modality, and a decoder that each site personalises filter by filter.

The server owns cases of all modalities, sites own some of them. In every round

    site      trains the encoders of its modalities, its decoder, and what never leaves it: the attention that
              calibrates its features by the server's anchors, and a slight decoder of each encoder alone
    server    encoder m ← the mean over the sites that own m
              decoder filter j ← λ · its own + (1 − λ) · Σ_i h_ij D_ij / Σ_i h_ij over the sites that share j
              trains on its own cases, moves the anchors, and compares where each filter went at the site and here
    site      takes the server's filters, but for those that turned personal; these stay for ever

Liu et al., Federated Modality-specific Encoders and Partially Personalized Fusion Decoder for Multimodal Brain Tumor
Segmentation (FedMEPD), the successor of FedMEMA, which is `decoder = "private"` here.

Departures: the schedule scales with the study where it is not given (the paper's numbers are for 1000 rounds);
optimizer, schedule of the rate and loss are the study's own; the values of personal filters are not sent; the rows of
structures that a site does not annotate are not averaged from it.
"""

from FedSegCore.methods.fedmepd.method import FedMEPD as FedMEPD
from FedSegCore.methods.fedmepd.states import FedMEPDBroadcast as FedMEPDBroadcast
from FedSegCore.methods.fedmepd.states import FedMEPDClient as FedMEPDClient
from FedSegCore.methods.fedmepd.states import FedMEPDServer as FedMEPDServer
from FedSegCore.methods.fedmepd.states import FedMEPDUpdate as FedMEPDUpdate
