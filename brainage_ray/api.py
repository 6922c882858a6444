"""What a notebook needs, five names: load_experiment, run_experiment, load_model, predict, audit.

    from brainage_ray import audit, load_experiment, load_model, predict, run_experiment

Whoever wants more (bars, servers, a plan) finds it in `brainage_ray.pipeline`, which these call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import brainage_ray.config
from brainage_ray import pipeline

if TYPE_CHECKING:
    import pandas as pd

    from brainage_ray.config import Experiment
    from brainage_ray.data import AuditReport
    from brainage_ray.pipeline import ExperimentResult, ModelFolder, PredictOptions

AnyPath = str | PathLike[str]


@dataclass(frozen=True)
class Model:
    """The final models of an arm, one a seed, that read ages together."""

    folder: Path
    about: ModelFolder
    """Settings, preprocessing, checksums, and the commit and data that they come from."""

    def __str__(self) -> str:
        """Return EXPERIMENT/ARM."""
        return f"{self.about.experiment}/{self.about.arm}"


def load_experiment(path: AnyPath, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file.

    Args:
        path: of the YAML file.
        overrides: each ``key.path=value``, as after ``--set``.

    Raises:
        ConfigError: what is wrong, with file, key, value and fix.

    >>> experiment = load_experiment("experiment.yaml", ["training.max_epochs=50"])
    >>> experiment.training.max_epochs
    50
    """
    return brainage_ray.config.load_experiment(Path(path), overrides)


def run_experiment(
    experiment: Experiment, workspace: AnyPath = "runs", address: str | None = None, until: str = "report"
) -> ExperimentResult | None:
    """Run an experiment, or go on with it; what is done already is not done again.

    Args:
        experiment: as `load_experiment` returns it.
        workspace: folder for everything that is made, or the URI of one.
        address: of a Ray cluster; None for one on this machine.
        until: last stage to run: prepare, pretrain, search, refit, evaluate or report.

    Returns:
        The result, or None where the run ended before the evaluation.

    Raises:
        BrainageError: what failed; everything done before is kept.

    >>> result = run_experiment(load_experiment("experiment.yaml"))
    >>> sorted(result.validation_mae) == sorted(load_experiment("experiment.yaml").arms)
    True
    """
    return pipeline.run_experiment(
        experiment, workspace if isinstance(workspace, str) else Path(workspace), address, until
    )


def load_model(where: AnyPath, workspace: AnyPath = "runs") -> Model:
    """Open models, and check every file of them against its checksum.

    Args:
        where: a folder that `brainage pull` made, or EXPERIMENT/ARM in a workspace.
        workspace: that has the experiment.

    Raises:
        ConfigError: there is no model.
        WeightsError: a file is missing, or not what was stored.

    >>> model = load_model("tiny/unet")
    >>> str(model), len(model.about.members)
    ('tiny/unet', 2)
    """
    folder = _model_folder(where, workspace)
    return Model(folder, pipeline.read_model_folder(folder))


def predict(
    model: Model | AnyPath, inputs: Iterable[AnyPath] | AnyPath, options: PredictOptions | None = None
) -> pd.DataFrame:
    """Read the brain age off T1 scans, of heads or of brains.

    Args:
        model: as `load_model` returns it, or what it takes.
        inputs: NIfTI files, folders, BIDS datasets, or tables with a column image; one or several.
        options: device, workers, a folder for pages and the like.

    Returns:
        One row a scan, in the order given: image, status (ok, flagged or failed), brain_age_years (mean over the
        seeds), low_years and high_years (a 95 % interval, for scans that are ok), delta_years and
        corrected_delta_years where an age is known, flags, error and more: see docs/predict.md. A scan that cannot be
        read has an error and no age; one that is no T1 scan of a brain has flags and no age.

    Raises:
        ConfigError, WeightsError: there is no whole model.

    >>> ages = predict("tiny/unet", ["scan.nii.gz", "missing.nii.gz"])
    >>> list(ages["error"])
    ['', 'There is no file missing.nii.gz. Give the path of a NIfTI file.']
    >>> bool(18 < ages["brain_age_years"][0] < 120)
    True
    """
    folder = model.folder if isinstance(model, Model) else _model_folder(model)  # which predict reads and checks
    paths = [inputs] if isinstance(inputs, str | PathLike) else inputs
    from brainage_ray.data.given import find_given  # here: it loads nibabel and pandas

    return pipeline.predict(folder, find_given(Path(path) for path in paths), options)


def audit(experiment: Experiment, workspace: AnyPath = "runs") -> AuditReport:
    """Look for leaks: people in two splits, images that are there twice, test people in pre-training.

    Args:
        experiment: as `load_experiment` returns it.
        workspace: whose prepared data, or cache of hashes, are used.

    Raises:
        MetadataError: a source cannot be read, or a label is unknown.

    >>> audit(load_experiment("experiment.yaml")).leaks
    0
    """
    return pipeline.audit_experiment(experiment, Path(workspace).absolute()).report


def _model_folder(where: AnyPath, workspace: AnyPath = "runs") -> Path:
    experiment, _, arm = str(where).partition("/")
    inside = Path(workspace, experiment, "models", arm)
    return inside if arm and not Path(where).exists() and inside.is_dir() else Path(where)
