"""A model as a MONAI bundle, which runs where there is MONAI and not this package.

Layout and fields: MONAI's bundle specification (monai.readthedocs.io, "MONAI Bundle Specification").
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from brainage_ray.data import atomic_write, resampling, slicing
from brainage_ray.pipeline import bundle_script
from brainage_ray.pipeline.model_folder import ModelFolder

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""Of metadata.json: where MONAI keeps it."""
NETWORK = "models/model.pt2"
"""What torch.export makes of the networks."""
_SETTINGS = ("voxel_mm", "slice_origin", "slice_range_mm", "slice_step_mm", "slice_shape")


def write_bundle(folder: Path, described: ModelFolder) -> None:
    """Write the files of a bundle around its network, which is at NETWORK already."""
    _write_json(folder / "configs/metadata.json", metadata(described))
    _write_json(folder / "configs/inference.json", _inference(described))
    for source, name in ((resampling, "resampling"), (slicing, "slicing"), (bundle_script, "brain_age")):
        text = Path(str(source.__file__)).read_text().replace("from brainage_ray.data.", "from scripts.")
        _write(folder / f"scripts/{name}.py", text)
    _write(folder / "scripts/__init__.py", '"""From prepared brains to slices and ages."""\n')
    _write(folder / "docs/README.md", _readme(described))
    _write(folder / "LICENSE", "Code: Apache License 2.0. Weights: ask whoever trained them.\n")


def metadata(described: ModelFolder) -> dict[str, Any]:
    """Return metadata.json: what the network takes and gives, and the versions that it was made with."""
    rows, columns = described.preprocessing.slice_shape
    image = {
        "type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1, "spatial_shape": [rows, columns],
        "dtype": "float32", "value_range": [-10, 10], "is_patch_data": False, "channel_def": {"0": "T1-weighted"},
    }  # fmt: skip
    position = {
        "type": "tuples", "format": "magnitude", "num_channels": 1, "spatial_shape": ["n"], "dtype": "float32",
        "value_range": [0, 2.5], "is_patch_data": False, "channel_def": {"0": "height of the slice, 100 mm"},
    }  # fmt: skip
    members = {str(i): f"age, years, seed {member.seed}" for i, member in enumerate(described.members)}
    years = {
        "type": "tuples", "format": "magnitude", "num_channels": len(members), "spatial_shape": [], "dtype": "float32",
        "value_range": [0, 120], "is_patch_data": False, "channel_def": members,
    }  # fmt: skip
    packages = {name: version(name) for name in ("nibabel", "scipy")}
    return {
        "schema": SCHEMA, "version": "0.1.0", "changelog": {"0.1.0": "exported"},
        "monai_version": version("monai"), "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"), "required_packages_version": packages,
        "name": f"Brain age {described.experiment}/{described.arm}", "task": "Brain age from T1-weighted MRI",
        "description": "Axial slices of a prepared brain to years; the median or mean over slices is the brain age.",
        "authors": "brainage_ray", "copyright": "The owner of the training data and the weights",
        "data_type": "nibabel", "image_classes": "a brain without its skull, on the grid the model was trained on",
        "pred_classes": "years, one channel a seed", "intended_use": "Research; no medical device.",
        "data_hash": described.data_hash, "commit": described.commit,
        "network_data_format": {"inputs": {"image": image, "position": position}, "outputs": {"pred": years}},
    }  # fmt: skip


def _inference(described: ModelFolder) -> dict[str, Any]:
    settings = {key: value for key, value in described.preprocessing.to_json().items() if key in _SETTINGS}
    transforms = [
        {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader", "image_only": True},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": [["L", "R"], ["P", "A"], ["I", "S"]]},
        {"_target_": "scripts.brain_age.BrainSlicesd", "keys": "image", "settings": settings},
    ]
    run = "$write_ages(@network_def, @preprocessing, @datalist, @aggregate, @output)"
    return {
        "imports": ["$import glob", "$import torch", "$from scripts.brain_age import write_ages"],
        "bundle_root": ".",
        "dataset_dir": ".",
        "output": "ages.csv",
        "aggregate": described.aggregate,
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "network_def": f"$torch.export.load(@bundle_root + '/{NETWORK}').module()",
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
        "run": [run],
    }


def _readme(described: ModelFolder) -> str:
    steps = described.preprocessing
    return f"""# Brain age: {described.experiment}/{described.arm}

{len(described.members)} networks (seeds {", ".join(str(m.seed) for m in described.members)}), whose mean is the brain
age of a scan, in years. For research; no medical device.

    pip install monai nibabel scipy fire
    cd BUNDLE
    python -m monai.bundle run --config_file configs/inference.json --dataset_dir FOLDER --output ages.csv

FOLDER holds prepared brains: NIfTI files, 0 outside the brain, prepared as the training data were:
brain extraction {steps.brain_extraction}, bias correction {steps.bias_correction}, registration {steps.registration}
to {steps.template}, which this bundle does not do. What it does is in `scripts/` and
`configs/inference.json`: voxels of {steps.voxel_mm:g} mm, mean 0 and sd 1 in the brain, slices of {steps.slice_shape}.

`models/model.pt2` is a program of torch.export for the CPU: images [N, 1, H, W] and positions [N] (100 mm) to years
[N, {len(described.members)}].
"""


def _write_json(path: Path, data: dict[str, Any]) -> None:
    _write(path, json.dumps(data, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(text.encode())
