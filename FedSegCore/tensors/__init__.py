"""Weights, their algebra, and the one file format for messages, checkpoints and models."""
