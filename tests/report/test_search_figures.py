from __future__ import annotations

import re

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from report_inputs import study_of

from brainage_ray.report import StudyReport, TrialReport
from brainage_ray.report.figure import INK, MUTED, inline_panels
from brainage_ray.report.search_figures import importance_figure, parallel_figure, permutation_importance


def axes_of(panel):
    axes = Figure().add_subplot()
    panel.draw(axes)
    return axes


def texts(axes):
    return [text.get_text() for text in axes.texts]


def study(params, values, states=None, chosen=0):
    states = states or ["complete"] * len(values)
    trials = [
        TrialReport(i, p, s, (), (), v, 1) for i, (p, v, s) in enumerate(zip(params, values, states, strict=True))
    ]
    return StudyReport(trials, chosen, trials[chosen].params, 1)


def planted(trials=40, effect=1.0):
    """A search in which the learning rate alone matters, best in the middle of its range."""
    rng = np.random.default_rng(0)
    rates, sizes = 10 ** rng.uniform(-5, -1, trials), rng.choice([16, 32, 64], trials)
    values = 3 + effect * (np.log10(rates) + 3) ** 2 + rng.normal(0, 0.05, trials)
    params = [
        {"training.optimizer.lr": float(r), "training.batch_size": int(n)} for r, n in zip(rates, sizes, strict=True)
    ]
    return study(params, values.tolist())


def test_the_parameter_that_matters_is_the_important_one():
    spec = importance_figure({"a": planted()}, ["a"])
    axes = axes_of(spec.panels[0])
    assert texts(axes)[:2] == ["lr", "batch_size"], "the most important one first"
    lr, size = (bar.get_width() for bar in axes.patches)
    assert lr > 0.8
    assert size < 0.1
    assert "random forest" in spec.caption
    assert "Breiman 2001" in spec.caption


def test_importance_of_noise_is_grey():
    axes = axes_of(importance_figure({"a": planted(effect=0.0)}, ["a"]).panels[0])
    assert to_hex(axes.patches[0].get_facecolor()) == MUTED
    assert re.match("R\N{SUPERSCRIPT TWO} \N{MINUS SIGN}", texts(axes)[-1])


def test_one_diverged_trial_does_not_decide_the_importance():
    calm = planted()
    trials = [
        *calm.trials,
        TrialReport(40, {"training.optimizer.lr": 1e-3, "training.batch_size": 16}, "complete", (), (), 1e9, 1),
    ]
    lr, size = (
        bar.get_width()
        for bar in axes_of(importance_figure({"a": StudyReport(trials, 0, {}, 1)}, ["a"]).panels[0]).patches
    )
    assert lr > 5 * size


def test_importance_needs_eight_trials_two_parameters_and_a_spread():
    some = planted(8)
    assert importance_figure({"a": some}, ["a"])
    assert importance_figure({"a": StudyReport(some.trials[:7], 0, {}, 1)}, ["a"]) is None
    one = [{"lr": 0.1 * i, "fixed": 1} for i in range(1, 11)]
    assert importance_figure({"a": study(one, list(range(10)))}, ["a"]) is None
    two = [{"lr": 0.1 * i, "decay": i % 3} for i in range(1, 11)]
    assert importance_figure({"a": study(two, [3.0] * 10)}, ["a"]) is None
    assert importance_figure({"a": study(two, list(range(10)), ["failed"] * 10)}, ["a"]) is None
    assert importance_figure({}, []) is None


def test_an_arm_with_too_few_trials_has_no_panel():
    spec = importance_figure({"a": planted(), "b": planted(5)}, ["a", "b"])
    assert [panel.title for panel in spec.panels] == ["a"]


def test_a_parameter_that_some_trials_lack_is_permuted_among_the_others():
    rng = np.random.default_rng(1)
    settings = rng.uniform(0, 1, (60, 2))
    settings[::2, 1] = np.nan
    values = np.where(np.isnan(settings[:, 1]), 0.5, settings[:, 1])
    drops, explained = permutation_importance(settings, values)
    assert explained > 0.7
    assert drops[1] > 5 * abs(drops[0])


def test_each_line_goes_through_its_settings_to_its_value():
    params = [{"lr": 1e-4, "opt.name": "adam"}, {"lr": 1e-2, "opt.name": "sgd"}, {"lr": 1e-3, "opt.name": "sgd"}]
    spec = parallel_figure({"a": study(params, [5.0, 3.0, 4.0], ["complete", "complete", "pruned"], chosen=1)}, ["a"])
    axes = axes_of(spec.panels[0])
    lines = [line.get_xdata() for line in axes.lines]
    np.testing.assert_allclose(lines, [[0, 0, 1], [0.5, 1, 0.5], [1, 1, 0]], atol=1e-12)
    alphas = [line.get_alpha() for line in axes.lines]
    assert alphas == sorted(alphas), "the worst first and faintest"
    assert axes.lines[1].get_linestyle() == "--"
    assert axes.lines[2].get_color() == INK
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["lr", "opt name", "validation\nMAE, years"]
    assert texts(axes) == ["1e-4", "1e-3", "0.01", "adam", "sgd", "3", "4", "5"]
    assert "does not have" not in spec.caption


def test_a_trial_without_a_parameter_is_beside_its_axis():
    params = [{"a": 1, "b": 1.0}, {"a": 2}, {"a": 3, "b": 2.0}]
    spec = parallel_figure({"x": study(params, [1.0, 2.0, 3.0])}, ["x"])
    assert max(axes_of(spec.panels[0]).lines[1].get_xdata()) > 1
    assert spec.caption.endswith("does not have that parameter.")


def test_parallel_coordinates_need_two_parameters_that_vary():
    assert parallel_figure({"a": study([{"lr": 1}, {"lr": 2}], [1.0, 2.0])}, ["a"]) is None
    assert parallel_figure({"a": study([{"lr": 1, "b": 1}, {"lr": 2, "b": 1}], [1.0, 2.0])}, ["a"]) is None
    assert parallel_figure({}, []) is None
    equal = parallel_figure({"a": study([{"lr": 1, "b": True}, {"lr": 2, "b": False}], [2.0, 2.0])}, ["a"])
    assert [line.get_xdata()[-1] for line in axes_of(equal.panels[0]).lines] == [0.5, 0.5]


def test_a_value_that_is_not_finite_is_left_out():
    params = [{"a": i, "b": -i} for i in range(3)]
    axes = axes_of(parallel_figure({"x": study(params, [1.0, float("nan"), 2.0])}, ["x"]).panels[0])
    assert len(axes.lines) == 2


def test_all_colours_follow_the_page_into_the_dark_and_the_bytes_are_the_same():
    for figure in (importance_figure, parallel_figure):
        spec = figure({"a": study_of(3.0)}, ["a"])
        first = inline_panels(spec)
        assert first == inline_panels(figure({"a": study_of(3.0)}, ["a"]))
        assert not re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", first[0])
