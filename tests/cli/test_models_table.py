from __future__ import annotations

import io

from rich.console import Console

from brainage_ray.cli.models_table import WIDE, models_tables

PLUS = {
    "name": "exp", "arm": "unet+brats", "aliases": ["champion", "unet_brats"], "champion": True, "date": "2026-12-01",
    "seeds": [0, 1], "validation_mae": 4.0, "validation_mae_sd": None, "test_mae": 4.25, "test_mae_sd": 0.1,
    "deltas": {"CN": [-0.5, 0.25], "AD": [3.0, None]}, "age_years": [20.4, 79.6], "leak": "The data leak: 1 [odd]",
}  # fmt: skip
OLD = {"name": "exp", "arm": "unet", "aliases": [], "champion": False, "date": "2026-11-01", "validation_mae": 5.0,
       "test_mae": None, "test_mae_sd": None}  # fmt: skip
OTHER = OLD | {"name": "other"}


def shown(width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    for table in models_tables([OLD, PLUS, OTHER], width):
        console.print(table)
    return console.file.getvalue()


def test_a_table_an_experiment_marks_the_chosen_arm_and_the_leak():
    text = shown(WIDE + 30)
    assert "unet+brats *" in text
    assert "unet *" not in text
    for words in ("4.25 (0.10) \N{DAGGER}", "-0.50 / +0.25", "+3.00", "20 to 80 years", "champion", "1 [odd]", "other"):
        assert words in text


def test_a_narrow_terminal_shows_every_number_within_its_width():
    text = shown(76)
    assert max(map(len, text.splitlines())) <= 76
    for words in (
        "validation 4.00",
        "test 4.25 (0.10)",
        "CN -0.50 / +0.25",
        "AD +3.00",
        "20 to 80 years",
        "seeds 0, 1",
    ):
        assert words in text
