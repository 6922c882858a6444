from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import yaml
from report_inputs import experiment_of, inputs_of, ledger_of, manifest_of, study_of, summary_of

from brainage_ray.config.run import SettingsChange
from brainage_ray.report import Transfer
from brainage_ray.report.record_tables import (
    data_table,
    left_out_table,
    openings_table,
    reasons_table,
    settings_table,
    time_table,
    transfers_table,
)
from brainage_ray.report.reference import read_reference
from brainage_ray.report.result_tables import delta_table, mae_table, pairs_table, validation_mae
from brainage_ray.report.statistics_cells import signed
from brainage_ray.report.table import LONGEST, Row, Table, escape_tex


@pytest.fixture(scope="module")
def inputs():
    return inputs_of(2, 2, people=60)


@pytest.fixture(scope="module")
def published():
    return inputs_of(6, 2, people=60)


def cells(table: Table, first: str) -> tuple[str, ...]:
    return next(row.cells for row in table.rows if row.cells[0].startswith(first))


def test_table_1_prints_the_summary(inputs):
    table = mae_table(inputs, read_reference())
    mae = inputs.summary.arm("unet").mae
    row = cells(table, "unet")
    assert row[2:] == (
        f"{mae.mean_years:.2f} ({mae.sd_years:.2f})",
        f"{max(mae.per_seed_years):.2f}",
        f"{mae.ensemble_years:.2f}",
    )
    assert cells(table, "Null model")[2] == f"{inputs.summary.null.mae_years:.2f}"
    assert all(len(row.cells) == len(table.header) for row in table.rows)
    assert "Published" not in " ".join(table.header)


def test_table_1s_numbers_are_unrounded(inputs):
    rows = list(csv.DictReader(io.StringIO(mae_table(inputs, read_reference()).to_csv())))
    mae = inputs.summary.arm("unet").mae
    assert float(rows[0]["test_seed_1_years"]) == mae.per_seed_years[1]
    assert float(rows[0]["test_mean_years"]) == mae.mean_years
    assert [row["arm"] for row in rows[2:4]] == ["null model", "ridge"]


def test_validation_mae_is_that_of_the_chosen_trial_over_its_seeds():
    study = study_of(3.0)
    mean, sd = validation_mae(study, window=1)
    seeds = study.selected.seed_values[study.selected.best_epoch - 1]
    assert mean == study.selected.best_value == pytest.approx(np.mean(seeds))
    assert sd == pytest.approx(np.std(seeds, ddof=1))
    assert validation_mae(replace(study, selected_trial=99), 1) == (None, None)


def test_validation_sd_is_taken_over_the_smoothed_values():
    study = study_of(3.0)
    end = study.selected.best_epoch
    smooth = np.mean(study.selected.seed_values[end - 5 : end], axis=0)
    assert validation_mae(study, window=5)[1] == pytest.approx(np.std(smooth, ddof=1))


def test_table_2_ends_with_the_two_sickest_groups(inputs):
    table = delta_table(inputs.summary, read_reference())
    counts = [group.n_scans for group in inputs.summary.arms[0].deltas]
    assert table.header[:4] == (
        "Arm",
        *(f"{d} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n})" for d, n in zip(("CN", "MCI", "AD"), counts, strict=True)),
    )
    assert table.header[4:] == ("MCI vs AD: p", "Corrected p", "AUC [95 % CI]")
    pair = inputs.summary.arm("unet").pair("MCI", "AD")
    assert cells(table, "unet")[6].startswith(f"{pair.auc_mean:.2f} [")


def test_the_published_pair_is_shown_wherever_it_stands_and_published_numbers_beside_no_other(published):
    reference = read_reference()
    for diagnoses in (("AD", "MCI", "CN"), ("MCI", "AD", "CN")):
        changed = experiment_of(6, 2, evaluation={"diagnoses": diagnoses})
        summary = summary_of(changed, published.predictions)
        table = delta_table(summary, reference)
        assert table.header[4:] == (f"{diagnoses[0]} vs {diagnoses[1]}: p", "Corrected p", "AUC [95 % CI]",
                                    "Published p*", "Difference")  # fmt: skip
        pair = summary.arm("unet").pair(*diagnoses[:2])
        assert cells(table, "unet")[6].startswith(f"{pair.auc_mean:.2f} [")
    others = experiment_of(6, 2, evaluation={"diagnoses": ("CN", "AD")})
    table = delta_table(summary_of(others, published.predictions), reference)
    assert table.header[3:] == ("CN vs AD: p", "Corrected p", "AUC [95 % CI]")
    assert all(len(row.cells) == len(table.header) for row in table.rows)
    assert not any("Other data" in note for note in table.notes)


def test_what_went_over_into_the_encoders_is_counted_and_what_was_left_out_named():
    sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    rows = [Transfer("resnet50+imagenet", f"w.pth, SHA-256 {sha}", 318, 0, 2, ("fc.weight", "fc.bias")),
            Transfer("resnet+imagenet", "imagenet", 318, 0, 0)]  # fmt: skip
    table = transfers_table(rows)
    assert table.rows[0].cells == (
        "resnet50+imagenet", "w.pth, SHA-256 9f86d08188\N{HORIZONTAL ELLIPSIS}", "318", "0", "2 (fc.weight, fc.bias)",
    )  # fmt: skip
    assert table.rows[1].cells == ("resnet+imagenet", "imagenet", "318", "0", "0")
    assert transfers_table([]) is None


def test_every_pair_has_a_row(inputs):
    table = pairs_table(inputs.summary)
    assert [row.cells[1] for row in table.rows[:3]] == ["CN vs MCI", "CN vs AD", "MCI vs AD"]
    assert len(table.rows) == 6


def test_published_results_stand_beside_the_papers_arms_only(inputs, published):
    reference = read_reference()
    assert reference.beside(["unet", "unet+brats"]) == {}
    assert reference.beside([*published.experiment.arms, "seventh"]) == {}
    table = mae_table(published, reference)
    row, mae = cells(table, "unet+brats"), published.summary.arm("unet+brats").mae
    assert (row[2], row[5]) == ("3.19 (0.08)", "3.08 (0.08)")
    assert row[6].lstrip("+\N{MINUS SIGN}") == f"{abs(mae.mean_years - 3.079):.2f}"
    assert row[6].startswith("\N{MINUS SIGN}") == (mae.mean_years < 3.079)
    assert cells(table, "More et al. 2023")[5] == "6.56"
    assert cells(table, "Null model")[4] == f"{published.summary.null.mae_years:.2f}"
    numbers = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert float(numbers[1]["test_difference_years"]) == mae.mean_years - 3.079
    assert any("Other data" in note and "BRACIS 2023" in note for note in table.notes)
    assert cells(delta_table(published.summary, reference), "resnet")[-2] == "0.192 (0.245)"
    p = published.summary.arm("resnet").pair("MCI", "AD").p_mean
    assert cells(delta_table(published.summary, reference), "resnet")[-1] == signed(p - 0.192, 3)
    assert all(len(row.cells) == len(table.header) for row in table.rows)


def test_the_literature_stands_beside_any_experiment_and_is_marked_as_other_data(inputs):
    table = mae_table(inputs, read_reference())
    test = table.header.index("Test MAE")
    works = {row.cells[0]: row.cells[test] for row in table.rows if row.cells[0].endswith("*")}
    assert works == {
        "Pacheco et al. 2023, unet+brats*": "3.08", "Lee et al. 2022*": "3.10", "Poloni and Ferrari 2022*": "3.66",
        "Ly et al. 2020*": "3.70", "Lam et al. 2020*": "3.96", "More et al. 2023*": "6.56",
    }  # fmt: skip
    assert all(row.aside for row in table.rows if row.cells[0] in works)
    assert table.notes[-1].startswith("* Other data, not comparable row by row")
    numbers = table.numbers.set_index("arm")
    assert numbers.loc["More et al. 2023", "published_test_mean_years"] == 6.56
    assert np.isnan(numbers.loc["More et al. 2023", "test_mean_years"])


@pytest.mark.shared_data
def test_published_numbers_are_those_of_the_shared_table(shared_data, published):
    ours = read_reference()
    theirs = yaml.safe_load((shared_data.parent / "reference" / "paper_results.yaml").read_text())
    for name, arm in theirs["arms"].items():
        mine = ours.arms[name]
        assert [mine.search_validation_mae.mean, mine.search_validation_mae.sd] == arm["validation_mae"]
        assert [mine.refit_test_mae.mean, mine.refit_test_mae.sd] == arm["test_mae_refit"]
        assert [mine.refit_test_p.mean, mine.refit_test_p.max] == arm["test_p_refit"]
    assert ours.literature_test_mae == theirs["literature_test_mae"]


def test_settings_count_the_trials(inputs):
    table = settings_table(inputs.studies)
    assert table.header == ("Arm", "batch_size", "lr", "Epochs", "Complete", "Pruned", "Failed")
    assert cells(table, "unet")[-3:] == ("9", "4", "1")
    assert settings_table({}) is None


def test_settings_that_changed_during_training_say_when(inputs):
    rate = "training.optimizer.lr"
    study = replace(inputs.studies["unet"], params={rate: 0.01})
    later = SettingsChange(after_epoch=4, params={rate: 0.002})
    first = SettingsChange(after_epoch=0, params={rate: 0.005})
    for changes, shown in (((later,), "0.01, 2e-3 after epoch 4"), ((first, later), "5e-3, 2e-3 after epoch 4")):
        assert cells(settings_table({"unet": replace(study, changes=changes)}), "unet")[1] == shown


def test_data_counts_people_once():
    manifest = manifest_of()
    table = data_table(manifest)
    group = manifest[(manifest["split"] == "train") & (manifest["diagnosis"] == "CN")]
    row = table.rows[0].cells
    assert row[:4] == ("train", "CN", str(group["person"].nunique()), str(len(group)))
    assert int(row[6]) + int(row[7]) == group["person"].nunique()
    assert [r.cells[0] for r in table.rows[::3]] == ["train", "validation", "test"]


def test_the_ledger_adds_up_and_names_what_was_left_out():
    ledger = ledger_of(out=23)
    counts = [int(row.cells[2]) for row in reasons_table(ledger).rows]
    assert sum(counts[:-1]) == counts[-1] == 923
    assert len(left_out_table(ledger).rows) == 23
    assert left_out_table(ledger_of(out=0)) is None


def test_checksums_are_cut_in_print_but_whole_in_the_csv(inputs):
    table = openings_table(inputs)
    assert table.rows[0].cells[3] == "unet seed 0 9f86d08188\N{HORIZONTAL ELLIPSIS}"
    assert inputs.test_openings[0]["model"] in table.to_csv()
    assert openings_table(replace(inputs, test_openings=())) is None


def test_time_adds_up(inputs):
    table = time_table(inputs)
    assert cells(table, "all stages")[1:] == ("4 h 24 min", "10 h 48 min", "3.67")
    assert cells(table, "search")[1:] == ("2 h 30 min", "9 h 30 min", "2.38")
    assert cells(table, "prepare")[2:] == ("\N{EM DASH}", "\N{EM DASH}")


def test_long_tables_are_cut_on_the_page_but_not_in_the_csv():
    table = Table("many", "Many", ("A", "B"), tuple(Row((str(i), "x")) for i in range(LONGEST + 5)))
    assert len(table.shown) == LONGEST
    assert table.remarks == (f"The first {LONGEST} of {LONGEST + 5} rows; tables/many.csv has all.",)
    assert table.to_csv().count("\n") == LONGEST + 6


def test_markdown_escapes_bars_and_aligns_numbers():
    table = Table("t", "T", ("A", "B", "C"), (Row(("a|b", "c", "1")),), ("Note.",), text_columns=2)
    assert table.to_markdown().splitlines() == [
        "| A | B | C |", "| --- | --- | ---: |", "| a\\|b | c | 1 |", "", "Note.",
    ]  # fmt: skip


def test_tex_is_escaped_and_sets_the_null_model_apart():
    rows = (Row(("unet_1", "<0.001")), Row(("Null & void", "\N{MINUS SIGN}1 %"), aside=True))
    tex = Table("t", "Errors", ("Arm", "p"), rows).to_tex()
    assert r"unet\_1 & $<$0.001 \\" in tex
    assert "\\midrule\nNull \\& void & $-$1 \\% \\\\" in tex
    assert r"\begin{tabular}{lr}" in tex
    assert escape_tex("\\{}") == r"\textbackslash{}\{\}"
