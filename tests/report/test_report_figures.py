from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from report_inputs import ARMS, inputs_of, pretraining_of, slices_of, study_of

from brainage_ray.evaluation.predictions import pivot_predictions
from brainage_ray.report import TrialReport
from brainage_ray.report.age_figures import brain_age_figure, delta_figure
from brainage_ray.report.figure import PALETTE, FigureSpec, Panel, arm_color, inline_panels, write_figure
from brainage_ray.report.inputs import StudyReport
from brainage_ray.report.training_figures import dice_figure, refit_figure, search_figure, slices_figure


def axes_of(panel: Panel):
    axes = Figure().add_subplot()
    panel.draw(axes)
    return axes


@pytest.fixture(scope="module")
def inputs():
    return inputs_of(2, 2, people=60)


@pytest.fixture(scope="module")
def table(inputs):
    return pivot_predictions(inputs.predictions, "baseline")


def test_arms_keep_their_colour_and_differ():
    assert len({arm_color(list(ARMS), arm) for arm in ARMS}) == len(ARMS)
    assert arm_color(["a", "b"], "b") == PALETTE[1]


def test_scatter_shows_healthy_scans_averaged_over_the_seeds(inputs, table):
    spec = brain_age_figure(inputs.summary, table, ["unet", "unet+brats"])
    points = axes_of(spec.panels[0]).collections[-1].get_offsets()
    healthy = (table.scans["diagnosis"] == "CN").to_numpy()
    expected = table.brain_ages["unet"].mean(axis=0)[healthy]
    np.testing.assert_allclose(points[:, 1], expected)
    np.testing.assert_allclose(points[:, 0], table.scans["age_years"][healthy])


def test_delta_panels_share_their_axis_and_hold_every_scan(inputs, table):
    spec = delta_figure(inputs.summary, table, ["unet", "unet+brats"])
    first, second = (axes_of(panel) for panel in spec.panels)
    assert first.get_ylim() == second.get_ylim()
    points = [c for c in first.collections if isinstance(c, PathCollection)]
    assert sum(len(part.get_offsets()) for part in points) == len(table.scans)
    assert [label.get_text().split("\n")[0] for label in first.get_xticklabels()] == ["CN", "MCI", "AD"]


def test_violins_show_quartiles_and_few_or_equal_deltas_none(inputs, table):
    few = table.scans.assign(diagnosis=["AD"] * 3 + ["MCI"] + ["CN"] * (len(table.scans) - 4))
    axes = axes_of(delta_figure(inputs.summary, replace(table, scans=few), ["unet", "unet+brats"]).panels[0])
    assert sum(isinstance(c, PolyCollection) for c in axes.collections) == 1, "of CN alone"
    medians = [line for line in axes.lines if line.get_linewidth() == 2]
    delta = table.brain_ages["unet"].mean(axis=0) - table.scans["age_years"].to_numpy()
    np.testing.assert_allclose([line.get_ydata()[0] for line in medians], [np.median(delta[4:]), np.median(delta[:3])])


def test_a_diverged_trial_does_not_flatten_the_others():
    trials = [TrialReport(i, {}, "complete", (3.0 + 0.1 * i,), (), 3.0 + 0.1 * i, 1) for i in range(8)]
    trials.append(TrialReport(8, {}, "complete", (900.0,), (), 900.0, 1))
    spec = search_figure({"unet": StudyReport(trials, 0, {}, 1)}, ["unet"])
    axes = axes_of(spec.panels[0])
    assert axes.get_ylim()[1] < 6
    assert len(axes.collections) == len(trials) + 1, "the far trial is marked at the top, the chosen one has a ring"


def test_pruned_and_failed_trials_do_not_lower_the_best_so_far():
    trials = [
        TrialReport(0, {}, "complete", (4.0,), (), 4.0, 1),
        TrialReport(1, {}, "pruned", (2.0,), (), 2.0, 1),
        TrialReport(2, {}, "failed"),
        TrialReport(3, {}, "complete", (3.0,), (), 3.0, 1),
    ]
    axes = axes_of(search_figure({"a": StudyReport(trials, 3, {}, 1)}, ["a"]).panels[0])
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [4.0, 3.0, 3.0])


def test_nothing_to_show_gives_no_figure():
    nothing = StudyReport([TrialReport(0, {}, "failed")], 0, {}, 1)
    assert search_figure({"a": nothing}, ["a"]) is None
    assert refit_figure({}, []) is None
    assert dice_figure([]) is None
    assert slices_figure([]) is None


def test_dice_has_a_panel_a_backbone_and_a_line_a_class():
    spec = dice_figure(pretraining_of(["unet", "resnet50"]))
    assert [panel.title for panel in spec.panels] == ["brats, unet", "brats, resnet50"]
    labels = [line.get_label() for line in axes_of(spec.panels[0]).lines]
    assert labels == ["whole tumour", "core", "enhancing"]


def test_slices_are_dark_outside_the_brain_and_carry_their_age():
    groups = slices_of(count=2)
    spec = slices_figure(groups)
    assert spec.panels[0].title == f"CN {groups[0].ages_years[0]:.0f}"
    shown = axes_of(spec.panels[0]).images[0]
    assert shown.get_array()[0, 0] == shown.norm.vmin


def test_figures_are_the_same_bytes_every_time_and_leave_matplotlib_as_it_was(tmp_path):
    before = dict(rcParams)
    spec = search_figure({"unet": study_of(3.0)}, ["unet"])
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_figure(spec, tmp_path / name)
        written.append([(tmp_path / name / f"search.{kind}").read_bytes() for kind in ("png", "svg")])
    assert written[0] == written[1]
    assert inline_panels(spec) == inline_panels(spec)
    assert dict(rcParams) == before
    assert b"<text" not in written[0][1], "letters are paths: the same on every machine"


def test_panels_of_two_figures_share_no_id():
    def draw(axes):
        axes.plot([0, 1], [0, 1])

    first, second = (inline_panels(FigureSpec(name, "T", "C", [Panel("P", draw)]))[0] for name in ("one", "two"))
    assert 'id="one-0-' in first
    assert 'id="one-0-' not in second
    head = first[: first.index(">")]
    assert "viewBox" in head
    assert "width=" not in head
