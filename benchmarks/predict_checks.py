"""Checks prediction on real heads, on repeated scans and on what is no T1 head, with a model of IXI made here.

python -m benchmarks.predict_checks --data ../shared/data --folder checks/
python -m benchmarks.predict_checks --data ../shared/data --folder checks/ --set training.max_epochs=10

Needs the extra `anatomy`. The folder keeps the model and what was predicted: run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from benchmarks.small_model import write_ixi_model
from brainage_ray.pipeline.predict import PredictOptions, predict

REPEATS = 3
DEGREES, MM, NOISE = 3.0, 3.0, 0.03
"""Largest turn and shift of a repeated scan, and its noise as a share of the mean brightness."""


def main() -> None:
    """Print a line a check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ixi/participants.csv")
    parser.add_argument("--folder", type=Path, required=True, help="for the model and the predictions")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE")
    arguments = parser.parse_args()
    folder, data = arguments.folder.absolute(), arguments.data.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    brains = [scan.files["t1"] for scan in write_ixi_model(folder, data, arguments.seeds, arguments.set)]
    options = PredictOptions(workers=2, cache=folder / "predictions")
    check_odd(folder, brains[0], options)
    check_repeats(folder, brains, options)
    check_heads(folder / "model", data, brains, options)


def check_heads(model: Path, data: Path, brains: list[Path], options: PredictOptions) -> None:
    """Compare the age of whole heads with that of the same people's brains."""
    with (data / "ixi" / "heads.csv").open() as file:
        heads = [(data / "ixi" / row["image"], float(row["age_years"])) for row in csv.DictReader(file)]
    of = {path.name.split("-")[0]: path for path in brains}
    paths = [of[path.name.split("-")[0]] for path, _ in heads]
    brain, head = (predict(model, images, options) for images in (paths, [path for path, _ in heads]))
    ages = np.array([age for _, age in heads])
    difference = head["brain_age_years"] - brain["brain_age_years"]
    print(pd.DataFrame({
        "age": ages, "brain": brain["brain_age_years"], "head": head["brain_age_years"], "difference": difference,
        "status": head["status"], "flags": head["flags"], "status of brain": brain["status"],
    }).round(2).to_string())  # fmt: skip
    print(f"MAE of the brains {np.abs(brain['brain_age_years'] - ages).mean():.2f} years")
    print(f"head - brain: mean {difference.mean():+.2f}, mean size {difference.abs().mean():.2f} years")


def check_repeats(folder: Path, brains: list[Path], options: PredictOptions) -> None:
    """Predict scans again with noise and in another pose, and print the intraclass correlation ICC(2, 1)."""
    paths = [repeat(path, i, folder / "repeats") for path in brains for i in range(REPEATS)]
    table = predict(folder / "model", paths, options)
    ages = table["brain_age_years"].to_numpy().reshape(len(brains), REPEATS)
    spread = float(np.sqrt(np.nanmean(ages.var(axis=1, ddof=1))))
    print(f"repeats: ICC {icc(ages):.3f}, within-scan sd {spread:.2f} years, {(table['status'] == 'ok').mean():.0%} ok")


def repeat(path: Path, number: int, folder: Path) -> Path:
    """Write a scan again: the first as it is, others turned, shifted and with noise."""
    if number == 0:
        return path
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(number)
    image = nib.load(path)
    brain = np.asarray(image.dataobj, dtype=np.float32)
    angles, shift = rng.uniform(-DEGREES, DEGREES, 3), rng.uniform(-MM, MM, 3) / image.header.get_zooms()[:3]
    moved = brain
    for angle, axes in zip(angles, ((0, 1), (0, 2), (1, 2)), strict=True):
        moved = ndimage.rotate(moved, angle, axes=axes, reshape=False, order=1)
    moved = ndimage.shift(moved, shift, order=1)
    inside = moved > 0.25 * np.median(brain[brain > 0])
    noisy = moved + rng.normal(0, NOISE * brain[brain > 0].mean(), brain.shape)
    out = folder / f"{path.name.split('.')[0]}-{number}.nii.gz"
    nib.Nifti1Image(np.where(inside, np.maximum(noisy, 1), 0).astype(np.float32), image.affine).to_filename(out)
    return out


def icc(ages: np.ndarray) -> float:
    """Return ICC(2, 1) of ages [n_scans, n_repeats] (Shrout and Fleiss, Psychol Bull 86:420, 1979)."""
    n, k = ages.shape
    grand, rows, columns = ages.mean(), ages.mean(axis=1), ages.mean(axis=0)
    between = k * ((rows - grand) ** 2).sum() / (n - 1)
    judges = n * ((columns - grand) ** 2).sum() / (k - 1)
    error = ((ages - rows[:, None] - columns + grand) ** 2).sum() / ((n - 1) * (k - 1))
    return float((between - error) / (between + (k - 1) * error + k * (judges - error) / n))


def check_odd(folder: Path, brain: Path, options: PredictOptions) -> None:
    """Print what is said of inputs that are no T1 head."""
    table = predict(folder / "model", odd_inputs(brain, folder / "odd"), options)
    table["image"] = [Path(path).name for path in table["image"]]
    print(table[["image", "status", "brain_age_years", "low_years", "distance", "flags", "error"]].to_string())


def odd_inputs(brain: Path, folder: Path) -> list[Path]:
    """Write an inverted contrast, noise in a brain and in a block, a ball, a trunk of organs, and an empty volume."""
    folder.mkdir(exist_ok=True)
    image = nib.load(brain)
    array = np.asarray(image.dataobj, dtype=np.float32)
    inside, rng = array > 0, np.random.default_rng(0)
    grid = np.indices((90, 90, 90)) - 45.0
    trunk = (grid[0] / 42) ** 2 + (grid[1] / 30) ** 2 < 1
    organs = 60 * trunk + 90 * (((grid[0] - 15) / 18) ** 2 + (grid[1] / 15) ** 2 + (grid[2] / 30) ** 2 < 1)
    organs = organs + 140 * ((grid[0] / 6) ** 2 + ((grid[1] - 20) / 6) ** 2 < 1)
    made = {
        "inverted": np.where(inside, array.max() * 1.05 - array, 0),
        "noise in a brain": np.where(inside, rng.normal(100, 20, array.shape), 0),
        "noise": np.abs(rng.normal(100, 20, (80, 80, 80))),
        "ball": np.where((grid**2).sum(axis=0) < 35**2, 100 + rng.normal(0, 3, grid[0].shape), 0),
        "abdomen": np.where(trunk, organs + rng.normal(0, 5, trunk.shape), 0),
        "empty": np.zeros((80, 80, 80)),
    }
    paths = []
    for name, values in made.items():
        affine = image.affine if values.shape == array.shape else np.diag([2.0, 2.0, 2.0, 1.0])
        paths.append(folder / f"{name}.nii.gz")
        nib.Nifti1Image(values.astype(np.float32), affine).to_filename(paths[-1])
    return paths


if __name__ == "__main__":
    main()
