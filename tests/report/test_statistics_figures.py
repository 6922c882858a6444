from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from report_inputs import ARMS, experiment_of, inputs_of, predictions_of

from brainage_ray.evaluation.arms import ArmComparison
from brainage_ray.evaluation.biomarker import BiomarkerCorrelation
from brainage_ray.evaluation.predictions import pivot_predictions
from brainage_ray.evaluation.pretraining_effect import FactorEffect, PretrainingEffect
from brainage_ray.evaluation.shift import DifferenceTest, GroupShift, Shift
from brainage_ray.report.age_figures import corrected_delta_figure, delta_figure
from brainage_ray.report.arm_figures import arms_figure, biomarker_figure, pretraining_figure, spread
from brainage_ray.report.figure import MUTED, PALETTE, inline_panels
from brainage_ray.report.statistics_figures import bland_altman_figure, p_value_figure, shift_figure

TWO = ["unet", "unet+brats"]
NO_TEST = DifferenceTest(0, ())


def axes_of(panel):
    axes = Figure().add_subplot()
    panel.draw(axes)
    return axes


def texts(axes):
    return [text.get_text() for text in axes.texts]


def hexes(artist):
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in artist.get_facecolor()]


@pytest.fixture(scope="module")
def inputs():
    return inputs_of(2, 2, people=90)


@pytest.fixture(scope="module")
def table(inputs):
    return pivot_predictions(inputs.predictions, "baseline")


@pytest.fixture(scope="module")
def healthy_only():
    """One diagnosis, one arm, one seed."""
    predictions = predictions_of(["unet"], 1, 60)
    experiment = experiment_of(1, 1, evaluation={"diagnoses": ["CN"]})
    return inputs_of(1, 1, experiment=experiment, predictions=predictions[predictions["diagnosis"] == "CN"])


def test_bland_altman_shows_healthy_scans_and_the_limits_of_agreement(inputs, table):
    spec = bland_altman_figure(inputs.summary, table, TWO)
    axes = axes_of(spec.panels[1])
    healthy = (table.scans["diagnosis"] == "CN").to_numpy()
    brain, age = table.brain_ages["unet+brats"].mean(axis=0)[healthy], table.scans["age_years"].to_numpy()[healthy]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.column_stack([(brain + age) / 2, brain - age]))
    mean, sd = np.mean(brain - age), np.std(brain - age, ddof=1)
    heights = [line.get_ydata()[0] for line in axes.lines]
    np.testing.assert_allclose(heights, [0, mean, mean + 1.96 * sd, mean - 1.96 * sd])
    assert f"+1.96 sd: {mean + 1.96 * sd:.1f}" in texts(axes)
    assert axes.get_ylim() == axes_of(spec.panels[0]).get_ylim()
    assert "Scans of CN" in spec.caption


def test_bland_altman_needs_two_scans(inputs, table):
    assert bland_altman_figure(replace(inputs.summary, mae_diagnoses=("SMC",)), table, TWO) is None


def pairs_of(summary, **p):
    """Give every arm the same p-values: (mean, max) by "FIRST SECOND"."""
    changed = []
    for arm in summary.arms:
        pairs = [
            replace(pair, p_mean=p[key][0], p_max=p[key][1]) if (key := f"{pair.first}_{pair.second}") in p else pair
            for pair in arm.pairs
        ]
        changed.append(replace(arm, pairs=tuple(pairs)))
    return replace(summary, arms=tuple(changed))


def test_p_values_are_bars_with_whiskers_and_the_5_percent_line(inputs):
    spec = p_value_figure(pairs_of(inputs.summary, MCI_AD=(0.04, 0.09)), TWO)
    assert [panel.title for panel in spec.panels] == ["MCI and AD", "CN and AD", "CN and MCI"]
    axes = axes_of(spec.panels[0])
    assert [bar.get_width() for bar in axes.patches] == [0.04, 0.04]
    assert axes.collections[0].get_segments()[0][:, 0].tolist() == [0.04, 0.09]
    assert axes.lines[0].get_xdata() == [0.05, 0.05]
    assert axes.get_xscale() == "linear"
    assert texts(axes) == TWO


def test_tiny_p_values_are_points_on_a_logarithmic_axis_even_where_one_is_0(inputs):
    axes = axes_of(p_value_figure(pairs_of(inputs.summary, MCI_AD=(0.0, 1e-6)), TWO).panels[0])
    assert axes.get_xscale() == "log"
    assert not axes.patches
    assert axes.get_xlim()[0] > 0


def test_arms_are_the_better_ones_colour_where_the_difference_is_told(inputs):
    pairs = (
        ArmComparison("unet", "resnet", 90, (2, 2), -0.5, (-0.8, -0.2), 0.001, 0.004),
        ArmComparison("unet", "unet+brats", 90, (2, 2), 0.1, (-0.1, 0.3), 0.3, 0.3),
        ArmComparison("resnet", "unet+brats", 90, (1, 2), 0.2, reason="one seed of resnet"),
    )
    spec = arms_figure(replace(inputs.analysis, comparisons=pairs), list(ARMS))
    axes = axes_of(spec.panels[0])
    bars = [c for c in axes.collections if hasattr(c, "get_segments")]
    points = [c for c in axes.collections if not hasattr(c, "get_segments")]
    assert [bar.get_segments()[0][:, 0].tolist() for bar in bars] == [[-0.8, -0.2], [-0.1, 0.3]]
    assert [point.get_offsets()[0][0] for point in points] == [-0.5, 0.1, 0.2]
    assert [hexes(point)[0] for point in points] == [PALETTE[0], MUTED, MUTED]
    assert texts(axes)[0] == "unet \N{MINUS SIGN} resnet"
    assert axes.lines[0].get_xdata() == [0, 0]
    assert spec.caption.endswith("No interval: one seed of resnet.")


def test_pretraining_shows_what_was_estimated_and_says_what_was_not(inputs):
    effects = (
        FactorEffect("backbone", "unet", reason="all arms have it"),
        FactorEffect("brats", "segmentation", -0.2, (-0.3, -0.1), 0.01, note="varies in unet only"),
    )
    spec = pretraining_figure(replace(inputs.analysis, pretraining=PretrainingEffect(effects, 90, 2)))
    axes = axes_of(spec.panels[0])
    assert texts(axes) == ["with brats (varies in unet only)"]
    assert axes.collections[0].get_segments()[0][:, 0].tolist() == [-0.3, -0.1]
    assert spec.caption.endswith("No interval: backbone: all arms have it.")
    assert "2 arms and 90 persons" in spec.caption


def shift_of(factor, sizes, worse=()):
    groups = [
        GroupShift(f"{i:03d}", n, n, 3.0 + (i in worse), (2.5, 3.5 + (i in worse)) if n >= 5 else None, 0.0)
        for i, n in enumerate(sizes)
    ]
    return Shift(factor, tuple(groups), NO_TEST, NO_TEST)


def with_shift(analysis, *shifts):
    return replace(analysis, arms=tuple(replace(arm, shift=shifts) for arm in analysis.arms))


def test_shift_keeps_the_twelve_largest_sites_and_says_so(inputs):
    analysis = with_shift(inputs.analysis, shift_of("site", [*range(5, 20), 4]), shift_of("sex", [40, 50], worse=[1]))
    spec = shift_figure(analysis, TWO)
    site, sex = (axes_of(panel) for panel in spec.panels)
    labels = [label.get_text().replace("\n", " ") for label in site.get_xticklabels()]
    assert labels == [f"{i:03d} {i + 5}" for i in range(3, 15)], "in their order, with their persons"
    assert "Of site the 12 largest groups are shown." in spec.caption
    assert site.get_ylim() == sex.get_ylim()
    assert [text.get_text() for text in site.get_legend().get_texts()] == TWO
    assert sex.get_legend() is None
    bars, points = sex.collections[:2]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[2.5, 3.5], [2.5, 4.5]]
    assert points.get_offsets()[:, 1].tolist() == [3.0, 4.0]


def test_a_factor_needs_two_groups_that_are_large_enough(inputs):
    analysis = with_shift(inputs.analysis, shift_of("site", [80, 4]), shift_of("sex", [40, 40]))
    spec = shift_figure(analysis, TWO)
    assert [panel.title for panel in spec.panels] == ["Sex"]
    assert "largest" not in spec.caption
    assert shift_figure(with_shift(inputs.analysis, shift_of("site", [80])), TWO) is None


def test_biomarker_has_a_point_an_arm_and_the_correlation_in_its_caption(inputs):
    found = BiomarkerCorrelation(
        tuple(ARMS)[:4], "MCI", "AD", (3.0, 3.1, 3.2, 3.3), (0.7, 0.65, 0.66, 0.6), -0.8, (-1.0, 0.2), -0.667,
        (-1.0, 0.3), 0.333,
    )  # fmt: skip
    spec = biomarker_figure(replace(inputs.analysis, biomarker=found), list(ARMS))
    axes = axes_of(spec.panels[0])
    assert [tuple(c.get_offsets()[0]) for c in axes.collections] == list(zip(found.mae_years, found.auc, strict=True))
    assert sorted(texts(axes)) == sorted(found.arms)
    assert "Spearman's rank correlation \N{MINUS SIGN}0.80 (95 % interval \N{MINUS SIGN}1.00 to 0.20)" in spec.caption
    assert "(p: 0.333)" in spec.caption


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_names_beside_a_panel_keep_their_order_and_do_not_touch(places):
    moved = spread(sorted(places), 0.07)
    assert moved[-1] <= 1
    assert all(abs(a - b) <= 0.07 * len(places) for a, b in zip(sorted(places), moved, strict=True))
    assert moved[0] >= 0
    assert all(b - a > 0.0699 for a, b in pairwise(moved))


def test_long_site_names_are_wrapped_or_stand_upright(inputs):
    def labels(sizes):
        groups = [replace(g, group=f"Institute of Psychiatry {g.group}") for g in shift_of("site", sizes).groups]
        shift = Shift("site", tuple(groups), NO_TEST, NO_TEST)
        return axes_of(shift_figure(with_shift(inputs.analysis, shift), TWO).panels[0]).get_xticklabels()

    few, many = labels([30, 20, 10]), labels(range(6, 16))
    assert few[0].get_text() == "Institute of\nPsychiatry 000\n30"
    assert many[0].get_text() == "Institute of P, 6"
    assert [few[0].get_rotation(), many[0].get_rotation()] == [0, 90]


def test_corrected_deltas_stand_on_the_axis_of_the_raw_ones(inputs, table):
    spec = corrected_delta_figure(inputs.analysis, inputs.summary, table, TWO)
    axes = axes_of(spec.panels[0])
    line = inputs.analysis.arm("unet").corrected.correction
    age = table.scans["age_years"].to_numpy()
    expected = table.brain_ages["unet"].mean(axis=0) - age - (line.slope * age + line.intercept)
    shown = np.concatenate([c.get_offsets()[:, 1] for c in axes.collections if len(c.get_offsets()) > 1])
    np.testing.assert_allclose(sorted(shown), sorted(expected))
    assert axes.get_ylim()[1] >= axes_of(delta_figure(inputs.summary, table, TWO).panels[0]).get_ylim()[1]
    bare = replace(inputs.analysis, arms=tuple(replace(arm, corrected=None) for arm in inputs.analysis.arms))
    assert corrected_delta_figure(bare, inputs.summary, table, TWO) is None


def test_one_diagnosis_and_one_arm_have_nothing_to_compare(healthy_only):
    assert p_value_figure(healthy_only.summary, ["unet"]) is None
    assert arms_figure(healthy_only.analysis, ["unet"]) is None
    assert pretraining_figure(healthy_only.analysis) is None
    assert biomarker_figure(healthy_only.analysis, ["unet"]) is None


def test_two_arms_are_too_few_for_a_correlation(inputs):
    assert biomarker_figure(inputs.analysis, TWO) is None


def test_all_colours_follow_the_page_into_the_dark(inputs, table):
    specs = [
        delta_figure(inputs.summary, table, TWO), bland_altman_figure(inputs.summary, table, TWO),
        p_value_figure(inputs.summary, TWO), arms_figure(inputs.analysis, TWO), pretraining_figure(inputs.analysis),
        shift_figure(inputs.analysis, TWO),
    ]  # fmt: skip
    for spec in specs:
        for svg in inline_panels(spec):
            assert not re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg), spec.name
