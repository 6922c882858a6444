"""What came out: tables, figures and one page."""

from brainage_ray.report.attribution_figure import draw_attribution
from brainage_ray.report.card import CARD, Delta, Errors, ModelCard, People, Stage, card_text
from brainage_ray.report.inputs import (
    Curve,
    PretrainingReport,
    Provenance,
    ReportInputs,
    SampleSlices,
    StudyReport,
    TrainingHours,
    Transfer,
    TrialReport,
)
from brainage_ray.report.page import write_report

__all__ = [
    "CARD",
    "Curve",
    "Delta",
    "Errors",
    "ModelCard",
    "People",
    "PretrainingReport",
    "Provenance",
    "ReportInputs",
    "SampleSlices",
    "Stage",
    "StudyReport",
    "TrainingHours",
    "Transfer",
    "TrialReport",
    "card_text",
    "draw_attribution",
    "write_report",
]
