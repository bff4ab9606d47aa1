"""Runs the module FedSeg without the application, over the real MRML core and Qt. See the README beside."""
