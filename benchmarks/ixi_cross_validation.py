"""Cross-validation of the IXI recipe over the people outside its test split; the test people are never read.

python -m benchmarks.ixi_cross_validation --data ../shared/data
python -m benchmarks.ixi_cross_validation --data ../shared/data --set training.pooling=last
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import pandas as pd

from brainage_ray.config import Experiment, TrainingRun, load_experiment
from brainage_ray.data import SliceStore, StoreRow, assign_splits, prepare_scan, split_subjects, write_store
from brainage_ray.data.sources import read_source
from brainage_ray.training import epochs

FOLDS = ("fold-0", "fold-1", "fold-2", "fold-3")


def main() -> None:
    """Print the MAE of each fold's last epoch, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds ixi/participants.csv")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE")
    parser.add_argument("--folds", type=int, default=len(FOLDS))
    arguments = parser.parse_args()
    changes = [f"data.root={arguments.data}", *arguments.set]
    experiment = load_experiment(Path(__file__).parent.parent / "experiments" / "ixi.yaml", changes)
    with tempfile.TemporaryDirectory() as folder:
        errors = []
        for store in write_folds(experiment, Path(folder))[: arguments.folds]:
            *_, last = epochs(_run(experiment, store))
            errors.append(last["validation_mae"])
            print(f"{store.folder.name}: {errors[-1]:.2f} years", flush=True)
    print(f"mean of {len(errors)} folds: {mean(errors):.2f} years")


def write_folds(experiment: Experiment, folder: Path) -> list[SliceStore]:
    """Write one store per fold, whose validation split is that fold."""
    data = experiment.data
    scans = read_source(data.sources[0], folder).scans
    known = [a for a in assign_splits(scans, data.split, data.label_map) if a.split in ("train", "validation")]
    people = pd.DataFrame(
        [(a.scan.person, a.scan.age_years, a.diagnosis) for a in known], columns=["subject", "age_years", "diagnosis"]
    )
    folds = split_subjects(people, dict.fromkeys(FOLDS, 1 / len(FOLDS)), seed=0)
    prepared = {a.scan.image: prepare_scan(a.scan, data.preprocessing, folder / "cache") for a in known}

    def rows(fold: str) -> Sequence[StoreRow]:
        split = {person: "validation" if found == fold else "train" for person, found in folds.items()}
        return [StoreRow(a.scan, prepared[a.scan.image], split[a.scan.person], a.diagnosis) for a in known]

    return [write_store(folder / fold, rows(fold), "age", data.preprocessing) for fold in FOLDS]


def _run(experiment: Experiment, store: SliceStore) -> TrainingRun:
    return TrainingRun(
        task="age", backbone=experiment.arms["unet"].backbone, training=experiment.training, seed=0,
        store=store.folder, store_hash=store.content_hash, folder=store.folder, keep_weights=False, threads=2,
    )  # fmt: skip


if __name__ == "__main__":
    main()
