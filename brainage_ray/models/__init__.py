"""Networks: backbones, the age head, the segmentation decoder, and strict transfer of weights.

Importing this package does not import MONAI: ``import monai`` loads MLflow, pandas and SciPy
where they are installed (5 s on a laptop), so that only building a network pays for it.
"""

from brainage_ray.models.backbone import Backbone
from brainage_ray.models.build import build_age_model, build_backbone, build_segmentation_model, count_weights
from brainage_ray.models.ensemble import AgeEnsemble
from brainage_ray.models.heads import AgeModel
from brainage_ray.models.importing import ImportReport, KeyRow, import_encoder
from brainage_ray.models.segmentation import SegmentationModel
from brainage_ray.models.transfer import TransferReport, adapt_stem, load_encoder
from brainage_ray.models.weights import fetch_weights, load_state, read_weights, save_state, save_tensors

__all__ = [
    "AgeEnsemble",
    "AgeModel",
    "Backbone",
    "ImportReport",
    "KeyRow",
    "SegmentationModel",
    "TransferReport",
    "adapt_stem",
    "build_age_model",
    "build_backbone",
    "build_segmentation_model",
    "count_weights",
    "fetch_weights",
    "import_encoder",
    "load_encoder",
    "load_state",
    "read_weights",
    "save_state",
    "save_tensors",
]
