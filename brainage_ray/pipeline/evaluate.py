"""Stage 6: the test split, opened once per final model; predictions, then statistics."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from brainage_ray.config.base import digest
from brainage_ray.config.run import TRAINING_VERSION
from brainage_ray.data import POSITION_UNIT_MM, SealedTest, StoredSplit, TestLedger, atomic_write, read_parquet
from brainage_ray.evaluation.aggregate import aggregate_slices
from brainage_ray.evaluation.deltas import brain_age_delta
from brainage_ray.evaluation.predictions import COLUMNS
from brainage_ray.evaluation.summary import Summary, summarise
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.session import Session

TEST_LEDGER = "test_ledger.jsonl"
FILE_VERSION = 2
"""Of the files of predictions."""
SLICE_YEARS, SLICE_POSITIONS = "slice_years", "slice_positions_mm"
"""Columns of these files beside those of evaluation.COLUMNS: lists, one value a slice."""


def evaluate(session: Session, prepared: Prepared, models: Sequence[FittedModel]) -> tuple[pd.DataFrame, Summary]:
    """Predict every test scan with every final model, and summarise; see read_evaluation.

    Raises:
        WeightsError: a model's weights are not those that its training left.
    """
    ledger = TestLedger(session.folder / TEST_LEDGER)
    todo = [model for model in models if not prediction_file(session, prepared, model).is_file()]
    with session.bar("evaluate", len(todo), "models"):
        for model in todo:
            write_table(prediction_file(session, prepared, model), _predict(prepared.test, ledger, model))
            session.progress.advance()
    return read_evaluation(session, prepared, models)


def read_evaluation(
    session: Session, prepared: Prepared, models: Sequence[FittedModel]
) -> tuple[pd.DataFrame, Summary]:
    """Summarise the predictions that are there of every final model.

    Returns:
        The predictions (one row per arm, seed and test scan, whatever its diagnosis; columns of
        evaluation.COLUMNS), and their summary.
    """
    tables = [_label(read_parquet(prediction_file(session, prepared, model)), model) for model in models]
    predictions = pd.concat(tables, ignore_index=True)
    experiment = session.experiment
    summary = summarise(
        predictions, experiment.evaluation, experiment.statistics,
        training_ages(session, prepared), experiment.training.diagnoses,
    )  # fmt: skip
    return predictions, summary


def training_ages(session: Session, prepared: Prepared) -> np.ndarray:
    """Return the ages of the scans that the final models were trained on, years."""
    manifest = prepared.age.manifest
    trained = manifest["split"].isin(["train", "validation"])
    healthy = manifest["diagnosis"].isin(session.experiment.training.diagnoses)
    return manifest.loc[trained & healthy, "age_years"].to_numpy(dtype=np.float64)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet file that is whole or absent."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def prediction_file(session: Session, prepared: Prepared, model: FittedModel) -> Path:
    """Return where a model's predictions of the test split are kept; where the file is, the split was opened."""
    key = digest(
        FILE_VERSION, TRAINING_VERSION, model.fit.weights_sha256, prepared.test.content_hash, model.run.aggregate
    )
    return session.folder / "evaluation" / f"{model.arm}-seed-{model.seed}-{key}.parquet"


def _predict(sealed: SealedTest, ledger: TestLedger, model: FittedModel) -> pd.DataFrame:
    test = sealed.unseal(ledger, model=f"{model.arm} seed {model.seed} {model.fit.weights_sha256}")
    table = test.scans.reset_index(drop=True)
    years = model.slice_years(test)
    table["brain_age_years"] = aggregate_slices(years, test.slice_scan, len(table), model.run.aggregate)
    table[SLICE_YEARS] = _by_scan(years, test)
    table[SLICE_POSITIONS] = _by_scan(test.slice_position * POSITION_UNIT_MM, test)
    table["brain_age_delta_years"] = brain_age_delta(table["brain_age_years"].to_numpy(), table["age_years"].to_numpy())
    return table


def _by_scan(values: np.ndarray, split: StoredSplit) -> list[list[float]]:
    """Return the values [n_slices] of each scan."""
    order = np.argsort(split.slice_scan, kind="stable")
    counts = np.bincount(split.slice_scan, minlength=len(split.scans))
    return [part.tolist() for part in np.split(values[order], np.cumsum(counts)[:-1])]


def _label(table: pd.DataFrame, model: FittedModel) -> pd.DataFrame:
    return table.assign(arm=model.arm, seed=model.seed)[COLUMNS]
