"""The classical baseline beside the networks: a ridge regression on tissue shares, fitted and opened as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.config.base import digest
from brainage_ray.data import POSITION_UNIT_MM, StoredSplit, TestLedger, read_parquet
from brainage_ray.evaluation.metrics import mean_absolute_error
from brainage_ray.evaluation.predictions import baseline_scans
from brainage_ray.evaluation.ridge import RidgeResult, fit_ridge, slice_features
from brainage_ray.pipeline.evaluate import TEST_LEDGER, write_table
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.session import Session

VERSION = 1
"""Raised when the features or the fit change."""


def evaluate_ridge(session: Session, prepared: Prepared) -> RidgeResult:
    """Fit the baseline on the healthy people that the final models were fitted on, and score it as they are.

    The test split is opened for it once, with a line in the ledger; its predictions are kept.
    """
    file = ridge_file(session, prepared)
    if not file.is_file():
        write_table(file, _predict(session, prepared))
    table = read_parquet(file)
    evaluation = session.experiment.evaluation
    scans = baseline_scans(table) if evaluation.one_scan_per_subject == "baseline" else table
    counted = scans[scans["diagnosis"].isin(session.experiment.training.diagnoses)]
    result = RidgeResult(n_training=int(table["n_training"].iloc[0]), n_scans=len(counted))
    reason = str(table["reason"].iloc[0])
    if reason or counted.empty:
        return replace(result, reason=reason or "no scans of the diagnoses that count")
    error = mean_absolute_error(counted["brain_age_years"].to_numpy(), counted["age_years"].to_numpy())
    return replace(result, alpha=float(table["alpha"].iloc[0]), mae_years=error)


def ridge_file(session: Session, prepared: Prepared) -> Path:
    """Return where the baseline's predictions of the test split are kept."""
    key = digest(VERSION, prepared.data_hash, session.experiment.training.diagnoses)
    return session.folder / "evaluation" / f"ridge-{key}.parquet"


def _predict(session: Session, prepared: Prepared) -> pd.DataFrame:
    store, diagnoses = prepared.age, list(session.experiment.training.diagnoses)
    parts = [store.split(name) for name in ("train", "validation")]
    healthy = [part.take(part.scans["diagnosis"].isin(diagnoses).to_numpy(dtype=bool)) for part in parts]
    ages = np.concatenate([part.scans["age_years"].to_numpy(dtype=np.float64) for part in healthy])
    ridge = fit_ridge(np.concatenate([_features(part) for part in healthy]), ages)
    test = prepared.test.unseal(TestLedger(session.folder / TEST_LEDGER), model="ridge baseline")
    found = np.nan if ridge.reason else ridge.predict(_features(test))
    return test.scans.reset_index(drop=True).assign(
        brain_age_years=found, n_training=ridge.n_training, alpha=ridge.alpha, reason=ridge.reason
    )


def _features(split: StoredSplit) -> NDArray[np.float64]:
    position = split.slice_position * POSITION_UNIT_MM
    return slice_features(split.images(), split.slice_scan, len(split.scans), position)
