"""FlowGIN: intensity augmentation that a site learns, a normalizing flow with a style in its latent space.

A variant of our own, NOT "FedGIN as published", whose generator is random and learns nothing.

    settings     its numbers                        style       draw and apply: what a training step uses
    couplings    the flow: eight coupling layers    adversary   the discriminator that keeps anatomy
    splines      the monotone kind                  pool, state what a round learns from and leaves behind
    context      what a voxel sees around it        train       one round
    effective    the one number that leaves the site: how many distinct images it has
"""
