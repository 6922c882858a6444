from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from brainage_ray.errors import ConfigError
from brainage_ray.evaluation.arms import ArmComparison
from brainage_ray.evaluation.comparisons import PairComparison
from brainage_ray.evaluation.metrics import MaeSummary
from brainage_ray.report.comparison import ComparedArm, Comparison, PairedArm, comparison_tables, write_comparison

PAIR = PairComparison(
    "MCI", "AD", 5, 6, p=(0.01, 0.03), p_mean=0.02, p_max=0.03, auc_mean=0.75, auc_sd=0.0, auc_interval=(0.5, 0.9)
)
MAE = MaeSummary((0, 1), (3.0, 4.0), 3.5, 0.71, 4.0, 3.4, 12)
COMMIT = "0123456789" * 4


def arm_of(experiment="a", **changes):
    settings = {"training.optimizer.lr": 1e-4, "training.batch_size": 16}
    return replace(
        ComparedArm(experiment, "unet", 3.21, MAE, PAIR, settings, 7, "feedbeef" * 2, (COMMIT + "-dirty",)), **changes
    )


def comparison_of(**changes):
    found = ArmComparison("a", "b", 11, (2, 2), -0.5, (-1.25, 0.25), 0.2, 0.4)
    whole = Comparison(
        ("a", "b"),
        (arm_of(), arm_of("b", pair=None)),
        {"training.batch_size": ("8", None)},
        (PairedArm("unet", 12, found),),
        (),
    )
    return replace(whole, **changes)


def read(table):
    return list(csv.DictReader(io.StringIO(table.to_csv())))


def test_cells_of_an_arm():
    arms, _, _ = comparison_tables(comparison_of())
    assert arms.rows[0].cells == (
        "a", "unet", "3.21", "3.50 (0.71)", "12", "MCI vs AD", "0.020 (0.030)", "0.75 [0.50, 0.90]",
        "lr 1e-4, batch_size 16, 7 epochs", "feedbeef", "01234567-dirty",
    )  # fmt: skip
    assert arms.rows[1].cells[5:8] == ("—", "—", "—")
    first, second = read(arms)
    assert (first["test_mae_mean_years"], first["auc_low"], first["training.batch_size"]) == ("3.5", "0.5", "16")
    assert (first["commit"], first["data_hash"]) == (COMMIT + "-dirty", "feedbeef" * 2)
    assert (second["first"], second["p_mean"], second["auc_high"]) == ("", "", "")


def test_what_is_empty_says_why():
    empty = MaeSummary((0,), (), None, None, None, None, 0, "no scans of the diagnoses that count")
    untested = PairComparison("MCI", "AD", 1, 6, reason="MCI has 1 scan")
    arms, *_ = comparison_tables(comparison_of(arms=(arm_of(mae=empty, pair=untested),)))
    assert arms.rows[0].cells[3:8] == ("—", "0", "MCI vs AD", "—", "—")
    assert "— a, unet: no scans of the diagnoses that count." in arms.notes
    assert "— a, unet: MCI has 1 scan." in arms.notes
    alone = ArmComparison("a", "b", 1, (2, 2), -0.5, reason="one person has no spread")
    paired = comparison_tables(comparison_of(paired=(PairedArm("unet", 1, alone),)))[2]
    assert paired.rows[0].cells[5:] == ("\N{MINUS SIGN}0.50", "—", "—")
    assert "— a and b, unet: one person has no spread." in paired.notes


def test_settings_and_paired_differences():
    _, settings, paired = comparison_tables(comparison_of())
    assert (settings.header, settings.rows[0].cells) == (("Field", "a", "b"), ("training.batch_size", "8", "—"))
    assert paired.rows[0].cells == (
        "a",
        "b",
        "unet",
        "12",
        "11",
        "\N{MINUS SIGN}0.50 [\N{MINUS SIGN}1.25, 0.25]",
        "0.200",
        "0.400",
    )
    assert read(paired)[0]["difference_years"] == "-0.5"


def test_files(tmp_path):
    page = write_comparison(comparison_of(), tmp_path / "new" / "out")
    text, markdown = page.read_text(), (tmp_path / "new" / "out" / "report.md").read_text()
    assert not re.search(r"https?://|<script|src=|<link", text)
    for words in ("a, b", "3.50 (0.71)", "training.batch_size", "\N{MINUS SIGN}0.50 [\N{MINUS SIGN}1.25, 0.25]"):
        assert words in text
    assert "| a | unet | 3.21 | 3.50 (0.71) |" in markdown
    assert {path.name for path in (page.parent / "tables").iterdir()} == {"arms.csv", "settings.csv", "paired.csv"}


def test_without_differences_or_pairs_there_are_sentences(tmp_path):
    why = "a and b: the people differ, so no paired comparison is made."
    page = write_comparison(comparison_of(differences={}, paired=(), unpaired=(why,)), tmp_path)
    for text in (page.read_text(), (tmp_path / "report.md").read_text()):
        assert why in text
        assert "The rest of the experiment files is alike" in text
        assert "| Field" not in text
    assert not (tmp_path / "tables" / "paired.csv").exists()


def test_names_are_text(tmp_path):
    strange = "<b>&|"
    page = write_comparison(comparison_of(experiments=(strange, "b"), arms=(arm_of(strange),)), tmp_path)
    assert "&lt;b&gt;&amp;|" in page.read_text()
    assert "<b>&" not in page.read_text()
    assert "<b>&\\|" in (tmp_path / "report.md").read_text()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        write_comparison(comparison_of(), tmp_path / "file")
