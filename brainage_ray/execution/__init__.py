"""The only importer of Ray and Optuna: the cluster, parallel maps, training jobs and studies.

Its names, which `__init__.pyi` lists, are loaded at their first use: a refusal waits for neither Ray nor Optuna.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
