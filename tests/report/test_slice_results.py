from __future__ import annotations

from dataclasses import replace

import pytest
from report_inputs import inputs_of

from brainage_ray.report.reference import read_reference
from brainage_ray.report.result_tables import mae_table
from brainage_ray.report.slice_results import position_figure, rules_table


@pytest.fixture(scope="module")
def inputs():
    return inputs_of(arms=2, seeds=2)


def test_each_arm_is_a_line_along_the_brain(inputs):
    from matplotlib.figure import Figure

    arms = list(inputs.experiment.arms)
    spec = position_figure(inputs.analysis, arms, "grid")
    axes = Figure().add_subplot()
    spec.panels[0].draw(axes)
    assert [len(line.get_xdata()) for line in axes.lines] == [40, 40]
    found = inputs.analysis.slices[arms[0]].positions
    assert list(axes.lines[0].get_ydata()) == [row.mae_years for row in found]
    assert "lowest slice" in axes.get_xlabel()
    assert position_figure(replace(inputs.analysis, slices={}), arms, "grid") is None


def drawn(analysis, arms):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    spec = position_figure(analysis, arms, "grid")
    spec.panels[0].draw(axes)
    return spec, axes


def level(slices, slice_years: float, scan_years: float):
    """Nearly the same error at every position, and that of the scans."""
    about = [slice_years + 0.01 * (-1) ** i for i in range(len(slices.positions))]
    positions = tuple(replace(place, mae_years=one) for place, one in zip(slices.positions, about, strict=True))
    return replace(
        slices, positions=positions, rules=tuple(replace(row, test_years=scan_years) for row in slices.rules)
    )


def test_a_line_at_the_top_is_not_cut(inputs):
    arms = list(inputs.experiment.arms)
    flat = {arm: level(slices, 8.0, 7.0) for arm, slices in inputs.analysis.slices.items()}
    _, axes = drawn(replace(inputs.analysis, slices=flat), arms)
    bottom, top = axes.get_ylim()
    assert bottom == 0
    assert top >= 8.0 * 1.05, "a marker of 2.5 points has room above"


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (7.0, "its error is smaller than theirs (7.00 against 8.00 years, mean over the arms)"),
        (7.996, "its error is as large as theirs (8.00 against 8.00 years, mean over the arms)"),
        (8.1, "its error is larger than theirs (8.10 against 8.00 years, mean over the arms)"),
    ],
)
def test_whole_scans_err_less_only_where_the_figures_say_so(inputs, scan, words):
    arms = list(inputs.experiment.arms)
    changed = {arm: level(slices, 8.0, scan) for arm, slices in inputs.analysis.slices.items()}
    caption = position_figure(replace(inputs.analysis, slices=changed), arms, "grid").caption
    assert words in caption
    alone = replace(inputs.analysis, slices={arms[0]: changed[arms[0]]})
    assert words.replace(", mean over the arms", "") in position_figure(alone, arms, "grid").caption


def test_the_rules_stand_side_by_side_and_the_best_on_validation_is_named(inputs):
    arms = list(inputs.experiment.arms)
    table = rules_table(inputs.analysis, arms)
    assert table.header[1:4] == ("median: validation", "mean: validation", "trimmed: validation")
    for row, arm in zip(table.rows, arms, strict=True):
        slices = inputs.analysis.slices[arm]
        assert row.cells[-2:] == ("median", slices.best_on_validation)
        assert row.cells[4] == f"{slices.rules[0].test_years:.2f}"
    assert len(table.numbers) == 6
    assert rules_table(replace(inputs.analysis, slices={}), arms) is None


def test_the_classical_baseline_is_a_row_of_the_first_table(inputs, sound):
    table = mae_table(inputs, read_reference())
    (row,) = [row for row in table.rows if row.cells[0].startswith("Ridge")]
    assert "4.61" in row.cells
    assert row.aside
    assert table.numbers.set_index("arm").loc["ridge", "test_mean_years"] == 4.61
    page = sound.text()
    assert "and the classical baseline" in page
    assert "Which slices tell the age?" in page
    assert (sound.folder / "figures" / "slice_positions.png").is_file()
