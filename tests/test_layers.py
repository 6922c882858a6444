"""The layers hold, and each engine has one importer."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure

PACKAGE = Path(__file__).resolve().parent.parent / "brainage_ray"
ONLY_IN = {"ray": "execution", "optuna": "execution", "mlflow": "tracking"}


def imports(file: Path) -> Iterator[str]:
    """Yield the top-level name of every import in a module, also of those inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def test_the_contracts_in_pyproject_are_kept():
    configure()
    assert lint_imports(str(PACKAGE.parent / "pyproject.toml"), cache_dir=None, no_logo=True)


@pytest.mark.parametrize(("engine", "package"), ONLY_IN.items())
def test_only_one_package_imports_the_engine(engine, package):
    users = {file.relative_to(PACKAGE).parts[0] for file in PACKAGE.rglob("*.py") if engine in imports(file)}
    assert users <= {package}


def test_no_import_is_relative():
    relative = [
        f"{file.name}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert relative == []


def test_the_check_sees_imports_inside_functions(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import os.path\ndef f():\n    from ray.tune import Tuner\n    import optuna as o\n")
    assert sorted(imports(module)) == ["optuna", "os", "ray"]


@pytest.mark.parametrize("module", ["brainage_ray.config", "brainage_ray.training"])
def test_the_core_loads_no_engine(module):
    code = f"import sys, {module}; print(sorted({set(ONLY_IN)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
