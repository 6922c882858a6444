"""Gathers what the model card of an arm says, and what MLflow's registry is told of the arm's models."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from brainage_ray.config import ImportedWeights
from brainage_ray.config.base import digest
from brainage_ray.config.run import InitialWeights
from brainage_ray.data import PREPROCESSING_VERSION, atomic_write, read_provenance
from brainage_ray.data.anatomy import anatomy_steps
from brainage_ray.data.checksums import write_sums
from brainage_ray.evaluation.metrics import MaeSummary, summarise_mae
from brainage_ray.evaluation.predictions import baseline_scans
from brainage_ray.models import count_weights
from brainage_ray.pipeline.chains import Node
from brainage_ray.pipeline.judge import COLUMN_TYPES
from brainage_ray.pipeline.model_folder import ModelFolder, commits
from brainage_ray.pipeline.results import Results
from brainage_ray.pipeline.runs import flat
from brainage_ray.pipeline.session import Session
from brainage_ray.pipeline.verdict import validation_readings
from brainage_ray.report import CARD, Delta, Errors, ModelCard, People, Stage, card_text
from brainage_ray.report.audit_table import audit_sentence
from brainage_ray.report.text import count
from brainage_ray.tracking import Registration

CARD_JSON = "card.json"
"""The card's facts for programs."""
VERSIONS = ("brainage-ray", "torch", "monai", "numpy", "scipy", "nibabel", "nilearn", "safetensors")
SIGNATURE = {
    "inputs": json.dumps([{"type": "string", "name": "image", "required": True}]),
    "outputs": json.dumps([{"type": kind, "name": name, "required": True} for name, kind in COLUMN_TYPES.items()]),
}
"""Of the models of an arm together, as `predict` uses them, as MLflow's ModelSignature writes itself."""
EXAMPLE = {"columns": ["image"], "data": [["sub-01_T1w.nii.gz"]]}
"""Of an input: a row a scan."""


def seal(session: Session, results: Results, described: ModelFolder, folder: Path) -> Registration:
    """Write the card of an arm's models, and last of all the checksums of everything in their folder.

    Args:
        session: of the experiment.
        results: what it came to.
        described: the models.
        folder: that holds them, and whatever else belongs to them.

    Returns:
        What the registry is told.
    """
    card = make_card(session, results, described)
    text = card_text(card, session.experiment)
    for name, content in ((CARD_JSON, json.dumps(card.to_json(), indent=1)), (CARD, text)):
        with atomic_write(folder / name) as file:
            file.write(content.encode())
    write_sums(folder)
    per_seed = dict(zip(card.test.seeds, card.test.per_seed, strict=False))
    return Registration(
        experiment=described.experiment,
        arm=described.arm,
        digest=digest(described.to_json()),
        champion=card.champion,
        facts=card.facts(),
        tags=_tags(card, described),
        seeds={
            m.seed: {"file": m.file, "sha256": m.sha256, "data_hash": card.data_hash}
            | ({"test_mae": f"{per_seed[m.seed]:.4f}"} if m.seed in per_seed else {})
            for m in described.members
        },
        card=text,
    )


def make_card(session: Session, results: Results, described: ModelFolder) -> ModelCard:
    """Gather the facts of an arm's card."""
    arm = described.arm
    models = [model for model in results.models if model.arm == arm]
    chosen, summary = results.searched.selected[arm], results.summary.arm(arm)
    learned, tested = (
        store.manifest[store.manifest["diagnosis"].isin(session.experiment.training.diagnoses)]
        for store in (results.prepared.age, results.prepared.test)
    )
    if session.experiment.evaluation.one_scan_per_subject == "baseline":
        tested = baseline_scans(tested)
    return ModelCard(
        experiment=described.experiment, arm=arm, champion=results.verdict.champion == arm,
        verdict=results.verdict.sentence, backbone=described.backbone.to_json(),
        weights=count_weights(described.backbone, described.training),
        seeds=tuple(member.seed for member in described.members),
        trained_on=people_of(learned), tested_on=people_of(tested),
        preprocessing=flat(described.preprocessing.identity()), steps=anatomy_steps(described.preprocessing),
        preprocessing_version=PREPROCESSING_VERSION, epochs=chosen.epochs, params=chosen.params, chosen=chosen.why,
        validation=_validation(results, arm), validation_mae_years=chosen.validation_mae,
        test=_errors(summary.mae), null_mae_years=results.summary.null.mae_years, deltas=_deltas(results, arm),
        audit=audit_sentence(results.prepared.audit), leak=results.prepared.audit.leak_sentence,
        chain=_chain(session, results, arm), data_hash=results.prepared.data_hash, commit=commits(models),
        date=datetime.now(UTC).date().isoformat(),
        versions={name: version(name) for name in VERSIONS} | {"Python": platform.python_version()},
    )  # fmt: skip


def people_of(scans: pd.DataFrame) -> People:
    """Describe scans of a manifest and whose they are."""
    age = scans["age_years"].to_numpy(dtype=np.float64)
    people = scans.drop_duplicates("person")
    sites = scans["site"].fillna("").astype(str)
    return People(
        scans=len(scans),
        people=len(people),
        age_years=(float(age.min()), float(age.max())) if len(age) else None,
        age_mean_years=float(age.mean()) if len(age) else None,
        age_sd_years=float(age.std(ddof=1)) if len(age) > 1 else None,
        sex=_counts(people["sex"]),
        diagnoses=_counts(scans["diagnosis"]),
        cohorts=_counts(scans["cohort"]),
        sites=_counts(sites) if sites.any() else {},
    )


def _counts(column: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in column.fillna("").astype(str).value_counts().items()}


def _validation(results: Results, arm: str) -> Errors:
    """Return the errors of the chosen settings' models in the search; none where their files are gone."""
    searched = results.searched
    reading = validation_readings(searched.plans, searched.studies, {arm: searched.selected[arm]}).get(arm)
    if reading is None:
        return Errors((), (), None, None, None, 0)
    read = reading.predicted()
    return _errors(summarise_mae(read.brain_ages, read.age, read.seeds))


def _errors(mae: MaeSummary) -> Errors:
    return Errors(mae.seeds, mae.per_seed_years, mae.mean_years, mae.sd_years, mae.ensemble_years, mae.n_scans)


def _deltas(results: Results, arm: str) -> tuple[Delta, ...]:
    corrected = results.analysis.arm(arm).corrected
    after = {group.diagnosis: group.mean_years for group in corrected.deltas} if corrected else {}
    raw = results.summary.arm(arm).deltas
    return tuple(Delta(g.diagnosis, g.n_scans, g.mean_years, after.get(g.diagnosis)) for g in raw)


def _chain(session: Session, results: Results, arm: str) -> tuple[Stage, ...]:
    """Describe each stage of pre-training, with whom its weights had seen."""
    config = session.experiment.arms[arm]
    stages = []
    for length, name in enumerate(config.pretraining, start=1):
        stage = session.experiment.pretraining[name]
        if isinstance(stage, ImportedWeights):
            about = f"weights from elsewhere, {Path(stage.uri).name}, SHA-256 {stage.sha256}"
        else:
            cohorts = f" of {', '.join(stage.cohorts)}" if stage.cohorts else ""
            epochs, seeds = count(stage.training.max_epochs, "epoch"), count(stage.seeds, "seed")
            about = f"tumour segmentation{cohorts}, {epochs}, {seeds}"
        weights = results.pretrained.weights[Node(config.backbone, config.pretraining[:length])]
        stages.append(_stage(name, about, weights))
    return tuple(stages)


def _stage(name: str, about: str, weights: Sequence[InitialWeights]) -> Stage:
    known = [read_provenance(one.path) for one in weights]
    seen = [one for one in known if one is not None]
    unknown = {name for one in seen for name in one.unknown} | ({"these weights"} if None in known else set())
    return Stage(
        name=name,
        about=about,
        people=len({person for one in seen for person in one.people}),
        images=len({image for one in seen for image in one.contents}),
        unknown=tuple(sorted(Path(one).name for one in unknown)),
    )


def _tags(card: ModelCard, described: ModelFolder) -> dict[str, str]:
    test = card.test
    return {
        "seeds": ", ".join(str(seed) for seed in card.seeds),
        "validation_mae": f"{card.validation_mae_years:.4f}",
        **({"test_mae": f"{test.mean:.4f}"} if test.mean is not None else {}),
        **({"test_mae_sd": f"{test.sd:.4f}"} if test.sd is not None else {}),
        "data_hash": card.data_hash,
        "audit": card.audit,
        "leak": card.leak or "none",
        "commit": card.commit,
        "preprocessing": json.dumps(described.preprocessing.identity()),
        "signature": json.dumps(SIGNATURE),
        "input_example": json.dumps(EXAMPLE),
    }
