"""The report: one HTML page that needs nothing else, the same as Markdown, and every figure and table as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined

from brainage_ray.data.files import no_space
from brainage_ray.data.ledger import QUALITY_CONTROL
from brainage_ray.evaluation.predictions import ScanPredictions, pivot_predictions
from brainage_ray.report.age_figures import brain_age_figure, corrected_delta_figure, delta_figure, mae_figure
from brainage_ray.report.arm_figures import arms_figure, biomarker_figure, pretraining_figure
from brainage_ray.report.audit_table import audit_sentence, checks_table, findings_table
from brainage_ray.report.choice_table import choice_table
from brainage_ray.report.figure import PALETTE, FigureSpec, inline_panels, write_figure
from brainage_ray.report.inputs import ReportInputs
from brainage_ray.report.leak_mark import marked
from brainage_ray.report.methods import methods
from brainage_ray.report.record_tables import (
    data_table,
    left_out_table,
    openings_table,
    reasons_table,
    settings_table,
    time_table,
    transfers_table,
    versions_table,
)
from brainage_ray.report.reference import read_reference
from brainage_ray.report.result_tables import delta_table, mae_table, pairs_table
from brainage_ray.report.search_figures import importance_figure, parallel_figure
from brainage_ray.report.sentences import summary_sentences
from brainage_ray.report.slice_results import position_figure
from brainage_ray.report.statistics_figures import bland_altman_figure, p_value_figure, shift_figure
from brainage_ray.report.statistics_tables import Topic, topics
from brainage_ray.report.table import Table
from brainage_ray.report.text import count, listed
from brainage_ray.report.training_figures import (
    dice_figure,
    refit_figure,
    search_figure,
    slices_figure,
    validation_figure,
)
from brainage_ray.report.uncertainty_results import coverage_figure


@dataclass(frozen=True)
class Plot:
    """A figure and its panels as SVG."""

    spec: FigureSpec
    panels: Sequence[str]


def write_report(inputs: ReportInputs, folder: Path) -> Path:
    """Write the report.

    Args:
        inputs: all that it is made of.
        folder: gets index.html, report.md, figures/*.png and *.svg, tables/*.csv and *.tex.

    Returns:
        The path of index.html, which is written last.

    Raises:
        DataError: the predictions would give wrong numbers.
        NoSpaceError: the disk is full.
    """
    content = _content(inputs)
    with no_space(folder):
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        (folder / "tables").mkdir(exist_ok=True)
        for value in content.values():
            _write_part(value, folder)
        (folder / "report.md").write_text(_render("page.md.j2", content, escape=False), encoding="utf-8")
        page = folder / "index.html"
        page.write_text(_render("page.html.j2", content, escape=True), encoding="utf-8")
    return page


def _content(inputs: ReportInputs) -> dict[str, Any]:
    arms = list(inputs.experiment.arms)
    reference = read_reference()
    leak = inputs.audit.leak_sentence if inputs.audit else ""
    content = {
        "experiment": inputs.experiment,
        "provenance": inputs.provenance,
        "arm_names": {arm: f"arm{i % len(PALETTE)}" for i, arm in enumerate(arms)},
        "sentences": summary_sentences(inputs),
        "leak": leak,
        "results": [mae_table(inputs, reference), delta_table(inputs.summary, reference)],
        "pairs": pairs_table(inputs.summary),
        "statistics": list(topics(inputs)),
        "choice": choice_table(inputs),
        "settings": settings_table(inputs.studies),
        "transfers": transfers_table(inputs.transfers),
        "methods": methods(inputs),
        "data": [
            data_table(inputs.manifest),
            *([checks_table(inputs.audit)] if inputs.audit else []),
            reasons_table(inputs.ledger),
        ],
        "left_out": left_out_table(inputs.ledger),
        "audit_sentence": audit_sentence(inputs.audit),
        "cases": _cases(inputs.cases or {}),
        "openings": openings_table(inputs),
        "openings_sentence": _openings(inputs),
        "time": time_table(inputs),
        "versions": versions_table(inputs),
        "css": _resource("page.css"),
        **_plots(inputs, arms),
    }
    # What leaks is what the findings say.
    return {name: _marked(part, leak) for name, part in content.items()} | {"findings": findings_table(inputs.audit)}


def _marked(part: Any, leak: str) -> Any:
    """Mark every table in a part of the content where people leak."""
    if isinstance(part, Table):
        return marked(part, leak)
    if isinstance(part, Topic):
        return replace(part, tables=tuple(marked(table, leak) for table in part.tables))
    return [_marked(one, leak) for one in part] if isinstance(part, list) else part


def _plots(inputs: ReportInputs, arms: Sequence[str]) -> dict[str, Any]:
    table = pivot_predictions(inputs.predictions, inputs.experiment.evaluation.one_scan_per_subject)
    sections = {
        "result_figures": [
            mae_figure(inputs, arms),
            brain_age_figure(inputs.summary, table, arms),
            delta_figure(inputs.summary, table, arms),
            corrected_delta_figure(inputs.analysis, inputs.summary, table, arms),
        ],
        "training_figures": [
            search_figure(inputs.studies, arms),
            importance_figure(inputs.studies, arms),
            parallel_figure(inputs.studies, arms),
            validation_figure(inputs.studies, arms),
            refit_figure(inputs.curves, arms),
            dice_figure(inputs.pretraining),
        ],
        "data_figures": [slices_figure(inputs.samples)],
    }
    return _inline(sections) | {"statistics_figures": _inline(_by_topic(inputs, table, arms))}


def _by_topic(
    inputs: ReportInputs, table: ScanPredictions, arms: Sequence[str]
) -> Mapping[str, Sequence[FigureSpec | None]]:
    """Return the figures of the statistics by the key of their topic."""
    analysis, summary = inputs.analysis, inputs.summary
    return {
        "errors": [bland_altman_figure(summary, table, arms)],
        "arms": [pretraining_figure(analysis), arms_figure(analysis, arms)],
        "diagnoses": [p_value_figure(summary, arms)],
        "biomarker": [biomarker_figure(analysis, arms)],
        "people": [shift_figure(analysis, arms)],
        "slices": [position_figure(analysis, arms, inputs.experiment.data.preprocessing.slice_origin)],
        "uncertainty": [coverage_figure(analysis, arms)],
    }


def _inline(sections: Mapping[str, Sequence[FigureSpec | None]]) -> dict[str, list[Plot]]:
    return {name: [Plot(spec, inline_panels(spec)) for spec in specs if spec] for name, specs in sections.items()}


def _write_part(part: object, folder: Path) -> None:
    """Write the files of a plot or table, or of all that a list, topic or mapping of lists holds."""
    if isinstance(part, (list, dict)):
        for one in part.values() if isinstance(part, dict) else part:
            _write_part(one, folder)
    elif isinstance(part, Plot):
        write_figure(part.spec, folder / "figures")
    elif isinstance(part, Topic):
        _write_part(list(part.tables), folder)
    elif isinstance(part, Table):
        (folder / "tables" / f"{part.name}.csv").write_text(part.to_csv(), encoding="utf-8")
        (folder / "tables" / f"{part.name}.tex").write_text(part.to_tex(), encoding="utf-8")


def _cases(cases: Mapping[str, int]) -> str:
    if not cases:
        return ""
    parts = [f"{count(n, 'case')} of {name}" for name, n in cases.items()]
    return f"Pre-training on segmentation used {listed(parts)}."


def _openings(inputs: ReportInputs) -> str:
    models = sum(len(arm.mae.seeds) for arm in inputs.summary.arms)
    looked = sum(line.get("model") == QUALITY_CONTROL for line in inputs.test_openings)
    opened, needed = len(inputs.test_openings) - looked, models + bool(inputs.analysis.ridge)
    baseline = " and the classical baseline" if inputs.analysis.ridge else ""
    text = f"The test split was opened {count(opened, 'time')}, for {count(models, 'final model')}{baseline}."
    text += f" {opened - needed} more than this report needs." if opened > needed else ""
    return f"{text} Its images were looked at {count(looked, 'time')} for quality control." if looked else text


def _render(template: str, content: Mapping[str, Any], escape: bool) -> str:
    environment = Environment(loader=BaseLoader(), autoescape=escape, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_resource(template)).render(content)


def _resource(name: str) -> str:
    return (files("brainage_ray.report") / name).read_text(encoding="utf-8")
