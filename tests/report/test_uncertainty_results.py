from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from report_inputs import inputs_of

from brainage_ray.report.uncertainty_results import coverage_figure, scans_table, uncertainty_table


@pytest.fixture(scope="module")
def inputs():
    return inputs_of(arms=2, seeds=2)


def test_the_table_says_whether_the_uncertainty_can_be_trusted(inputs):
    arms = list(inputs.experiment.arms)
    table = uncertainty_table(inputs.analysis, arms)
    first = inputs.analysis.uncertainty[arms[0]].results[0]
    assert table.rows[0].cells[:3] == (arms[0], "seeds and slices", f"{first.median_years:.2f}")
    assert table.rows[0].cells[-1].endswith("%")
    assert len(table.rows) == 6
    numbers = table.numbers.iloc[0]
    assert numbers["scaled_inside_95"] == first.scaled.coverages[-1].share
    assert numbers["factor"] == first.factor
    assert uncertainty_table(replace(inputs.analysis, uncertainty={}), arms) is None


def test_every_test_scan_has_a_line(inputs):
    arms = list(inputs.experiment.arms)
    table = scans_table(inputs.analysis, arms)
    scans = inputs.analysis.uncertainty[arms[0]].scans
    assert len(table.rows) == 2 * len(scans)
    assert table.rows[0].cells[1] == scans[0].image
    assert table.numbers["low_years"].iloc[0] == scans[0].low_years
    assert "seeds and slices" in table.notes[0]
    bare = {arm: replace(one, used=None) for arm, one in inputs.analysis.uncertainty.items()}
    assert "No interval" in scans_table(replace(inputs.analysis, uncertainty=bare), arms).notes[0]


def test_the_figure_shows_observed_against_nominal_coverage(inputs):
    arms = list(inputs.experiment.arms)
    spec = coverage_figure(inputs.analysis, arms)
    assert [panel.title for panel in spec.panels] == arms
    axes = Figure().add_subplot()
    spec.panels[0].draw(axes)
    scaled = inputs.analysis.uncertainty[arms[0]].results[0].scaled
    drawn = axes.collections[-2].get_offsets()
    assert [tuple(point) for point in drawn] == [(100 * c.level, 100 * c.share) for c in scaled.coverages]
    low, high = axes.get_ylim()
    assert low <= -3, "a circle at 0 % is whole"
    assert high >= 103, "a circle at 100 % is whole"
    assert coverage_figure(replace(inputs.analysis, uncertainty={}), arms) is None


def test_the_page_shows_the_uncertainty(sound):
    assert "How sure is a single brain age?" in sound.text()
    assert (sound.folder / "tables" / "uncertainty_scans.csv").is_file()
    assert (sound.folder / "figures" / "coverage.svg").is_file()
