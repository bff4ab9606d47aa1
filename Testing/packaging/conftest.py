"""The models that learnt nothing are those of the core's tests."""

from Testing.inference.conftest import bank_of, header, weights_of

__all__ = ["bank_of", "header", "weights_of"]
