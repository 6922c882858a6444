"""The science in order: from an experiment to its report, and from its models to new scans.

Its names, which `__init__.pyi` lists, are loaded at their first use: a refusal does not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
