# What brainage_ray offers; each name is loaded at its first use.
from .api import audit as audit
from .api import load_experiment as load_experiment
from .api import load_model as load_model
from .api import predict as predict
from .api import run_experiment as run_experiment

__version__: str
