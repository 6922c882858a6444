"""A model as MLflow's pyfunc: its files, the code that reads them and the packages, nothing pickled."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainage_ray.tracking.client import load_mlflow

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PyfuncParts:
    """What a pyfunc is made of."""

    files: Path
    """Folder that the loader is given."""
    loader: str
    """Module whose `_load_pyfunc` opens that folder; MLflow asks for this name."""
    code: Path | None
    """Package that is copied into the model; None: who loads it has it."""
    requirements: Sequence[str]
    """As pip takes them."""
    inputs: Mapping[str, str]
    """Type by column, in MLflow's names."""
    outputs: Mapping[str, str]
    """As inputs."""
    example: pd.DataFrame | None = None
    """Of an input."""


def load_pyfunc() -> None:
    """Import MLflow's pyfunc without what it says about its own code."""
    load_mlflow()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        import mlflow.pyfunc  # noqa: F401


def save_pyfunc(to: Path, parts: PyfuncParts) -> None:
    """Write a pyfunc into a new or empty folder."""
    load_pyfunc()
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    def schema(columns: Mapping[str, str]) -> Any:
        return Schema([ColSpec(kind, name) for name, kind in columns.items()])

    with warnings.catch_warnings():  # of pandas, about MLflow's way of writing the example
        warnings.filterwarnings("ignore", "Operation with range is deprecated")
        mlflow.pyfunc.save_model(
            to,
            loader_module=parts.loader,
            data_path=str(parts.files),
            code_paths=[str(parts.code)] if parts.code else None,
            pip_requirements=list(parts.requirements),
            signature=ModelSignature(schema(parts.inputs), schema(parts.outputs)),
            input_example=parts.example,
        )
