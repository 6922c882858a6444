from __future__ import annotations

from dataclasses import replace

import pytest
from report_inputs import experiment_of, inputs_of

from brainage_ray.evaluation.arms import ArmComparison
from brainage_ray.evaluation.choice import declare_winner
from brainage_ray.report.age_figures import mae_figure
from brainage_ray.report.choice_table import choice_table
from brainage_ray.report.methods import methods
from brainage_ray.report.result_tables import validation_mae
from brainage_ray.report.sentences import summary_sentences


@pytest.fixture(scope="module")
def inputs():
    """Two arms whose finalists have been trained again: half a year worse than the search had them."""
    made = inputs_of(2, 2, people=90)
    studies = {}
    for arm, study in made.studies.items():
        value = study.selected.best_value + 0.5
        seeds = [[value - 0.1, value + 0.1]]
        again = replace(study.selected, number=0, values=(value,), seed_values=seeds, best_value=value, best_epoch=1)
        studies[arm] = replace(study, again=again, why="lowest MAE of 2 finalists, mean over 2 fresh seeds")
    return replace(made, studies=studies)


def verdict_of(inputs, p: float):
    maes = {arm: study.again.best_value for arm, study in inputs.studies.items()}
    first, second = maes
    pair = ArmComparison(first, second, 90, (2, 2), maes[first] - maes[second], (-1.0, 0.5), p, p)
    return declare_winner(maes, [pair])


def test_both_values_stand_side_by_side_and_the_optimism_between_them(inputs):
    table = choice_table(replace(inputs, verdict=verdict_of(inputs, 0.4)))
    study = inputs.studies["unet"]
    assert table.header == ("Arm", "Trial", "MAE in the search", "MAE, fresh seeds", "Optimism")
    searched, fresh = study.selected.best_value, study.again.best_value
    assert table.rows[0].cells == (
        "unet", str(study.selected_trial), f"{searched:.2f}", f"{fresh:.2f} (0.14)", "+0.50",
    )  # fmt: skip
    assert table.numbers["optimism_years"].tolist() == pytest.approx([0.5, 0.5])
    assert "No winner: unet and unet+brats are equal within noise (smallest corrected p 0.40)." in table.notes
    assert table.numbers["winner"].tolist() == [False, False]
    assert table.numbers["champion"].sum() == 1


def test_the_reason_is_a_note_and_no_cell_so_that_the_table_is_as_narrow_as_its_numbers(inputs):
    table = choice_table(inputs)
    assert max(len(cell) for row in table.rows for cell in row.cells[1:]) <= len("10.00 (0.14)")
    assert "Why, unet and unet+brats: lowest MAE of 2 finalists, mean over 2 fresh seeds." in table.notes
    studies = inputs.studies | {"unet": replace(inputs.studies["unet"], why="cheapest of 2")}
    notes = choice_table(replace(inputs, studies=studies)).notes
    assert [note[:16] for note in notes if note.startswith("Why")] == ["Why, unet: cheap", "Why, unet+brats:"]
    assert "Why" not in choice_table(inputs).to_markdown().split("\n")[0]
    assert table.numbers["why"].tolist() == [study.why for study in inputs.studies.values()]


def test_the_name_of_an_arm_can_be_broken_behind_its_pluses(sound):
    assert "</i>unet+<wbr>brats</th>" in sound.text()
    assert "<wbr>" not in sound.text("report.md")


def two_objectives(inputs):
    search = inputs.experiment.search.model_copy(update={"objective": ("validation_mae", "validation_delta_auc")})
    studies = {
        arm: replace(
            study,
            trials=[replace(trial, delta_auc=0.75) for trial in study.trials],
            again=replace(study.again, delta_auc=0.625),
        )
        for arm, study in inputs.studies.items()
    }
    experiment = inputs.experiment.model_copy(update={"search": search})
    return replace(inputs, experiment=experiment, studies=studies)


def test_where_the_delta_is_an_objective_its_auc_is_shown(inputs):
    both = two_objectives(inputs)
    table = choice_table(both)
    assert table.header[-2:] == ("Optimism", "AUC of the delta")
    assert table.rows[0].cells[-2:] == ("+0.50", "0.62")
    assert any("a person with AD" in note and note.endswith("mean over the fresh seeds.") for note in table.notes)
    assert table.numbers["search_delta_auc"].tolist() == [0.75, 0.75]
    assert table.numbers["fresh_delta_auc"].tolist() == [0.625, 0.625]
    plain = {arm: replace(study, again=None) for arm, study in both.studies.items()}
    alone = choice_table(replace(both, studies=plain))
    assert (alone.header[-1], alone.rows[0].cells[-1]) == ("AUC of the delta", "0.75")
    assert alone.notes[-1].endswith("mean over the trial's seeds.")
    assert "search_delta_auc" not in choice_table(inputs).numbers


def test_the_diamond_is_the_value_that_is_stated(inputs):
    with_finalists = mae_figure(inputs, list(inputs.experiment.arms)).caption
    assert "Diamond: validation MAE of the chosen trial's settings, trained again with fresh seeds." in with_finalists
    plain = {arm: replace(study, again=None) for arm, study in inputs.studies.items()}
    without = mae_figure(replace(inputs, studies=plain), list(inputs.experiment.arms)).caption
    assert "Diamond: validation MAE of the chosen trial. " in without


def test_the_stated_error_is_the_fresh_one(inputs):
    study = inputs.studies["unet"]
    assert validation_mae(study, 1) == (study.again.best_value, pytest.approx(0.1414, abs=1e-3))


def test_without_finalists_there_is_one_value_and_without_a_search_no_table(inputs):
    plain = {arm: replace(study, again=None) for arm, study in inputs.studies.items()}
    assert choice_table(replace(inputs, studies=plain)).header == ("Arm", "Trial", "MAE in the search")
    assert choice_table(replace(inputs, studies={})) is None


@pytest.mark.parametrize(("p", "words"), [(0.4, "though not told apart from"), (0.01, "better than the others")])
def test_the_summary_calls_an_arm_better_only_where_it_was_told_apart(inputs, p, words):
    verdict = verdict_of(inputs, p)
    first = summary_sentences(replace(inputs, verdict=verdict))[0]
    assert first.startswith(verdict.champion)
    assert words in first
    assert "best" not in first


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({}, ["the lowest error was taken", "where the mean over a trial's seeds is lowest"]),
        ({"choice": "one_standard_error"}, ["within one standard error of the lowest", "fewest weights"]),
        (
            {"objective": ("validation_mae", "validation_delta_auc")},
            ["largest AUC of the delta", "no other beats in both", "of equals the lowest error, then the cheapest"],
        ),
        ({"finalists": 4}, ["4 best complete trials", "3 fresh seeds that no trial had", "mean over the fresh seeds"]),
    ],
)
def test_the_methods_name_the_rule(inputs, search, words):
    experiment = experiment_of(2, 2)
    changed = experiment.model_copy(update={"search": experiment.search.model_copy(update=search)})
    text = methods(replace(inputs, experiment=changed))
    assert all(word in text["Search"] for word in words), text["Search"]
    assert "steps grow with the data" in text["Final models"]
