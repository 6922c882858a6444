"""The smallest experiment that the command line's tests run for real."""

from __future__ import annotations

EXPERIMENT = {
    "name": "small",
    "data": {
        "sources": [{"kind": "phantom", "subjects": 12, "tumours": 0, "seed": 0}],
        "preprocessing": {
            "voxel_mm": 4.0, "slice_range_mm": [60.0, 100.0], "slice_step_mm": 20.0, "slice_shape": [48, 48],
        },
        "split": {"rule": "by_subject", "fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    },
    "arms": {"unet": {"backbone": {"kind": "unet", "width": 0.125, "depth": 3}}},
    "training": {"max_epochs": 1, "batch_size": 8},
    "refit": {"seeds": [0]},
    "search": {
        "space": {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}, "trials": 3,
    },
}  # fmt: skip
