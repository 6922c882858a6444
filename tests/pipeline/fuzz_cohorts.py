"""Small cohorts in every layout, spoilt and prepared as `brainage run` does, in this process."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from brains import brain
from invented_adni import Image, add
from invented_downloads import ADNIMERGE, add_bids, add_nnunet, merge_row, put, write_lines
from sessions import session_of
from spoilt_files import packed

from brainage_ray.config import Experiment, load_experiment
from brainage_ray.data import read_ledger
from brainage_ray.pipeline.inputs import read_scans
from brainage_ray.pipeline.prepare import LEDGER, prepare, store_folder

SHAPE, MM = (24, 28, 22), 3.0
PEOPLE = 8
VICTIM = {"table": "s 0.nii.gz", "adni": "I100", "bids": "sub-0_T1w", "brats": "C0", "nnunet": "C0"}
"""Image id of the input that is spoilt."""
VICTIM_FILE = {
    "table": "s 0.nii.gz", "adni": "128_S_0100/MPRAGE/2006-01-02_10_30_00.0/I100/ADNI_128_S_0100_MR_MPRAGE_I100.nii.gz",
    "bids": "sub-0/anat/sub-0_T1w.nii.gz", "brats": "C0/C0_t1ce.nii.gz", "nnunet": "imagesTr/C0_0002.nii.gz",
}  # fmt: skip


def image_bytes(seed: int, array: Any = None) -> bytes:
    array = brain(SHAPE, (MM, MM, MM), seed) if array is None else array
    return packed(nib.Nifti1Image(array, np.diag([MM, MM, MM, 1.0])).to_bytes())


def label_bytes() -> bytes:
    labels = np.zeros(SHAPE, np.uint8)
    for value, radius in ((2, 4), (1, 3), (3, 2)):
        labels[10 - radius : 10 + radius, 14 - radius : 14 + radius, 11 - radius : 11 + radius] = value
    return image_bytes(0, labels)


def people_table(root: Path) -> None:
    lines = ["subject,age_years,sex,diagnosis,image"]
    for i in range(PEOPLE):
        put(root / f"s {i}.nii.gz", image_bytes(i))
        lines.append(f"P{i},{60 + i}.5,F,CN,s {i}.nii.gz")
    write_lines(root / "people.csv", *lines)


def adni(root: Path) -> None:
    rows = []
    for i in range(PEOPLE):
        image = Image(f"128_S_{100 + i:04d}", 100 + i, date(2006, 1, 2), "ADNI Screening", sequence="MPRAGE")
        add(root, image)
        put(root / image.nifti_name, image_bytes(i))
        rows.append(merge_row(100 + i, protocol="ADNI1", day="2006-01-10", bl="2006-01-10"))
    write_lines(root / "ADNIMERGE.csv", ADNIMERGE, *rows)


def bids(root: Path) -> None:
    lines = [f"sub-{i},{60 + i},F" for i in range(PEOPLE)]
    add_bids(root, "\n".join(["participant_id,age,sex", *lines]) + "\n")
    for i in range(PEOPLE):
        put(root / f"sub-{i}" / "anat" / f"sub-{i}_T1w.nii.gz", image_bytes(i))


def tumours(root: Path, kind: str) -> None:
    for i in range(3):
        images = [image_bytes(100 + 10 * i + k) for k in range(4)]
        for k, name in enumerate(("flair", "t1", "t1ce", "t2")):
            put(root / (f"imagesTr/C{i}_{k:04d}.nii.gz" if kind == "nnunet" else f"C{i}/C{i}_{name}.nii.gz"), images[k])
        put(root / (f"labelsTr/C{i}.nii.gz" if kind == "nnunet" else f"C{i}/C{i}_seg.nii.gz"), label_bytes())
    if kind == "nnunet":
        add_nnunet(root, numTraining=3)


def build(root: Path, kind: str) -> Path:
    """Write a cohort; brain tumours come with a cohort of people."""
    people_table(root / "people") if kind in ("brats", "nnunet") else None
    {"table": people_table, "adni": adni, "bids": bids}.get(kind, lambda path: tumours(path, kind))(root / kind)
    return root


def sources(root: Path, kind: str, **settings: Any) -> list[dict[str, Any]]:
    table = {"kind": "table", "table": str(root / "people" / "people.csv"), "cohort": "People"}
    own: dict[str, Any] = {"kind": kind, "root": str(root / kind), "cohort": "Ours", **settings}
    if kind == "table":
        own["table"] = str(root / kind / "people.csv")
    if kind == "bids":
        own["default_diagnosis"] = "CN"
    return [table, own] if kind in ("brats", "nnunet") else [own]


def experiment_of(folder: Path, found: Sequence[dict[str, Any]], name: str) -> Experiment:
    data = {
        "sources": list(found),
        "max_failures": 100,
        "preprocessing": {
            "voxel_mm": 4.0, "slice_step_mm": 8.0, "slice_range_mm": [16.0, 56.0], "slice_shape": [40, 40]
        },
        "split": {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}},
    }  # fmt: skip
    space = {"parameters": {"training.optimizer.lr": {"type": "float", "low": 1.0e-4, "high": 0.01}}}
    arms = {"unet": {"backbone": {"kind": "unet"}}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, "data": data, "arms": arms, "search": {"space": space}}))
    return load_experiment(path)


def serial_map(cluster: Any, function: Callable[[Any], Any], items: Sequence[Any], on_done: Any, *_: Any) -> list[Any]:
    """What execution.parallel_map does, without Ray."""
    results: list[Any] = []
    for i, item in enumerate(items):
        try:
            results.append(function(item))
        except Exception as error:
            results.append(error)
        on_done(i, results[-1])
    return results


@dataclass
class Cohort:
    """One kind of source: a sound tree and what becomes of it."""

    kind: str
    folder: Path
    root: Path
    sound: pd.DataFrame = field(default_factory=pd.DataFrame)
    count: int = 0

    @property
    def victim(self) -> str:
        return VICTIM[self.kind]

    def copy(self) -> Path:
        self.count += 1
        root = self.folder / f"tree {self.count}"  # with a space
        shutil.copytree(self.root, root, symlinks=True)
        return root

    def prepare(self, root: Path, **settings: Any) -> pd.DataFrame:
        """Return the ledger of the store that comes out."""
        found = sources(root, self.kind, **settings)
        session = session_of(experiment_of(self.folder, found, f"fuzz-{self.kind}-{self.count}"), self.folder / "runs")
        prepare(session)
        folder = store_folder(session, read_scans(session))
        return read_ledger(folder / LEDGER)

    def check(self, ledger: pd.DataFrame, expected: str) -> None:
        """The victim is on the record once and as expected, and the rest of the cohort as if nothing had happened."""
        rest = self.sound[self.sound["image"] != self.victim]
        assert all(reason for reason in ledger.loc[ledger["status"] == "failed", "reason"])
        there = ledger[ledger["image"].isin(rest["image"])]
        assert there[["image", "status"]].to_numpy().tolist() == rest[["image", "status"]].to_numpy().tolist()
        others = ledger[~ledger["image"].isin(rest["image"])]
        assert len(others) == 1
        assert expected == "any" or others["status"].tolist() == [expected]
        assert Counter(ledger["status"]).total() == len(self.sound)
