"""What the driver does while a study runs: between the engine's trials, the study on disk and the recorder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from brainage_ray.config.run import SettingsChange, TrainingRun, apply_params
from brainage_ray.errors import EngineError, NoSpaceError
from brainage_ray.execution.budget import BudgetWatch
from brainage_ray.execution.memory import GIB
from brainage_ray.execution.preflight import trial_demand
from brainage_ray.execution.results import MACHINE, StudyPlan, StudyResult, TrialResult, equip
from brainage_ray.execution.study import OpenTrial, Study
from brainage_ray.execution.trial_files import TrialFiles, trial_folder
from brainage_ray.training.recorder import Recorder, RunInfo, tell_changes


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
        self._curves: dict[str, list[Mapping[str, float]]] = {}
        self._pruned: set[str] = set()
        self.files = TrialFiles(plan.folder / "trials", plan.search.checkpoint_gib * GIB)
        self._budget = BudgetWatch(plan, study)
        self.problem: Exception | None = None
        """The first that was raised while the engine called: the engine itself makes text of it."""

    @property
    def finished(self) -> bool:
        """Tell whether no trial flies, and no place waits or the budget lets none be tried."""
        return not self._flying and (self._study.open_places == 0 or bool(self._budget.over))

    def begin(self, engine_id: str) -> list[TrainingRun] | None:
        """Start a trial; return a run per seed, or None where no place waits or the budget is spent."""
        self._budget.look()
        trial = None if self._budget.over else self._study.ask()
        if trial is None:
            return None
        self._flying[engine_id], self._curves[engine_id] = trial, []
        self.files.begin(trial.number)
        self._recorder.started(trial_info(self._plan, trial.number, trial.params, trained=trial.passed))
        return trial_runs(self._plan, trial.number, trial.params)

    def config(self, runs: Sequence[TrainingRun]) -> dict[str, Any]:
        """Return what a trial's process is told."""
        texts = [run.model_dump_json() for run in runs]
        return {"runs": json.dumps(texts), "smooth_epochs": self._plan.search.smooth_epochs}

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
        self._budget.hear(engine_id, float(report.get("seconds", 0.0)))
        if "failure" in report:
            return False
        if report["epoch"] <= len(trial.seed_values):  # the engine resumed it: told before
            return engine_id in self._pruned
        self._curves[engine_id].append(report["metrics"])
        self._recorder.epoch(self._key(trial), report["epoch"], report["metrics"])
        delta_auc = report["metrics"].get("validation_delta_auc")
        if self._study.report(trial, report["epoch"], report["seed_values"], delta_auc):
            self._pruned.add(engine_id)
        elif self._budget.over and report["epoch"] < trial.epochs and engine_id not in self._pruned:
            self._budget.cut(trial)
            self._pruned.add(engine_id)
        return engine_id in self._pruned

    def lose(self, engine_id: str, reason: str) -> None:
        """Note why the process of a trial is about to be ended; the engine will find it lost."""
        seconds = self._last.get(engine_id, {}).get("seconds", 0.0)
        self._last[engine_id] = {"failure": "lost", "reason": reason, "seconds": seconds}

    def end(self, engine_id: str) -> None:
        """Close a trial that ended, was stopped, failed or lost its process."""
        trial = self._flying.pop(engine_id, None)
        if trial is None:
            return
        last, curve = self._last.pop(engine_id, {}), self._curves.pop(engine_id)
        seconds = float(last.get("seconds", 0.0))
        self.files.bring(trial.number)
        self.files.keep_curve(trial.number, curve)
        if last.get("failure") or not self._ended(engine_id, trial):
            self._fail(trial, last, seconds)
        else:
            self._tell(trial, "pruned" if engine_id in self._pruned else "complete", seconds)

    def _fail(self, trial: OpenTrial, last: Mapping[str, Any], seconds: float) -> bool:
        """Close a trial whose last report tells of a failure, or tells nothing; return whether it is tried again."""
        lost = "its process died; look for lack of memory"
        failure = last.get("failure", "lost")
        again = self._study.fail(trial, failure, last.get("reason", lost), seconds)
        if not again:
            self._recorder.finished(self._key(trial), "failed", {})
            self.files.end(trial.number, "failed", None, may_go_on=failure in MACHINE)
        return again

    def _tell(self, trial: OpenTrial, state: Literal["complete", "pruned"], seconds: float) -> None:
        best = self._study.tell(trial, state, seconds)
        if state == "complete":
            self._budget.complete(best)
        self._recorder.finished(self._key(trial), state, {"best_validation_mae": best})
        self.files.end(trial.number, state, best, cut=trial.cut)

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
        with suppress(NoSpaceError, EngineError):  # only notes: trials that nobody closed are put again too
            self._budget.note()
            for engine_id, trial in self._flying.items():
                seconds = float(self._last.get(engine_id, {}).get("seconds", 0.0))
                self._study.fail(trial, "interrupted", "the driver was stopped", seconds)
        self._flying.clear()

    def replay(self) -> None:
        """Tell the recorder of the trials that were answered before, and go on with the files that they left."""
        result = self._study.result()
        replay(self._plan, result, self._recorder)
        for trial in result.trials:
            if trial.state != "running":
                self.files.end(trial.number, trial.state, trial.best_value)

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


def trial_info(
    plan: StudyPlan, number: int, params: Mapping[str, Any], changes: Sequence[SettingsChange] = (), trained: int = 0
) -> RunInfo:
    """Describe a trial to its listeners.

    Args:
        plan: of its study.
        number: of the trial.
        params: its settings, value by dotted path.
        changes: of the settings that were made while it trained; none: those that the plan gives it.
        trained: how many of its epochs earlier tries had trained.
    """
    told = tell_changes(changes or _planned_changes(plan, number))
    group = "study" if plan.kind == "trial" else "finalists"
    name = f"{plan.kind}-{number:03d}"
    return RunInfo(trial_key(plan, number), name, "trial", f"{plan.arm}/{group}", params, told, trained)


def trial_runs(plan: StudyPlan, number: int, params: Mapping[str, Any]) -> list[TrainingRun]:
    """Return the runs of a trial, one per repeat; repeat i has the seed search.seed + i.

    Raises:
        ConfigError: a parameter does not fit its field.
    """
    process = trial_demand(plan.search, plan.resources)
    run = equip(apply_params(plan.run, params), process.cpus, process.gpus)
    folder = trial_folder(plan.folder / "trials", number)
    return [
        run.model_copy(
            update={
                "seed": plan.search.seed + i,
                "initial": plan.initial[i % len(plan.initial)] if plan.initial else run.initial,
                "folder": folder / f"seed-{i}",
                "changes": _planned_changes(plan, number),
                "keep_best": True,
                "team": process.processes,
            }
        )
        for i in range(plan.search.seeds_per_trial)
    ]


def _planned_changes(plan: StudyPlan, number: int) -> tuple[SettingsChange, ...]:
    return plan.first_changes[number] if number < len(plan.first_changes) else ()


def replay(plan: StudyPlan, result: StudyResult, recorder: Recorder) -> None:
    """Tell a recorder of the trials that have their answers, every epoch included.

    Args:
        plan: of the study.
        result: of the study.
        recorder: may have heard some or all of it before.
    """
    files = TrialFiles(plan.folder / "trials", plan.search.checkpoint_gib * GIB)
    for trial in result.trials:
        if trial.state != "running":
            key, curve = trial_key(plan, trial.number), files.curve(trial.number)
            recorder.started(trial_info(plan, trial.number, trial.params, trial.changes, len(curve)))
            for epoch, metrics in enumerate(curve, 1):
                recorder.epoch(key, epoch, metrics)
            recorder.finished(key, trial.state, _best(trial))


def _best(trial: TrialResult) -> dict[str, float]:
    return {} if trial.best_value is None else {"best_validation_mae": trial.best_value}
