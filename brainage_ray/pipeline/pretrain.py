"""Stage 2: the encoder weights that each arm starts from, shared by all arms that need the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brainage_ray.config import BackboneConfig, FitResult, ImportedWeights, SegmentationPretraining, TrainingRun
from brainage_ray.config.run import InitialWeights
from brainage_ray.errors import DataError, WeightsError
from brainage_ray.execution import Job
from brainage_ray.pipeline.chains import Node, chains
from brainage_ray.pipeline.imported import import_weights
from brainage_ray.pipeline.prepare import Prepared
from brainage_ray.pipeline.provenance import keep_provenance
from brainage_ray.pipeline.runs import flat, in_folder, team, this_commit, train_all
from brainage_ray.pipeline.session import Session
from brainage_ray.training import RunInfo

Repeats = tuple[InitialWeights, ...]
"""Encoder weights, one for each repeat of the pre-training; none for random weights."""


@dataclass(frozen=True)
class Pretrained:
    """All pre-training of an experiment."""

    weights: dict[Node, Repeats]
    fits: dict[Node, tuple[FitResult, ...]]
    """Of the segmentation stages."""

    def initial(self, backbone: BackboneConfig, chain: Sequence[str]) -> Repeats:
        """Return the weights that an arm's repeats start from; none for an arm without pre-training."""
        return self.weights[Node(backbone, tuple(chain))] if chain else ()


def pretrain(session: Session, prepared: Prepared) -> Pretrained:
    """Fetch or train the weights of every chain, shorter chains first.

    Raises:
        DataError: a segmentation stage, and no cases to train it on.
        WeightsError: imported weights that do not fit.
        TrialFailed: a training ended with NaN.
    """
    done = Pretrained({}, {})
    for level in chains(session.experiment):
        by_stage: dict[str, list[Node]] = defaultdict(list)
        for node in level:
            by_stage[node.chain[-1]].append(node)
        for stage, nodes in by_stage.items():
            config = session.experiment.pretraining[stage]
            if isinstance(config, ImportedWeights):
                done.weights.update({node: import_weights(session, config, node) for node in nodes})
            else:
                _segment(session, prepared, config, nodes, done)
    return done


def _segment(
    session: Session, prepared: Prepared, config: SegmentationPretraining, nodes: Sequence[Node], done: Pretrained
) -> None:
    """Train one stage for all nodes that end with it, as one Ray Train job."""
    if prepared.segmentation is None:
        raise DataError(
            f"Pre-training {nodes[0].chain[-1]} needs scans with a segmentation, and no source has any",
            "Add a brats or phantom source under data.sources, or take the arms with this stage out.",
        )
    jobs = {node: segmentation_jobs(session, prepared, config, node, done) for node in nodes}
    todo = [job for some in jobs.values() for job in some]
    by_key = train_all(session, f"pretrain {nodes[0].chain[-1]}", todo, config)
    keep_provenance(session.experiment.name, [job.run for job in todo], by_key, prepared.segmentation.manifest)
    for node, some in jobs.items():
        done.fits[node] = tuple(by_key[job.run.key] for job in some)
        done.weights[node] = tuple(encoder_of(fit) for fit in done.fits[node])


def encoder_of(fit: FitResult) -> InitialWeights:
    """Return the encoder that a pre-training left.

    Raises:
        WeightsError: it left none.
    """
    if fit.encoder is None or fit.encoder_sha256 is None:
        raise WeightsError(f"Pre-training {fit.key} left no encoder", "Remove its folder and run again.")
    return InitialWeights(path=fit.encoder, sha256=fit.encoder_sha256)


def segmentation_jobs(
    session: Session, prepared: Prepared, config: SegmentationPretraining, node: Node, done: Pretrained
) -> list[Job]:
    """Return the trainings of a segmentation stage, one per repeat; shorter chains are in `done`."""
    before = done.initial(node.backbone, node.chain[:-1])
    return [_job(session, prepared, config, node, seed, repeat(before, seed)) for seed in range(config.seeds)]


def repeat(weights: Repeats, i: int) -> InitialWeights | None:
    """Return the weights of repeat i, modulo their number; None where there are none."""
    return weights[i % len(weights)] if weights else None


def _job(
    session: Session,
    prepared: Prepared,
    config: SegmentationPretraining,
    node: Node,
    seed: int,
    initial: InitialWeights | None,
) -> Job:
    store = prepared.segmentation
    assert store is not None
    cases = store.manifest
    mine = cases[cases["cohort"].isin(config.cohorts)] if config.cohorts else cases
    run = TrainingRun(
        task="segmentation", backbone=node.backbone, training=config.training, seed=seed, store=store.folder,
        store_hash=store.content_hash, cohorts=config.cohorts, team=team(config), initial=initial, folder=Path(),
        validation_split="validation" if (mine["split"] == "validation").any() else None, commit=this_commit(),
    )  # fmt: skip
    run = in_folder(run, session.folder / "pretraining" / node.label / f"seed-{seed}")
    info = RunInfo(run.key, f"{node.label} seed {seed}", "pretrain", f"pretraining/{node.label}",
                   {"seed": seed, **flat(config.training.to_json(), "training")})  # fmt: skip
    return Job(info, run)
