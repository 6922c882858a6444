"""Distributed hyperparameter search for brain-age models.

Five names for notebooks, loaded at their first use: `load_experiment`, `run_experiment`, `load_model`, `predict`,
`audit`.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
