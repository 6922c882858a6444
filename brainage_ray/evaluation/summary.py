"""All numbers of an experiment's results, from its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainage_ray.config import EvaluationConfig, StatisticsConfig
from brainage_ray.errors import DataError
from brainage_ray.evaluation.comparisons import PairComparison, compare_pairs
from brainage_ray.evaluation.deltas import GroupDelta, brain_age_delta, delta_by_diagnosis
from brainage_ray.evaluation.metrics import MaeSummary, summarise_mae
from brainage_ray.evaluation.null import NullModel, null_model
from brainage_ray.evaluation.predictions import ScanPredictions, pivot_predictions


@dataclass(frozen=True)
class ArmSummary:
    """The results of one arm."""

    arm: str
    mae: MaeSummary
    deltas: tuple[GroupDelta, ...]
    """In the order of evaluation.diagnoses."""
    pairs: tuple[PairComparison, ...]
    """Every pair of evaluation.diagnoses."""

    def pair(self, first: str, second: str) -> PairComparison | None:
        """Return the comparison of two diagnoses, or None where the experiment does not make it."""
        return next((pair for pair in self.pairs if (pair.first, pair.second) == (first, second)), None)


@dataclass(frozen=True)
class Summary:
    """The results of an experiment."""

    arms: tuple[ArmSummary, ...]
    """In the order of the predictions."""
    null: NullModel
    split: str
    """The split that was predicted."""
    mae_diagnoses: tuple[str, ...]
    """Whose scans count for the MAE."""
    n_scans: int
    """Scans that count, after taking one a person."""
    n_repeat_scans: int
    """Scans that were predicted but are later visits of a person."""
    n_ungrouped_scans: int
    """Scans that count but whose diagnosis is in no table."""

    def arm(self, name: str) -> ArmSummary:
        """Return one arm's results.

        Raises:
            DataError: there is no such arm.
        """
        for arm in self.arms:
            if arm.arm == name:
                return arm
        raise DataError(f'the summary has no arm "{name}"', f"It has {', '.join(arm.arm for arm in self.arms)}.")

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON values; None where there is none."""
        return asdict(self)


def summarise(
    predictions: pd.DataFrame,
    evaluation: EvaluationConfig,
    statistics: StatisticsConfig,
    training_ages: NDArray[Any],
    mae_diagnoses: Sequence[str] = ("CN",),
) -> Summary:
    """Compute every number of the results.

    Args:
        predictions: one row per arm, seed and scan of one split; columns as in evaluation.predictions.COLUMNS.
        evaluation: which scans count, and the groups of the delta table.
        statistics: the correction over the pairs.
        training_ages: [n_training], years, of the scans that the models were fitted on.
        mae_diagnoses: whose scans count for the MAE: training.diagnoses of the experiment.

    Raises:
        DataError: predictions that would give wrong numbers, or no training ages.
    """
    table = pivot_predictions(predictions, evaluation.one_scan_per_subject)
    diagnosis = table.scans["diagnosis"].to_numpy(dtype=object)
    age = table.scans["age_years"].to_numpy(dtype=np.float64)
    counts = np.isin(diagnosis, list(mae_diagnoses))
    n_predicted = len(predictions.drop_duplicates(["cohort", "subject", "session", "image"]))
    return Summary(
        arms=tuple(_summarise_arm(arm, table, evaluation, statistics, counts) for arm in table.brain_ages),
        null=null_model(training_ages, age[counts]),
        split=str(predictions["split"].iloc[0]),
        mae_diagnoses=tuple(mae_diagnoses),
        n_scans=len(age),
        n_repeat_scans=n_predicted - len(age),
        n_ungrouped_scans=int((~counts & ~np.isin(diagnosis, list(evaluation.diagnoses))).sum()),
    )


def _summarise_arm(
    arm: str,
    table: ScanPredictions,
    evaluation: EvaluationConfig,
    statistics: StatisticsConfig,
    counts: NDArray[np.bool_],
) -> ArmSummary:
    brain_ages = table.brain_ages[arm]
    age = table.scans["age_years"].to_numpy(dtype=np.float64)
    diagnosis = table.scans["diagnosis"].to_numpy(dtype=object)
    deltas = brain_age_delta(brain_ages, age)
    return ArmSummary(
        arm=arm,
        mae=summarise_mae(brain_ages[:, counts], age[counts], table.seeds[arm]),
        deltas=delta_by_diagnosis(deltas, diagnosis, evaluation.diagnoses),
        pairs=compare_pairs(deltas, diagnosis, evaluation.diagnoses, statistics.correction),
    )
