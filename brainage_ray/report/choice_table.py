"""The table of what was chosen for each arm, among what, and whether one arm is better than the others."""

from __future__ import annotations

import pandas as pd

from brainage_ray.report.inputs import ReportInputs, StudyReport
from brainage_ray.report.result_tables import validation_mae
from brainage_ray.report.statistics_cells import signed
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import mean_sd, number


def choice_table(inputs: ReportInputs) -> Table | None:
    """Make the table of the choice, or None where nothing was searched.

    Optimism is the fresh value less the search's: by how much the lowest of many noisy values was too low.
    """
    if not inputs.studies:
        return None
    fresh = any(study.again for study in inputs.studies.values())
    header = ("Arm", "Why", "Trial", "MAE in the search", *(("MAE, fresh seeds", "Optimism") if fresh else ()))
    window = inputs.experiment.search.smooth_epochs
    rows = [
        Row((arm, study.why, str(study.selected_trial), *_values(study, window, fresh)), arm=arm)
        for arm, study in inputs.studies.items()
    ]
    notes = [inputs.verdict.sentence] if inputs.verdict and len(inputs.studies) > 1 else []
    if fresh:
        notes.append("Fresh seeds: mean (sd) over the seeds. Optimism: the fresh value less that in the search, years.")
    return Table(
        "choice", "What was chosen on the validation split, years", header, tuple(rows), tuple(notes),
        _numbers(inputs), text_columns=2,
    )  # fmt: skip


def _values(study: StudyReport, window: int, fresh: bool) -> tuple[str, ...]:
    searched = study.selected.best_value if study.selected else None
    if not fresh:
        return (number(searched),)
    again = study.again
    value = mean_sd(*validation_mae(study, window)) if again else number(None)
    return number(searched), value, signed(_optimism(study))


def _optimism(study: StudyReport) -> float | None:
    values = [trial.best_value for trial in (study.again, study.selected) if trial and trial.best_value is not None]
    return values[0] - values[1] if len(values) == 2 else None


def _numbers(inputs: ReportInputs) -> pd.DataFrame:
    rows = []
    for arm, study in inputs.studies.items():
        searched = study.selected.best_value if study.selected else None
        again = study.again.best_value if study.again else None
        rows.append({
            "arm": arm, "trial": study.selected_trial, "search_mae_years": searched, "fresh_mae_years": again,
            "optimism_years": _optimism(study), "why": study.why,
            "champion": inputs.verdict is not None and inputs.verdict.champion == arm,
            "winner": inputs.verdict is not None and inputs.verdict.winner == arm,
        })  # fmt: skip
    return pd.DataFrame(rows)
