"""What the driver does while a population trains: one generation of all trials after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from brainage_ray.config.run import CHECKPOINT, TrainingRun
from brainage_ray.errors import EngineError, NoSpaceError
from brainage_ray.execution.population import Member, generation_ends, next_generation
from brainage_ray.execution.results import StudyPlan, moving_average
from brainage_ray.execution.session import StudySession, trial_info, trial_runs
from brainage_ray.execution.study import Curve, OpenTrial, Study, last_change
from brainage_ray.execution.trial_files import trial_folder
from brainage_ray.training.recorder import Recorder


class PopulationSession(StudySession):
    """Trains a study's trials as a population.

    All wait for the last one at the end of a generation, so that who goes on from whom depends on values alone, and a
    restart decides as before: it goes through all generations again and reads what is trained from its files.

    Args:
        plan: of the study.
        study: open.
        recorder: told of every trial.
    """

    def __init__(self, plan: StudyPlan, study: Study, recorder: Recorder) -> None:
        super().__init__(plan, study, recorder)
        self._ends = generation_ends(plan.search, plan.run.epochs)
        self._generation = 0
        self._members: dict[int, Member] = {}
        self._values: dict[int, float] = {}
        """Validation MAE of the trials that have ended this generation, years."""
        self._parts: dict[str, Curve] = {}
        """In flight, by the engine's id."""
        self._trials: dict[int, Curve] = {t.number: Curve(t.number, dict(t.params), plan.run.epochs)
                                          for t in study.result().trials if t.state != "running"}  # fmt: skip
        """Of all trials that were begun; those that are answered already are no OpenTrial."""
        self._waiting = sorted({*self._trials, *study.places})
        self._metrics: dict[int, list[Mapping[str, float]]] = {}
        """Of each trial's epochs so far, those included that it took over from another one."""
        self._heard: dict[int, int] = defaultdict(int)
        """Last epoch that the study was told of."""
        self._seconds: dict[int, float] = defaultdict(float)

    @property
    def finished(self) -> bool:
        """Tell whether the last generation has ended, or the budget lets nothing go on."""
        return not self._parts and (not self._waiting or bool(self._budget.over))

    def begin(self, engine_id: str) -> list[TrainingRun] | None:
        """Start a trial's part of this generation; return a run per seed, or None where none waits or may go on."""
        self._budget.look()
        if not self._waiting or self._budget.over:
            return None
        number = self._waiting.pop(0)
        if number not in self._trials:
            trial = self._trials[number] = self._study.ask_for(number)
            self._heard[number] = 0
            self._recorder.started(trial_info(self._plan, number, trial.params, trained=trial.passed))
        curve = self._parts[engine_id] = self._trials[number]
        curve.seed_values.clear()  # it may go on from another trial, whose epochs are its own then
        self._metrics[number] = []
        self.files.begin(number)
        self._members.setdefault(number, Member(curve.params))
        return self._runs(number)

    def config(self, runs: Sequence[TrainingRun]) -> dict[str, Any]:
        """Return what a trial's process is told: its best epoch is of its own."""
        return super().config(runs) | {"since": last_change(runs[0].changes)}

    def hear(self, engine_id: str, report: Mapping[str, Any]) -> bool:
        """Take a report of a trial's process; return whether it is to stop: where the budget is spent, no other one.

        Raises:
            NoSpaceError: the trial found the disk full, or the study does.
        """
        if report.get("failure") == "full":
            raise NoSpaceError(report["reason"])
        self._last[engine_id] = report
        self._budget.hear(engine_id, float(report.get("seconds", 0.0)))
        if "failure" in report:
            return False
        curve, epoch = self._parts[engine_id], report["epoch"]
        self._metrics[curve.number].append(report["metrics"])
        if isinstance(curve, OpenTrial) and epoch > self._heard[curve.number]:
            self._heard[curve.number] = epoch
            self._recorder.epoch(self._key(curve), epoch, report["metrics"])
            self._study.report(curve, epoch, report["seed_values"])
        else:
            curve.seed_values.append(tuple(report["seed_values"]))
        return bool(self._budget.over)

    def end(self, engine_id: str) -> None:
        """Close a trial's part of this generation."""
        curve, last = self._parts.pop(engine_id, None), self._last.pop(engine_id, {})
        if curve is None:
            return
        number = curve.number
        self.files.bring(number)
        self._seconds[number] += float(last.get("seconds", 0.0))
        if not last.get("failure") and len(curve.seed_values) == self._ends[self._generation]:
            self._values[number] = moving_average(curve.values, self._plan.search.smooth_epochs)[-1]
        elif last.get("failure") or not self._budget.over:
            self._leave(curve, last)
        else:  # stopped by the budget: a larger one goes on with it
            self._waiting.append(number)
        if not self._parts and not self._waiting:
            self._end_generation()

    def abandon(self) -> None:
        """Note that the trials that were not told were cut off: they are put again at the next start."""
        with suppress(NoSpaceError, EngineError):  # only notes: trials that nobody closed are put again too
            self._budget.note()
            for curve in self._trials.values():
                if isinstance(curve, OpenTrial):
                    self._study.fail(curve, "interrupted", "the driver was stopped", self._seconds[curve.number])
        self._trials.clear()
        self._parts.clear()

    def _leave(self, curve: Curve, last: Mapping[str, Any]) -> None:
        """Put a trial that failed again, or go on without it."""
        del self._trials[curve.number]
        if isinstance(curve, OpenTrial) and self._fail(curve, last, self._seconds[curve.number]):
            self._waiting.append(curve.number)
        else:
            del self._members[curve.number]

    def _end_generation(self) -> None:
        for number in range(self._study.wanted):  # those of the generation before, from which this one went on
            self.files.drop_checkpoints(self._folder(number, self._generation - 1))
        if self._generation + 1 == len(self._ends):
            for number in sorted(self._members):
                self._close(number)
            return
        epoch = self._ends[self._generation]
        self._members = next_generation(self._members, self._values, self._plan.search, epoch)
        self._generation, self._values, self._waiting = self._generation + 1, {}, sorted(self._members)

    def _close(self, number: int) -> None:
        curve = self._trials[number]
        if isinstance(curve, OpenTrial):
            self.files.keep_curve(number, self._metrics[number])
            changes = self._members[number].changes
            self._study.note_changes(curve, changes)
            self._recorder.started(trial_info(self._plan, number, curve.params, changes))
            self._tell(curve, "complete", self._seconds[number])
        del self._trials[number]

    def _runs(self, number: int) -> list[TrainingRun]:
        """Return a trial's runs up to the end of this generation, each from where its parent's ended the last one."""
        member, end = self._members[number], self._ends[self._generation]
        mine = self._folder(number, self._generation)
        runs = trial_runs(self._plan, number, self._trials[number].params)
        return [
            run.model_copy(
                update={
                    "folder": mine / run.folder.name,
                    "changes": member.changes,
                    "stop_after_epochs": None if end == run.epochs else end,
                    "parent": self._checkpoint(member.parent, run.folder.name),
                }
            )
            for run in runs
        ]

    def _checkpoint(self, parent: int | None, repeat: str) -> Path | None:
        return None if parent is None else self._folder(parent, self._generation - 1) / repeat / CHECKPOINT

    def _folder(self, number: int, generation: int) -> Path:
        """Return where the repeats of a generation lie: those of the last one as those of any trial."""
        folder = trial_folder(self._plan.folder / "trials", number)
        return folder if generation + 1 == len(self._ends) else folder / f"generation-{generation}"
