from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_inputs import experiment_of, inputs_of, predictions_of

from brainage_ray.evaluation.biomarker import BiomarkerCorrelation
from brainage_ray.report.statistics_bias import bias_deltas_table, bias_pairs_table, bias_table
from brainage_ray.report.statistics_cells import because, by_arm, estimate, flat, signed
from brainage_ray.report.statistics_deltas import (
    adjustment,
    contrasts_table,
    diagnoses_table,
    people_table,
    reliability_table,
    slopes_table,
)
from brainage_ray.report.statistics_errors import (
    biomarker_answer,
    biomarker_table,
    comparisons_table,
    pretraining_table,
    regression_table,
    shift_tables,
    shift_tests_table,
)
from brainage_ray.report.statistics_tables import topics
from brainage_ray.report.table import Table
from brainage_ray.report.text import NOTHING

BIOMARKER = BiomarkerCorrelation(
    ("a", "b", "c", "d"), "MCI", "AD", (3.0, 2.5, 3.5, 2.8), (0.6, 0.7, 0.55, 0.66),
    spearman=-1.0, spearman_interval=(-1.0, -0.4), kendall=-1.0, kendall_interval=(-1.0, -0.2), kendall_p=0.083,
)  # fmt: skip


def followed(arms, seeds: int, people: int) -> pd.DataFrame:
    """People of three sites; every second is scanned again after two years, every third after six weeks."""
    first = predictions_of(arms, seeds, people)
    number = first["person"].str.split("/").str[1].astype(int)
    first["site"] = [f"{2 + n % 3:03d}" for n in number]
    rng = np.random.default_rng(3)
    later, soon = first[number % 2 == 0].copy(), first[number % 3 == 0].copy()
    for visits, session, years, older in ((later, "2008-05-04", 2.0, 2.6), (soon, "2006-06-20", 0.13, 0.1)):
        visits["session"] = session
        visits["image"] += f"-{session}"
        visits["age_years"] += years
        visits["brain_age_years"] += older + rng.normal(0, 0.8, len(visits))
    table = pd.concat([first, later, soon], ignore_index=True)
    table["brain_age_delta_years"] = table["brain_age_years"] - table["age_years"]
    return table


@pytest.fixture(scope="module")
def inputs():
    experiment = experiment_of(2, 2)
    return inputs_of(experiment=experiment, predictions=followed(experiment.arms, 2, 90))


@pytest.fixture(scope="module")
def healthy():
    """Like experiments/ixi.yaml: one diagnosis."""
    experiment = experiment_of(2, 2, evaluation={"diagnoses": ("CN",)})
    predictions = predictions_of(list(experiment.arms), 2, 80).query("diagnosis == 'CN'")
    return inputs_of(experiment=experiment, predictions=predictions)


@pytest.fixture(scope="module")
def alone():
    """One arm, one seed."""
    return inputs_of(1, 1, people=60)


def every_table(inputs) -> list[Table]:
    return [table for topic in topics(inputs) for table in topic.tables]


def csv_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.to_csv())))


def ours(low_high) -> str:
    return f"[{low_high[0]:.2f}, {low_high[1]:.2f}]".replace("-", "\N{MINUS SIGN}")


def test_every_question_is_asked_once_and_in_order(inputs):
    assert [topic.title.split(" ")[0:3] for topic in topics(inputs)] == [
        ["Does", "brain", "age"], ["Do", "the", "arms"], ["Does", "the", "delta"], ["Does", "regression", "to"],
        ["Is", "the", "better"], ["What", "do", "the"], ["Is", "the", "error"],
        ["Which", "slices", "tell"], ["How", "sure", "is"],
    ]  # fmt: skip
    names = [table.name for table in every_table(inputs)]
    assert names == [
        "regression", "pretraining", "arms", "delta_tests", "contrasts", "people", "bias", "bias_delta", "bias_pairs",
        "slopes", "reliability", "shift_tests", "shift_site", "shift_sex", "shift_age_decade",
        "aggregation", "uncertainty", "uncertainty_scans",
    ]  # fmt: skip


@pytest.mark.parametrize("which", ["inputs", "healthy", "alone"])
def test_rows_have_the_width_of_the_header_and_a_dash_has_its_reason(request, which):
    for table in every_table(request.getfixturevalue(which)):
        assert all(len(row.cells) == len(table.header) for row in table.rows), table.name
        dashes = any(NOTHING in cell for row in table.rows for cell in row.cells)
        assert dashes == any(note.startswith(NOTHING) for note in table.notes), table.name
        assert len(csv_of(table)) > 0
        assert table.to_tex().count("tabular") == 2
        assert "nan" not in table.to_markdown()
        assert "None" not in table.to_markdown()


@pytest.mark.parametrize("which", ["inputs", "healthy", "alone"])
def test_no_table_is_printed_empty(request, which):
    for table in every_table(request.getfixturevalue(which)):
        cells = [cell for row in table.rows for cell in row.cells[table.text_columns :]]
        assert any(cell not in ("", NOTHING) for cell in cells), table.name


def test_the_regression_is_that_of_the_analysis(inputs):
    table = regression_table(inputs.analysis, ("CN",))
    found = inputs.analysis.arm("unet").regression
    mean, sd, whole = found.rmse_years.mean, found.rmse_years.sd, found.rmse_years.ensemble
    assert table.rows[0].cells[1:3] == (f"{mean:.2f} ({sd:.2f})", f"{whole:.2f}")
    assert table.rows[0].cells[-1] == f"{found.slope.mean:.2f} ({found.slope.sd:.2f})"
    row = csv_of(table)[0]
    assert float(row["rmse_years_mean"]) == mean
    assert float(row["r2_seed_1"]) == found.r2.per_seed[1]


def test_one_model_has_no_ensemble_and_no_spread(alone):
    table = regression_table(alone.analysis, ("CN",))
    assert "Ensemble" not in table.header
    assert "(" not in table.rows[0].cells[1]
    assert table.notes[0].startswith("One model an arm.")


def test_mean_deltas_and_the_tests_over_all_diagnoses(inputs):
    table = diagnoses_table(inputs.analysis)
    arm = inputs.analysis.arms[0]
    row = table.rows[0].cells
    assert row[3] == f"{arm.intervals[2].mean_years:.2f} {ours(arm.intervals[2].interval_years)}"
    assert row[-2] == f"{arm.omnibus.epsilon_squared_mean:.2f}"
    last = csv_of(table)[3]
    assert last["diagnosis"] == "all"
    assert float(last["kruskal_p_max"]) == arm.omnibus.p_max
    assert float(last["trend_p_increasing_seed_1"]) == arm.trend.p_increasing[1]
    assert "CN < MCI < AD" in table.notes[0]


def test_contrasts_say_what_they_are_adjusted_for(inputs):
    table = contrasts_table(inputs.analysis, "holm")
    pair = inputs.analysis.arms[0].contrasts.contrasts[1]
    assert table.rows[1].cells[:3] == (
        "", "CN vs AD", f"{pair.estimate_years:.2f} {ours(pair.interval_years)}",
    )  # fmt: skip
    assert table.title.endswith("at equal age, sex and site")
    assert "diagnosis + age + sex + site; HC3 standard errors; 90 scans of 90 people" in table.notes[0]
    assert float(csv_of(table)[1]["interval_years_high"]) == pair.interval_years[1]
    assert contrasts_table(inputs.analysis, "none").header[-1] == "p"


def test_what_is_not_adjusted_for_is_said_with_its_reason(inputs):
    model = inputs.analysis.arms[0].contrasts
    changed = replace(
        model, left_out=(("sex", "not given"), ("site", "missing for 40 of 90 scans")), pooled_sites=("7", "8"),
        standard_errors="cluster", n_left_out=3,
    )  # fmt: skip
    text = adjustment(changed)
    assert "Not adjusted for sex (not asked for) and site (missing for 40 of 90 scans)." in text
    assert "2 sites with one scan share a coefficient." in text
    assert "cluster-robust by person" in text
    assert "3 scans without sex or site" in text


def test_the_test_over_all_scans_counts_people_and_scans(inputs):
    table = people_table(inputs.analysis, "holm")
    pair = inputs.analysis.arms[0].people[0]
    row = table.rows[0].cells
    assert row[2:4] == (f"{pair.n_people[0]} / {pair.n_people[1]}", f"{pair.n_scans[0]} / {pair.n_scans[1]}")
    assert sum(pair.n_scans) > sum(pair.n_people)
    assert row[4] == f"{pair.estimate_mean:.2f}"
    assert float(csv_of(table)[0]["p_seed_1"]) == pair.p[1]
    arm = inputs.analysis.arms[0]
    changed = replace(arm, people=(replace(pair, n_left_out=7), *arm.people[1:]))
    note = people_table(replace(inputs.analysis, arms=(changed,)), "holm").notes[0]
    assert "7 scans a pair after a change of it are left out" in note


def test_raw_stands_beside_corrected(inputs):
    raw, corrected = inputs.summary.arms[0], inputs.analysis.arms[0].corrected
    table = bias_deltas_table(inputs.analysis, inputs.summary)
    assert table.header[1:3] == ("CN raw", "CN corrected")
    both = [f"{group.mean_years:.2f} ({group.sd_years:.2f})".replace("-", "\N{MINUS SIGN}")
            for group in (raw.deltas[0], corrected.deltas[0])]  # fmt: skip
    assert list(table.rows[0].cells[1:3]) == both
    pairs = bias_pairs_table(inputs.analysis, inputs.summary, "holm")
    assert pairs.rows[0].cells[2].startswith(f"{raw.pairs[0].auc_mean:.2f} [")
    assert pairs.rows[0].cells[3].startswith(f"{corrected.pairs[0].auc_mean:.2f} [")


def test_the_line_of_the_correction_and_what_it_was_fitted_on(inputs):
    table = bias_table(inputs.analysis, inputs.summary)
    line = inputs.analysis.arms[0].corrected.correction
    assert table.rows[0].cells[1:3] == ("90", f"{line.slope:.3f}".replace("-", "\N{MINUS SIGN}"))
    assert "validation split alone" in table.notes[0]
    assert "never on the test split" in table.notes[0]
    assert "MAE" not in " ".join(table.header), "de Lange's looks at the true age"


def test_a_correction_that_predicts_ages_has_its_error_beside_the_raw_one(inputs):
    arm = inputs.analysis.arms[0]
    cole = replace(arm.corrected, correction=replace(arm.corrected.correction, method="cole"),
                   mae=inputs.summary.arms[1].mae)  # fmt: skip
    table = bias_table(replace(inputs.analysis, arms=(replace(arm, corrected=cole),)), inputs.summary)
    assert table.header[-2:] == ("MAE raw", "MAE corrected")
    assert table.rows[0].cells[-1].startswith(f"{cole.mae.mean_years:.2f} (")
    assert "inverted" in table.notes[0]


def test_a_line_that_cannot_correct_leaves_no_corrected_numbers(inputs):
    line = replace(
        inputs.analysis.arms[0].corrected.correction, slope=None, intercept=None, reason="all ages are equal"
    )
    arms = tuple(replace(a, corrected=replace(a.corrected, correction=line, deltas=(), pairs=()))
                 for a in inputs.analysis.arms)  # fmt: skip
    changed = replace(inputs, analysis=replace(inputs.analysis, arms=arms))
    topic = topics(changed)[3]
    assert topic.tables == ()
    assert topic.missing == "Not computed: the bias correction (all ages are equal)."


def test_without_validation_predictions_the_correction_is_said_to_be_missing(inputs):
    arms = tuple(replace(arm, corrected=None) for arm in inputs.analysis.arms)
    gone = replace(inputs, analysis=replace(inputs.analysis, arms=arms))
    assert "no predictions of the search's own models" in topics(gone)[3].missing
    off = replace(gone, experiment=experiment_of(2, 2, statistics={"bias_correction": "none"}))
    assert not any("regression" in topic.title for topic in topics(off))


def test_arms_are_compared_in_pairs(inputs):
    table = comparisons_table(inputs.analysis)
    (pair,) = inputs.analysis.comparisons
    assert table.rows[0].cells[:2] == ("unet", "unet+brats")
    assert table.rows[0].cells[2] == (
        f"{pair.difference_years:.2f} ".replace("-", "\N{MINUS SIGN}") + ours(pair.interval)
    )  # fmt: skip
    assert float(csv_of(table)[0]["difference_years"]) == pair.difference_years


def test_the_effect_of_pretraining_has_its_interval_and_what_cannot_be_told_its_reason(inputs):
    table = pretraining_table(inputs.analysis)
    effects = {effect.factor: effect for effect in inputs.analysis.pretraining.effects}
    rows = {row.cells[0]: row.cells for row in table.rows}
    assert rows["brats"][2].endswith(ours(effects["brats"].interval))
    assert rows["backbone"][2:] == (NOTHING, NOTHING)
    assert f"{NOTHING} backbone: all arms have it." in table.notes


def test_one_seed_leaves_the_comparisons_out_and_says_why():
    topic = topics(inputs_of(2, 1, people=40))[1]
    assert topic.tables == ()
    assert topic.missing.count("its spread between seeds is unknown") == 2


def test_one_arm_is_not_compared_and_nobody_asks(alone):
    titles = [topic.title for topic in topics(alone)]
    assert not any("arms" in title or "biomarker" in title for title in titles)


def test_one_diagnosis_has_its_delta_and_no_tests(healthy):
    by_name = {table.name: table for table in every_table(healthy)}
    assert not {"contrasts", "people", "bias_pairs", "biomarker"} & set(by_name)
    assert len(by_name["delta_tests"].header) == 2
    assert "Kruskal" not in by_name["delta_tests"].notes[0]
    assert {"regression", "arms", "pretraining", "bias_delta", "shift_sex"} <= set(by_name)


def test_error_and_separation_stand_in_the_order_of_the_error(inputs):
    table = biomarker_table(replace(inputs.analysis, biomarker=BIOMARKER))
    assert [row.cells[0] for row in table.rows[:4]] == ["b", "d", "a", "c"]
    assert table.rows[4].cells[2] == "\N{MINUS SIGN}1.00 [\N{MINUS SIGN}1.00, \N{MINUS SIGN}0.40]"
    assert float(csv_of(table)[-1]["spearman_interval_high"]) == -0.4
    assert "2 of the 4 arms" in biomarker_table(inputs.analysis)


@pytest.mark.parametrize(
    ("low_high", "words"),
    [((-1.0, -0.4), "the better the separation"), ((0.1, 0.9), "the worse"), ((-0.8, 0.5), "not seen to go together")],
)
def test_the_biomarker_question_is_answered_by_the_interval(low_high, words):
    assert words in biomarker_answer(replace(BIOMARKER, spearman_interval=low_high))


def test_too_few_people_give_no_answer():
    assert "cannot be told: no person with AD" in biomarker_answer(
        replace(BIOMARKER, spearman_interval=None, reason="no person with AD")
    )


def test_the_same_people_again(inputs):
    slopes, repeats = slopes_table(inputs.analysis), reliability_table(inputs.analysis)
    group = inputs.analysis.arms[0].slopes[0]
    assert slopes.header[1] == f"CN (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{group.n_persons})"
    assert slopes.rows[0].cells[1] == f"{group.mean_years_per_year:.2f} {ours(group.interval)}"
    whole = inputs.analysis.arms[0].reliability.ensemble
    assert repeats.rows[0].cells[1].startswith(f"{whole.icc:.3f} [")
    assert f"{whole.n_scans} scans of {whole.n_persons} people" in repeats.notes[0]


def test_nobody_scanned_twice_leaves_follow_up_out_and_says_why(alone):
    topic = next(topic for topic in topics(alone) if "other scans" in topic.title)
    assert topic.tables == ()
    assert topic.intro == ""
    assert "nobody was scanned twice" in topic.missing


def test_errors_by_site_sex_and_age(inputs):
    tests = shift_tests_table(inputs.analysis)
    shift = inputs.analysis.arms[0].shift
    assert tests.header[1:3] == ("Site: p of MAE", "Site: p of delta")
    assert tests.rows[0].cells[1] == f"{shift[0].mae_test.p:.3f}"
    sites = shift_tables(inputs.analysis)[0]
    group = shift[0].groups[1]
    assert sites.rows[1].cells[:4] == ("", "003", str(group.n_persons), str(group.n_scans))
    assert sites.rows[1].cells[4] == f"{group.mae_years:.2f} {ours(group.mae_interval)}"
    assert csv_of(sites)[1]["site"] == "003"


def test_one_site_is_no_table_of_sites(healthy):
    assert [table.name for table in shift_tables(healthy.analysis)] == ["shift_sex", "shift_age_decade"]


def test_the_first_of_an_arms_rows_names_it():
    rows = by_arm([("a", ("1",)), ("a", ("2",)), ("b", ("3",))])
    assert [row.cells for row in rows] == [("a", "1"), ("", "2"), ("b", "3")]
    assert [row.arm for row in rows] == ["a", "", "b"]


def test_cells_and_notes():
    assert (signed(0.25), signed(-0.25), signed(0.001), signed(None)) == (
        "+0.25",
        "\N{MINUS SIGN}0.25",
        "0.00",
        NOTHING,
    )
    assert estimate(1.0, None) == f"1.00 [{NOTHING}]"
    assert estimate(None, (0.0, 1.0)) == NOTHING
    assert because(["", "a", "a", "b"]) == (f"{NOTHING} a; b.",)
    assert because(str(i) for i in range(6)) == (f"{NOTHING} 0; 1; 2; 3; 2 more reasons in the CSV.",)
    record = {"interval": (1.0, 2.0), "n_people": (3, 4), "p": (0.1, 0.2), "p_max": 0.2}
    assert flat(record, (5, 8)) == {
        "interval_low": 1.0, "interval_high": 2.0, "n_people_first": 3, "n_people_second": 4, "p_seed_5": 0.1,
        "p_seed_8": 0.2, "p_max": 0.2,
    }  # fmt: skip
    assert flat({"interval": None, "p": ()}, (0,)) == {"interval_low": None, "interval_high": None}
