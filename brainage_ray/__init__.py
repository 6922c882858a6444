"""Distributed hyperparameter search for brain-age models."""

__version__ = "0.1.0"
