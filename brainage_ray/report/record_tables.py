"""The tables of the record: settings, data, what was left out, who opened the test split, versions, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from brainage_ray.report.inputs import ReportInputs, StudyReport, TrainingHours, Transfer
from brainage_ray.report.table import Row, Table
from brainage_ray.report.text import NOTHING, duration, number, setting

_SPLITS = ("train", "validation", "test")
_DIAGNOSES = ("CN", "MCI", "AD")


def settings_table(studies: Mapping[str, StudyReport]) -> Table | None:
    """Make the table of what the search chose, or None where nothing was searched."""
    if not studies:
        return None
    paths = sorted({path for study in studies.values() for path in study.params})
    header = ("Arm", *(path.split(".")[-1] for path in paths), "Epochs", "Complete", "Pruned", "Failed")
    rows = []
    for arm, study in studies.items():
        states = [trial.state for trial in study.trials]
        values = [_course(study, path) if path in study.params else NOTHING for path in paths]
        tally = [str(states.count(state)) for state in ("complete", "pruned", "failed")]
        rows.append(Row((arm, *values, str(study.epochs), *tally), arm=arm))
    return Table("settings", "Settings of the final models, and the trials behind them", header, tuple(rows))


def _course(study: StudyReport, path: str) -> str:
    """Write a setting, and what it was changed to while the models trained."""
    changed = {change.after_epoch: change.params[path] for change in study.changes if path in change.params}
    first = changed.pop(0, study.params[path])
    return ", ".join([setting(first), *(f"{setting(value)} after epoch {epoch}" for epoch, value in changed.items())])


def transfers_table(transfers: Sequence[Transfer]) -> Table | None:
    """Make the table of what went over into the encoders, or None where all started from random weights."""
    if not transfers:
        return None
    rows = []
    for went in transfers:
        left_out = f"{went.left_out} ({', '.join(went.names)})" if went.names else str(went.left_out)
        rows.append(Row((went.into, _short(went.source), str(went.loaded), str(went.missing), left_out)))
    header = ("Encoder of", "Weights from", "Loaded", "Missing", "Left out")
    notes = ("Counted in names of weights. Missing are batch counters alone, a missing weight is an error; left out "
             "is what sat on the encoder before.",)  # fmt: skip
    return Table("transfers", "Weights that the encoders started from", header, tuple(rows), notes, text_columns=2)


def data_table(manifest: pd.DataFrame) -> Table:
    """Make the table of people and scans by split and diagnosis."""
    rows = []
    for split in _SPLITS:
        inside = manifest[manifest["split"] == split]
        found = sorted(inside["diagnosis"].unique(), key=lambda d: (_DIAGNOSES.index(d) if d in _DIAGNOSES else 9, d))
        for diagnosis in found:
            group = inside[inside["diagnosis"] == diagnosis]
            rows.append(Row((split, str(diagnosis) or "unknown", *_describe(group))))
    header = ("Split", "Diagnosis", "People", "Scans", "Age, years", "Mean age (sd)", "Women", "Men")
    return Table(
        "data", "People and scans", header, tuple(rows), ("Women and men are counted as people.",), text_columns=2
    )


def left_out_table(ledger: pd.DataFrame) -> Table | None:
    """Make the list of scans that failed or were excluded, or None where every scan was used."""
    out = ledger[ledger["status"] != "done"]
    if out.empty:
        return None
    columns = ["cohort", "subject", "session", "image", "status", "reason"]
    rows = tuple(Row(tuple(str(row[column]) for column in columns)) for _, row in out.iterrows())
    return Table("left_out", "Scans that were left out", tuple(c.capitalize() for c in columns), rows, text_columns=6)


def reasons_table(ledger: pd.DataFrame) -> Table:
    """Make the account of all scans: done + failed + excluded = inputs."""
    done = int((ledger["status"] == "done").sum())
    rows = [Row(("done", "", str(done)))]
    out = ledger[ledger["status"] != "done"]
    counts = Counter(zip(out["status"], out["reason"], strict=True)).most_common()
    rows += [Row((status, reason, str(n))) for (status, reason), n in counts]
    rows.append(Row(("inputs", "", str(len(ledger))), aside=True))
    return Table("ledger", "What became of every scan", ("Status", "Reason", "Scans"), tuple(rows), text_columns=2)


def openings_table(inputs: ReportInputs) -> Table | None:
    """Make the list of the times that the test split was opened, or None where it never was."""
    if not inputs.test_openings:
        return None
    columns = list(dict.fromkeys(key for line in inputs.test_openings for key in line))
    rows = tuple(Row(tuple(_short(str(line.get(c, NOTHING))) for c in columns)) for line in inputs.test_openings)
    numbers = pd.DataFrame([dict(line) for line in inputs.test_openings])
    header = tuple(column.capitalize() for column in columns)
    return Table("test_openings", "Openings of the test split", header, rows, (), numbers, text_columns=len(columns))


def versions_table(inputs: ReportInputs) -> Table:
    """Make the table of commit, data, hardware and versions."""
    facts = {"Code": inputs.provenance.git_commit, "Data": inputs.provenance.data_hash, **inputs.provenance.hardware}
    rows = [*facts.items(), *inputs.provenance.versions.items()]
    return Table(
        "versions",
        "Code, data, hardware and versions",
        ("What", "Which"),
        tuple(Row(row) for row in rows),
        text_columns=2,
    )


def time_table(inputs: ReportInputs) -> Table:
    """Make the table of time by stage: wall clock, and what its trainings took together."""
    seconds, hours = inputs.provenance.stage_seconds, inputs.provenance.training_hours
    rows = [Row((stage, duration(value), *_hours(hours.get(stage)))) for stage, value in seconds.items()]
    whole = TrainingHours(sum(one.training for one in hours.values()), sum(one.gpu for one in hours.values()))
    rows.append(Row(("all stages", duration(sum(seconds.values())), *_hours(whole)), aside=True))
    numbers = pd.DataFrame(
        {
            "stage": list(seconds),
            "seconds": list(seconds.values()),
            "training_hours": [hours[stage].training if stage in hours else None for stage in seconds],
            "gpu_hours": [hours[stage].gpu if stage in hours else None for stage in seconds],
        }
    )
    notes = (
        "Training: summed over all trainings of the stage, also those side by side and those that another experiment "
        "in the workspace had done before. GPU-hours: training times the GPUs that each held.",
    )
    return Table("time", "Time", ("Stage", "Wall clock", "Training", "GPU-hours"), tuple(rows), notes, numbers)


def _hours(hours: TrainingHours | None) -> tuple[str, str]:
    return (duration(3600 * hours.training), number(hours.gpu)) if hours else (NOTHING, NOTHING)


def _describe(group: pd.DataFrame) -> tuple[str, ...]:
    ages = group["age_years"].dropna()
    people = group.drop_duplicates("person")
    span = f"{number(ages.min(), 0)}\N{EN DASH}{number(ages.max(), 0)}" if len(ages) else NOTHING
    middle = number(ages.mean(), 1) if len(ages) else NOTHING
    spread = f" ({number(ages.std(), 1)})" if len(ages) > 1 else ""
    sexes = [str(int(people["sex"].isin(names).sum())) for names in (["F", "female"], ["M", "male"])]
    return str(len(people)), str(len(group)), span, middle + spread, *sexes


def _short(text: str) -> str:
    """Cut checksums inside a text to their first ten digits."""
    hexadecimal = set("0123456789abcdef")
    words = (word[:10] + "\N{HORIZONTAL ELLIPSIS}" if len(word) >= 32 and set(word) <= hexadecimal else word
             for word in text.split(" "))  # fmt: skip
    return " ".join(words)
