"""Stage 5: the final models, on train + validation with the chosen settings and epochs."""

from __future__ import annotations

from brainage_ray.config import apply_params
from brainage_ray.execution import Job
from brainage_ray.pipeline.fitted import FittedModel
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.pretrain import Pretrained, repeat
from brainage_ray.pipeline.provenance import keep_provenance
from brainage_ray.pipeline.runs import in_folder, team, train_all
from brainage_ray.pipeline.search import age_run
from brainage_ray.pipeline.select import Selected
from brainage_ray.pipeline.session import Session
from brainage_ray.training import RunInfo
from brainage_ray.training.recorder import tell_changes


def refit(
    session: Session, prepared: Prepared, pretrained: Pretrained, selected: dict[str, Selected]
) -> list[FittedModel]:
    """Train one model per arm and seed, all in one Ray Train job: its start costs more than many runs.

    Raises:
        TrialFailed: a training ended with NaN.
    """
    config = session.experiment.refit
    jobs: dict[tuple[str, int], Job] = {
        (arm, seed): job
        for arm in session.experiment.arms
        for seed, job in refit_jobs(session, prepared, pretrained, arm, selected[arm]).items()
    }
    by_key = train_all(session, "refit", list(jobs.values()), config)
    keep_provenance(session.experiment.name, [job.run for job in jobs.values()], by_key, prepared.age.manifest)
    return [FittedModel(arm, seed, job.run, by_key[job.run.key]) for (arm, seed), job in jobs.items()]


def refit_jobs(
    session: Session, prepared: Prepared, pretrained: Pretrained, arm: str, selected: Selected
) -> dict[int, Job]:
    """Return the final trainings of an arm by seed."""
    seeds = session.experiment.refit.seeds
    return {seed: _job(session, prepared, pretrained, (arm, i, seed), selected) for i, seed in enumerate(seeds)}


def _job(
    session: Session, prepared: Prepared, pretrained: Pretrained, which: tuple[str, int, int], selected: Selected
) -> Job:
    name, i, seed = which
    arm = session.experiment.arms[name]
    initial = pretrained.initial(arm.backbone, arm.pretraining)
    run = apply_params(age_run(session, prepared, arm), selected.params).model_copy(
        update={
            "seed": seed,
            "train_splits": ("train", "validation"),
            "validation_split": None,
            "stop_after_epochs": selected.epochs,
            "changes": selected.changes,
            "initial": repeat(initial, i),
            "keep_weights": True,
            "team": team(session.experiment.refit),
            "threads": max(1, int(session.experiment.resources.cpus_per_worker)),
        }
    )
    run = in_folder(run, session.folder / "refit" / name / f"seed-{seed}")
    params = {"seed": seed, "epochs": selected.epochs, **selected.params}
    return Job(
        RunInfo(run.key, f"{name} seed {seed}", "refit", f"{name}/refit", params, tell_changes(run.changes)), run
    )
