from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_plans import LR_RANGE, make_plan

from brainage_ray.execution import expected_epochs


@pytest.mark.parametrize(
    ("search", "epochs", "expected"),
    [
        ({}, 50, 50.0),
        ({"scheduler": "asha", "grace_epochs": 1}, 8, 1 + 1 / 2 + 2 / 4 + 4 / 8),
        ({"scheduler": "asha", "grace_epochs": 10}, 50, 10 + 10 / 2 + 20 / 4 + 10 / 8),
        ({"scheduler": "asha"}, 40, 10 + 10 / 2 + 20 / 4),
        ({"scheduler": "asha", "grace_epochs": 100}, 8, 8.0),
        ({"scheduler": "hyperband", "grace_epochs": 2}, 8, (2 + 2 / 2 + 4 / 4 + 4 + 4 / 2 + 8) / 3),
        ({"scheduler": "median", "grace_epochs": 2}, 8, 5.0),
        ({"scheduler": "asha"}, 1, 1.0),
    ],
)
def test_epochs_are_those_that_the_rungs_let_through(
    tmp_path: Path, search: dict[str, Any], epochs: int, expected: float
):
    assert expected_epochs(make_plan(tmp_path, LR_RANGE, **search).search, epochs) == pytest.approx(expected)
