"""Small brains in a table with splits, some of them in the wrong place."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from brainage_ray.config import load_experiment

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SMALL = {"kind": "resnet50", "width": 0.125, "depth": 14}
"""Weights from elsewhere go into this backbone only."""
SPACE = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2}}}


def brain(seed: int) -> np.ndarray:
    grid = np.indices((40, 48, 40)) - np.array([20, 24, 20])[:, None, None, None]
    noise = 100 + 10 * np.random.default_rng(seed).standard_normal((40, 48, 40))
    return (noise * ((grid**2).sum(0) < 17**2)).astype(np.float32)


class People:
    """A table of people and an experiment on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[str] = []
        (folder / "scans").mkdir(parents=True)

    def add(self, subject: str, split: str, brain_of: int, packed: int = 9) -> None:
        """Add a scan; people of one `brain_of` have the same image, and `packed` is how it is compressed."""
        name = f"scans/{len(self.rows)}.nii.gz"
        plain = nib.Nifti1Image(brain(brain_of), AFFINE).to_bytes()
        (self.folder / name).write_bytes(gzip.compress(plain, packed, mtime=len(self.rows)))
        self.rows.append(f"{subject},{50 + len(self.rows)},F,CN,{name},{split}")

    def experiment(self, *changes: str, name: str = "leaky", pretraining: dict | None = None):
        """Write the table and the experiment, and load it."""
        head = "subject,age_years,sex,diagnosis,image,split"
        (self.folder / "people.csv").write_text("\n".join([head, *self.rows]) + "\n")
        content = {
            "name": name,
            "data": {
                "sources": [{"kind": "table", "table": "people.csv", "cohort": "X"}],
                "preprocessing": {"voxel_mm": 4.0, "slice_range_mm": [40.0, 100.0], "slice_step_mm": 20.0,
                                  "slice_shape": [48, 48]},
                "split": {"rule": "table"},
            },
            "arms": {"resnet": {"backbone": SMALL, "pretraining": list(pretraining or {})}},
            "pretraining": pretraining or {},
            "training": {"max_epochs": 1, "batch_size": 8},
            "search": {"space": SPACE},
        }  # fmt: skip
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_experiment(path, changes)


def people_of(folder: Path, *copies: tuple[str, str, int]) -> People:
    """Six people with brains 0 to 5: two of each split; then copies of such brains (subject, split, brain)."""
    people = People(folder)
    for i, split in enumerate(["train", "train", "validation", "validation", "test", "test"]):
        people.add(f"s{i}", split, i)
    for subject, split, brain_of in copies:
        people.add(subject, split, brain_of, packed=1)
    return people


def cut_here(cluster, function, items, on_done=None, *_):
    """What parallel_map does, in this process."""
    outcomes = []
    for i, item in enumerate(items):
        try:
            outcomes.append(function(item))
        except Exception as error:
            outcomes.append(error)
        on_done(i, outcomes[-1])
    return outcomes
