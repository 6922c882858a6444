"""The core stays light: importing it loads no engine, and the config not even torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENGINES = ["ray", "mlflow", "optuna"]


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("brainage_ray.config", [*ENGINES, "torch", "pandas", "monai"]),
        ("brainage_ray.training", ENGINES),
        ("brainage_ray.training.recorder", ENGINES),
    ],
)
def test_a_fresh_interpreter_loads_no_engine(package: str, absent: list[str]):
    code = f"import sys, {package}; print(*[name for name in {absent!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
