"""What came out: tables, figures and one page."""

from brainage_ray.report.attribution_figure import draw_attribution
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
    "Curve",
    "PretrainingReport",
    "Provenance",
    "ReportInputs",
    "SampleSlices",
    "StudyReport",
    "TrainingHours",
    "Transfer",
    "TrialReport",
    "draw_attribution",
    "write_report",
]
