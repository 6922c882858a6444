"""What the driver does while a study runs: between the engine's trials, the study on disk and the recorder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from brainage_ray.config.run import TrainingRun, apply_params
from brainage_ray.errors import NoSpaceError
from brainage_ray.execution.results import StudyPlan, TrialResult, equip
from brainage_ray.execution.study import OpenTrial, Study
from brainage_ray.training.recorder import Recorder, RunInfo, Status


class StudySession:
    """Asks, listens and tells, for the trials that the engine names by ids of its own.

    Args:
        plan: of the study.
        study: open.
        recorder: told of every trial.
    """

    def __init__(self, plan: StudyPlan, study: Study, recorder: Recorder) -> None:
        self._plan, self._study, self._recorder = plan, study, recorder
        self._flying: dict[str, OpenTrial] = {}
        self._last: dict[str, Mapping[str, Any]] = {}
        self._pruned: set[str] = set()
        self.problem: Exception | None = None
        """The first that was raised while the engine called: the engine itself makes text of it."""

    @property
    def finished(self) -> bool:
        """Tell whether no place waits and no trial flies."""
        return not self._flying and self._study.open_places == 0

    def begin(self, engine_id: str) -> list[TrainingRun] | None:
        """Start a trial; return a run per seed, or None where no place waits."""
        trial = self._study.ask()
        if trial is None:
            return None
        self._flying[engine_id] = trial
        self._recorder.started(trial_info(self._plan, trial.number, trial.params))
        return trial_runs(self._plan, trial.number, trial.params)

    def hear(self, engine_id: str, report: Mapping[str, Any]) -> bool:
        """Take a report of a trial's process; return whether the trial is to stop.

        Args:
            engine_id: of the trial.
            report: of an epoch (epoch, seed_values, metrics), or of its failure (failure, reason).

        Raises:
            NoSpaceError: the trial found the disk full, or the study does.
        """
        trial = self._flying[engine_id]
        if report.get("failure") == "full":
            raise NoSpaceError(report["reason"])
        self._last[engine_id] = report
        if "failure" in report:
            return False
        self._recorder.epoch(self._key(trial), report["epoch"], report["metrics"])
        delta_auc = report["metrics"].get("validation_delta_auc")
        if self._study.report(trial, report["epoch"], report["seed_values"], delta_auc):
            self._pruned.add(engine_id)
        return engine_id in self._pruned

    def end(self, engine_id: str) -> None:
        """Close a trial that ended, was stopped, failed or lost its process."""
        trial = self._flying.pop(engine_id, None)
        if trial is None:
            return
        last = self._last.pop(engine_id, {})
        seconds = float(last.get("seconds", 0.0))
        if last.get("failure") or not self._ended(engine_id, trial):
            lost = "its process died; look for lack of memory"
            again = self._study.fail(trial, last.get("failure", "lost"), last.get("reason", lost), seconds)
            if not again:
                self._recorder.finished(self._key(trial), "failed", {})
            return
        state: Status = "pruned" if engine_id in self._pruned else "complete"
        best = self._study.tell(trial, "pruned" if state == "pruned" else "complete", seconds)
        self._recorder.finished(self._key(trial), state, {"best_validation_mae": best})

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the first problem of the blocks that the engine calls."""
        try:
            yield
        except Exception as error:
            self.problem = self.problem or error
            raise

    def abandon(self) -> None:
        """Note that the trials in flight were cut off: they are put again at the next start."""
        with suppress(NoSpaceError):  # only a note: trials that nobody closed are put again too
            for trial in self._flying.values():
                self._study.fail(trial, "interrupted", "the driver was stopped")
        self._flying.clear()

    def replay(self) -> None:
        """Tell the recorder of the trials that were answered before."""
        for trial in self._study.result().trials:
            if trial.state != "running":
                self._recorder.started(trial_info(self._plan, trial.number, trial.params))
                self._recorder.finished(trial_key(self._plan, trial.number), trial.state, _best(trial))

    def _ended(self, engine_id: str, trial: OpenTrial) -> bool:
        return engine_id in self._pruned or len(trial.seed_values) == trial.epochs

    def _key(self, trial: OpenTrial) -> str:
        return trial_key(self._plan, trial.number)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out: Tune writes its searcher into a file that nobody reads."""
        return {}


def trial_key(plan: StudyPlan, number: int) -> str:
    """Return the key under which a trial is recorded, the same after a restart."""
    return f"{plan.key}-{number:04d}"


def trial_info(plan: StudyPlan, number: int, params: Mapping[str, Any]) -> RunInfo:
    """Describe a trial to its listeners."""
    group = "study" if plan.kind == "trial" else "finalists"
    return RunInfo(trial_key(plan, number), f"{plan.kind}-{number:03d}", "trial", f"{plan.arm}/{group}", params)


def trial_runs(plan: StudyPlan, number: int, params: Mapping[str, Any]) -> list[TrainingRun]:
    """Return the runs of a trial, one per repeat; repeat i has the seed search.seed + i.

    Raises:
        ConfigError: a parameter does not fit its field.
    """
    resources = plan.resources
    run = equip(apply_params(plan.run, params), resources.cpus_per_trial, resources.gpus_per_trial)
    folder = plan.folder / "trials" / f"{number:03d}"
    return [
        run.model_copy(
            update={
                "seed": plan.search.seed + i,
                "initial": plan.initial[i % len(plan.initial)] if plan.initial else run.initial,
                "folder": folder / f"seed-{i}",
            }
        )
        for i in range(plan.search.seeds_per_trial)
    ]


def _best(trial: TrialResult) -> dict[str, float]:
    return {} if trial.best_value is None else {"best_validation_mae": trial.best_value}
