from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_plans import LR_RANGE, Heard, make_plan
from training_stores import TINY_UNET
from training_stores import make_run as tiny_run

from brainage_ray.config import TrainingRun
from brainage_ray.data import SliceStore
from brainage_ray.errors import EngineError
from brainage_ray.execution import StudyPlan
from brainage_ray.execution.memory import GIB
from brainage_ray.execution.session import StudySession, trial_runs
from brainage_ray.execution.study import Study
from brainage_ray.execution.trial import TrialActor
from brainage_ray.execution.trial_files import TrialFiles, bytes_in, reserve
from brainage_ray.models import build_age_model, load_state, read_weights
from brainage_ray.training import epochs as real_epochs


def counted(run: TrainingRun) -> Iterator[dict[str, float]]:
    """The real training, which appends a line to the study's `trained` for each epoch that it computes."""
    import brainage_ray.training.loop as loop

    compute = loop._Training.run_epoch

    def run_epoch(self: Any) -> dict[str, float]:
        metrics = compute(self)
        with (self.run.folder.parents[2] / "trained").open("a") as file:
            file.write(f"{self.run.folder.parent.name} {self.run.seed} {len(self.curve)}\n")
        return metrics

    progress = real_epochs(run)
    while True:
        loop._Training.run_epoch = run_epoch
        try:
            metrics = next(progress)
        except StopIteration:
            return
        finally:
            loop._Training.run_epoch = compute
        yield metrics


def real_plan(ages: SliceStore, folder: Path, max_epochs: int = 3, space: Any = LR_RANGE, **search: Any) -> StudyPlan:
    plan = make_plan(folder, space, **search)
    return replace(plan, run=tiny_run(ages, folder, {"max_epochs": max_epochs}, keep_weights=False))


def actor_for(session: StudySession, name: str, source: Any = counted) -> TrialActor | None:
    runs = session.begin(name)
    if runs is None:
        return None
    actor = TrialActor.__new__(TrialActor)
    actor.setup(session.config(runs), source)
    return actor


def run_to_the_end(session: StudySession, actor: TrialActor, name: str) -> None:
    done = False
    while not done:
        report = actor.step()
        done = session.hear(name, report) or report["done"]
    actor.cleanup()
    session.end(name)


def trained(plan: StudyPlan) -> list[str]:
    return (plan.folder / "trained").read_text().splitlines()


def files_of(plan: StudyPlan, number: int) -> set[str]:
    return {path.name for path in (plan.folder / "trials" / f"{number:03d}").rglob("*") if path.is_file()}


def test_a_trial_whose_driver_died_goes_on_after_its_last_epoch(ages: SliceStore, tmp_path: Path):
    plan = real_plan(ages, tmp_path, max_epochs=4, trials=1, seeds_per_trial=2)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        actor = actor_for(session, "a")
        for _ in range(2):
            session.hear("a", actor.step())
        assert files_of(plan, 0) == {"checkpoint.pt", "best.safetensors"}
    (plan.folder / "trials/000/seed-1/.checkpoint.pt.0123abcd.partial").write_text("half of a file")
    heard = Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        assert session.begin("b") is not None
        session.abandon()
        assert files_of(plan, 0) == {"checkpoint.pt", "best.safetensors"}
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        run_to_the_end(session, actor_for(session, "c"), "c")
        (result,) = study.result().trials
    assert trained(plan) == [f"000 {seed} {epoch}" for epoch in (1, 2, 3, 4) for seed in (0, 1)]
    (told,) = heard.epochs.values()
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4]
    assert len(result.values) == 4
    assert files_of(plan, 0) == {"curve.json", "best.safetensors", "result.json", "validation_slices.npy"}
    undisturbed = real_plan(ages, tmp_path / "undisturbed", max_epochs=4, trials=1, seeds_per_trial=2)
    with Study(undisturbed) as study:
        session = StudySession(undisturbed, study, Heard())
        run_to_the_end(session, actor_for(session, "a"), "a")
        assert study.result().trials[0].seed_values == result.seed_values


def test_a_paused_trial_goes_on_in_another_process(ages: SliceStore, tmp_path: Path):
    plan = real_plan(ages, tmp_path, trials=1)
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        first = actor_for(session, "a")
        for _ in range(2):
            session.hear("a", first.step())
        saved = first.save_checkpoint("")
        first.cleanup()
        second = TrialActor.__new__(TrialActor)
        second.setup(session.config(trial_runs(plan, 0, study.result().trials[0].params)), counted)
        second.load_checkpoint(saved)
        report = second.step()
        assert report["epoch"] == 3
        session.hear("a", report)
        session.end("a")
        assert len(study.result().trials[0].values) == 3
    assert trained(plan) == ["000 0 1", "000 0 2", "000 0 3"]


def test_an_epoch_that_is_told_twice_counts_once(tmp_path: Path):
    plan, heard = make_plan(tmp_path, LR_RANGE, epochs=2, trials=1), Heard()
    with Study(plan) as study:
        session = StudySession(plan, study, heard)
        session.begin("a")
        for number in (1, 1, 2):
            session.hear("a", {"epoch": number, "seed_values": [5.0 - number], "metrics": {}})
        session.end("a")
        assert study.result().trials[0].values == (4.0, 3.0)
    assert [len(told) for told in heard.epochs.values()] == [2]


def test_the_kept_weights_are_those_of_the_trials_best_epoch(ages: SliceStore, tmp_path: Path):
    plan = real_plan(ages, tmp_path, max_epochs=6, trials=1, seeds_per_trial=2, smooth_epochs=2)
    after: dict[tuple[int, int], dict[str, torch.Tensor]] = {}

    def source(run: TrainingRun) -> Iterator[dict[str, float]]:
        for epoch, metrics in enumerate(real_epochs(run), 1):
            after[run.seed, epoch] = torch.load(run.folder / "checkpoint.pt", weights_only=True)["model"]
            yield {**metrics, "validation_mae": abs(epoch - 3.25 - run.seed)}

    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        run_to_the_end(session, actor_for(session, "a", source), "a")
        (result,) = study.result().trials
    assert result.best_epoch == 4
    for run in trial_runs(plan, 0, result.params):
        kept, wanted = read_weights(run.folder / "best.safetensors"), after[run.seed, result.best_epoch]
        assert kept.keys() == wanted.keys()
        assert all(torch.equal(kept[name], wanted[name]) for name in kept)
        load_state(build_age_model(run.backbone, run.training), run.folder / "best.safetensors")


@pytest.mark.slow
def test_a_hundred_trials_stay_inside_the_budget(ages: SliceStore, tmp_path: Path):
    search = {"sampler": "random", "scheduler": "asha", "grace_epochs": 1, "trials": 100}
    plan = real_plan(ages, tmp_path, max_epochs=2, **search)
    plan = replace(plan, search=plan.search.model_copy(update={"checkpoint_gib": 2**20 / GIB}))
    largest = 0
    with Study(plan) as study:
        session = StudySession(plan, study, Heard())
        session.files.reserved = reserve(plan, at_once=2)
        flying = {name: actor_for(session, name) for name in "ab"}
        while flying:
            for name, actor in list(flying.items()):
                report = actor.step()
                largest = max(largest, bytes_in(plan.folder / "trials"))
                if session.hear(name, report) or report["done"]:
                    actor.cleanup()
                    session.end(name)
                    flying[name] = actor_for(session, name)
                    flying = {name: actor for name, actor in flying.items() if actor is not None}
        result = study.result()
    states = {trial.state for trial in result.trials}
    assert result.done
    assert states == {"complete", "pruned"}
    assert largest <= 2**20
    kept = {int(path.parts[-3]) for path in plan.folder.glob("trials/*/*/best.safetensors")}
    by_value = sorted(result.trials, key=lambda trial: (trial.state != "complete", trial.best_value))
    assert kept == {trial.number for trial in by_value[: len(kept)]}
    assert 0 < len(kept) < 100
    assert not list(plan.folder.glob("trials/*/*/checkpoint.pt"))


def write(folder: Path, number: int, best: int, checkpoint: int = 0) -> None:
    for name, size in (("best.safetensors", best), ("checkpoint.pt", checkpoint), ("result.json", 1)):
        path = folder / f"{number:03d}" / "seed-0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))


def left(folder: Path, name: str) -> set[int]:
    return {int(path.parts[-3]) for path in folder.glob(f"*/*/{name}")}


def test_the_worst_go_first_and_the_best_never(tmp_path: Path):
    files = TrialFiles(tmp_path, budget=40, reserved=10)
    write(tmp_path, 9, 15, 15)  # in flight
    ends = [("pruned", 1.0), ("complete", 3.0), ("failed", None), ("complete", 2.0), ("complete", 4.0)]
    for number, (state, value) in enumerate(ends):
        write(tmp_path, number, 10, 10)
        files.end(number, state, value)
    assert left(tmp_path, "best.safetensors") == {1, 3, 9}
    assert left(tmp_path, "checkpoint.pt") == {9}
    write(tmp_path, 5, 60)
    files.end(5, "complete", 1.0)
    assert left(tmp_path, "best.safetensors") == {5, 9}
    assert left(tmp_path, "result.json") == {0, 1, 2, 3, 4, 5, 9}


def test_a_trial_that_a_later_start_may_try_again_keeps_its_checkpoint_until_one_is_complete(tmp_path: Path):
    files = TrialFiles(tmp_path, budget=100)
    for number in (0, 1):
        write(tmp_path, number, 10, 10)
        files.end(number, "failed", None, may_go_on=number == 0)
    assert left(tmp_path, "checkpoint.pt") == {0}
    write(tmp_path, 2, 10)
    files.end(2, "complete", 5.0)
    write(tmp_path, 3, 10, 10)
    files.end(3, "failed", None, may_go_on=True)
    assert left(tmp_path, "checkpoint.pt") == set()
    assert files._total == bytes_in(tmp_path)


def test_checkpoints_that_cannot_fit_are_refused_with_the_numbers(ages: SliceStore, tmp_path: Path):
    space = {**LR_RANGE, "backbone.width": {"type": "float", "low": 0.125, "high": 0.5}}
    plan = real_plan(ages, tmp_path, space=space, seeds_per_trial=2)
    largest = TINY_UNET.model_copy(update={"width": 0.5})
    weights = sum(value.numel() for value in build_age_model(largest, plan.run.training).state_dict().values())
    wanted = (3 * (2 * 4 + 3) + 2) * 4 * weights
    plan = replace(plan, search=plan.search.model_copy(update={"checkpoint_gib": wanted / GIB}))
    problem = r"unet do not fit into search.checkpoint_gib 0.0094: 3 trials at once, 2 seeds each, take \d.\d MiB"
    with pytest.raises(EngineError, match=problem):
        reserve(plan, at_once=3)
    assert 0.6 * wanted < reserve(plan, at_once=2) < 0.7 * wanted


def test_what_is_kept_of_a_trial_changes_no_key(tmp_path: Path):
    run = make_plan(tmp_path, LR_RANGE).run
    assert run.model_copy(update={"keep_best": True}).key == run.key
