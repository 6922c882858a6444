"""The searchers of the search benchmarks: ours, Ray's stock bridge, and ours with one lie of the bridge at a time."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler

from benchmarks.search_simulator import Searcher
from benchmarks.search_tasks import EPOCHS, Task
from brainage_ray.config import SearchConfig, SearchSpace, TrainingConfig, TrainingRun, UNetConfig
from brainage_ray.config.space import CategoricalParameter
from brainage_ray.execution import StudyPlan
from brainage_ray.execution.results import Failure
from brainage_ray.execution.samplers import REDUCTION
from brainage_ray.execution.study import OpenTrial, Study

GRACE = EPOCHS // 4
METRIC = "validation_mae"
MANY = 2000
"""Trials that no budget here reaches."""
Lie = Literal["last", "stopped", "nan"]


class Ours:
    """The study that a search of an experiment writes, with what a session does around it.

    Args:
        study: entered.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._flying: dict[int, OpenTrial] = {}
        self._stopped: set[int] = set()
        self._best: dict[int, float] = {}

    def ask(self, number: int) -> Mapping[str, Any]:
        """Ask the study."""
        trial = self._study.ask()
        if trial is None or trial.number != number:
            raise RuntimeError(f"the study gave {trial} for trial {number}")
        self._flying[number] = trial
        return trial.params

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Report a value; a NaN ends the trial, as a training that finds one does."""
        if not math.isfinite(value):
            return True
        stop = self._study.report(self._flying[number], epoch, [value])
        if stop:
            self._stopped.add(number)
        return stop

    def end(self, number: int, epoch: int, value: float) -> None:
        """Tell how it ended."""
        trial = self._flying.pop(number)
        if not math.isfinite(value):
            self._study.fail(trial, "nan", "the validation_mae is NaN")
        elif number in self._stopped:
            self._study.tell(trial, "pruned", 0.0)
        else:
            self._best[number] = self._study.tell(trial, "complete", 0.0)

    def choose(self) -> int | None:
        """Return the complete trial with the best value, as pipeline.select does."""
        return _lowest(self._best)


class RayRungs(Ours):
    """The study as it is, with Ray's ASHA to stop its trials.

    Args:
        study: entered, without a scheduler of its own.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._asha = ray_asha()

    def ask(self, number: int) -> Mapping[str, Any]:
        """Ask the study, and make the trial known to the scheduler."""
        self._asha.on_trial_add(None, _ray_trial(number))
        return super().ask(number)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Report to both; the scheduler decides."""
        if super().report(number, epoch, value):
            return True
        stop = self._asha.on_trial_result(None, _ray_trial(number), _result(epoch, value)) == self._asha.STOP
        if stop and epoch < EPOCHS:
            self._stopped.add(number)
        return bool(stop)


class LyingStudy(Study):
    """Tells Optuna what the bridge would tell it.

    Args:
        plan: of the study.
        lies: last tells a complete trial's last value for its best; stopped tells that a stopped trial is complete with
            its last value; nan leaves a trial that ended in NaN running for ever.
    """

    def __init__(self, plan: StudyPlan, lies: Sequence[Lie]) -> None:
        super().__init__(plan)
        self._lies = lies

    def tell(self, trial: OpenTrial, state: Literal["complete", "pruned"], seconds: float) -> float:
        """Close a trial, truly or not; return its best value all the same."""
        if ("last" if state == "complete" else "stopped") not in self._lies:
            return super().tell(trial, state, seconds)
        self._study.tell(trial.handle, trial.values[-1])
        return min(trial.values)

    def fail(self, trial: OpenTrial, failure: Failure, reason: str, seconds: float = 0.0) -> bool:
        """Close a trial, or not."""
        return False if "nan" in self._lies else super().fail(trial, failure, reason, seconds)


class Bridge:
    """Ray's OptunaSearch and its ASHA, called as Tune's controller calls them.

    Args:
        space: what is searched.
        seed: of its sampler.
        sampler: of Optuna; None: what OptunaSearch takes.
        choose_last: choose as ResultGrid.get_best_result does, the trial whose last value is lowest, stopped or not;
            else as pipeline.select does.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        sampler: optuna.samplers.BaseSampler | None = None,
        choose_last: bool = True,
    ) -> None:
        from ray.tune.search.optuna import OptunaSearch

        own = {"sampler": sampler} if sampler else {"seed": seed}
        logging.getLogger("ray.tune.search.optuna.optuna_search").setLevel(logging.ERROR)
        self._search = OptunaSearch(space=_distributions(space), metric=METRIC, mode="min", **own)
        self._asha = ray_asha()
        self._choose_last = choose_last
        self._seen: dict[int, list[float]] = {}

    def ask(self, number: int) -> Mapping[str, Any]:
        """Ask the searcher, and make the trial known to the scheduler."""
        params: dict[str, Any] = self._search.suggest(str(number))
        self._asha.on_trial_add(None, _ray_trial(number))
        self._seen[number] = []
        return params

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Ask the scheduler; the searcher hears of epochs after which a trial goes on."""
        trial = _ray_trial(number)
        self._seen[number].append(value)
        stop = bool(self._asha.on_trial_result(None, trial, _result(epoch, value)) == self._asha.STOP)
        if not stop:
            self._search.on_trial_result(str(number), _result(epoch, value))
        return stop

    def end(self, number: int, epoch: int, value: float) -> None:
        """Tell both."""
        self._asha.on_trial_complete(None, _ray_trial(number), _result(epoch, value))
        self._search.on_trial_complete(str(number), _result(epoch, value))

    def choose(self) -> int | None:
        """Choose a trial."""
        known = {number: values for number, values in self._seen.items() if values and math.isfinite(values[-1])}
        if self._choose_last:
            return _lowest({number: values[-1] for number, values in known.items()})
        return _lowest({number: min(values) for number, values in known.items() if len(values) == EPOCHS})


@contextmanager
def ours(
    task: Task, seed: int, lies: Sequence[Lie] = (), opened: Callable[[Study], Searcher] = Ours, **search: Any
) -> Iterator[Searcher]:
    """Open our study in a folder that goes at the end; `search` changes its sampler or scheduler."""
    with tempfile.TemporaryDirectory() as name, LyingStudy(study_plan(task, seed, Path(name), **search), lies) as study:
        yield opened(study)


@contextmanager
def bridge(task: Task, seed: int, our_sampler: bool = False, choose_last: bool = True) -> Iterator[Searcher]:
    """Open the stock bridge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed) if our_sampler else None
        yield Bridge(task.space, seed, sampler, choose_last)


def study_plan(task: Task, seed: int, folder: Path, **search: Any) -> StudyPlan:
    """Return a study of a task that has more trials than any budget here."""
    training = TrainingConfig(max_epochs=EPOCHS)
    run = TrainingRun(
        task="age", backbone=UNetConfig(kind="unet"), training=training, seed=0, store=folder, store_hash="",
        folder=folder,
    )  # fmt: skip
    settings = {"sampler": "tpe", "scheduler": "asha", "trials": MANY, "seed": seed, **search}
    return StudyPlan(task.name, run, SearchConfig(space=task.space, **settings), folder)


def ray_asha() -> Any:
    """Return Ray's ASHA with the rungs of ours."""
    from ray.tune.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(
        metric=METRIC, mode="min", max_t=EPOCHS, grace_period=GRACE, reduction_factor=REDUCTION
    )


def _ray_trial(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=str(number))


def _lowest(values: Mapping[int, float]) -> int | None:
    return min(values, key=lambda number: (values[number], number)) if values else None


def _result(epoch: int, value: float) -> dict[str, Any]:
    return {"training_iteration": epoch, METRIC: value}


def _distributions(space: SearchSpace) -> dict[str, Any]:
    return {
        path: CategoricalDistribution(p.choices)
        if isinstance(p, CategoricalParameter)
        else FloatDistribution(p.low, p.high, log=p.log)
        for path, p in space.parameters.items()
    }


ARMS: dict[str, Callable[[Task, int], AbstractContextManager[Searcher]]] = {
    "ours": ours,
    "bridge": bridge,
    "bridge, our sampler": partial(bridge, our_sampler=True),
    "bridge, our sampler and choice": partial(bridge, our_sampler=True, choose_last=False),
    "ours, told the last value": partial(ours, lies=("last",)),
    "ours, told that stopped is complete": partial(ours, lies=("stopped",)),
    "ours, NaN left running": partial(ours, lies=("nan",)),
    "ours, all three": partial(ours, lies=("last", "stopped", "nan")),
    "ours, stopped by Ray's ASHA": partial(ours, opened=RayRungs, scheduler="none"),
    "random + ASHA": partial(ours, sampler="random"),
}
"""What is compared, each opened for a task and a seed."""
