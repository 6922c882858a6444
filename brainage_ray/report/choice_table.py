"""The table of what was chosen for each arm, among what, and whether one arm is better than the others."""

from __future__ import annotations

import pandas as pd

from brainage_ray.report.inputs import ReportInputs, StudyReport
from brainage_ray.report.result_tables import validation_mae
from brainage_ray.report.statistics_cells import signed
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import listed, mean_sd, number


def choice_table(inputs: ReportInputs) -> Table | None:
    """Make the table of the choice, or None where nothing was searched.

    Optimism is the fresh value less the search's: by how much the lowest of many noisy values was too low. Why a trial
    was chosen is a sentence, so it stands in the notes, where it can be of any length.
    """
    if not inputs.studies:
        return None
    fresh = any(study.again for study in inputs.studies.values())
    search = inputs.experiment.search
    header = ("Arm", "Trial", "MAE in the search", *(("MAE, fresh seeds", "Optimism") if fresh else ()))
    if search.delta_is_objective:
        header = (*header, "AUC of the delta")
    rows = [
        Row((arm, str(study.selected_trial), *_values(inputs, study, fresh)), arm=arm)
        for arm, study in inputs.studies.items()
    ]
    return Table(
        "choice", "What was chosen on the validation split, years", header, tuple(rows), _notes(inputs, fresh),
        _numbers(inputs),
    )  # fmt: skip


def _values(inputs: ReportInputs, study: StudyReport, fresh: bool) -> tuple[str, ...]:
    search = inputs.experiment.search
    cells = [number(study.selected.best_value if study.selected else None)]
    if fresh:
        again = mean_sd(*validation_mae(study, search.smooth_epochs)) if study.again else number(None)
        cells += [again, signed(_optimism(study))]
    if search.delta_is_objective:
        cells.append(number(study.judged.delta_auc if study.judged else None))
    return tuple(cells)


def _notes(inputs: ReportInputs, fresh: bool) -> tuple[str, ...]:
    """Say whether an arm is better, why each trial was chosen, and what the columns hold."""
    notes = [inputs.verdict.sentence] if inputs.verdict and len(inputs.studies) > 1 else []
    reasons = dict.fromkeys(study.why for study in inputs.studies.values() if study.why)
    for why in reasons:
        arms = listed([arm for arm, study in inputs.studies.items() if study.why == why])
        notes.append(f"Why, {arms}: {why}.")
    if fresh:
        notes.append("Fresh seeds: mean (sd) over the seeds. Optimism: the fresh value less that in the search, years.")
    if inputs.experiment.search.delta_is_objective:
        seeds = "the fresh seeds" if fresh else "the trial's seeds"
        notes.append(
            "AUC of the delta: how often the brain-age delta of a person with AD is above that of one of "
            f"{listed(list(inputs.experiment.training.diagnoses))}, mean over {seeds}."
        )
    return tuple(notes)


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
            "optimism_years": _optimism(study), **_aucs(inputs, study), "why": study.why,
            "champion": inputs.verdict is not None and inputs.verdict.champion == arm,
            "winner": inputs.verdict is not None and inputs.verdict.winner == arm,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _aucs(inputs: ReportInputs, study: StudyReport) -> dict[str, float | None]:
    """Return the AUC of the delta in the search and of the fresh seeds, where it is an objective."""
    if not inputs.experiment.search.delta_is_objective:
        return {}
    return {
        "search_delta_auc": study.selected.delta_auc if study.selected else None,
        "fresh_delta_auc": study.again.delta_auc if study.again else None,
    }
