"""An arm's study: ask and tell, and what a restart does.

A study has numbered places, one per trial that is wanted. Each Optuna trial names its place and how it came
out. A place is answered by a trial that ran to its end, was stopped by the scheduler, or failed with
TrialFailed (NaN, say). A trial that was cut off with its driver, or by a full disk, is put again with the same
parameters at the next start; one that raised anything else, ran out of the GPU's memory or lost its process is
put again at once, until three tries came no further than those before them, since that may have been the
machine's fault. A start that finds no complete trial tries those again too: its machines may be better. One that the
budget stopped is put again by the first start with a larger budget, and goes on from its last checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from brainage_ray.config.run import SettingsChange, apply_params
from brainage_ray.config.search import SearchConfig
from brainage_ray.errors import EngineError
from brainage_ray.execution.budget import BUDGET, SPENT, Spent, places_left
from brainage_ray.execution.journal import (
    FAILURE,
    START,
    STARTS,
    WANTED,
    first_start,
    read_places,
    read_spent,
    read_trials,
)
from brainage_ray.execution.points import draw, grid_points
from brainage_ray.execution.results import MACHINE, Failure, StudyPlan, StudyResult, best_of, moving_average
from brainage_ray.execution.samplers import PLACE, make_pruner, make_sampler
from brainage_ray.execution.storage import load_study_result, opened_study


@dataclass
class Curve:
    """A trial and what its epochs came to."""

    number: int
    params: dict[str, Any]
    epochs: int
    """That it trains if nothing stops it."""
    seed_values: list[tuple[float, ...]] = field(default_factory=list)
    """Validation MAE by epoch and seed, years."""
    delta_aucs: list[float] = field(default_factory=list)
    """How well the brain-age delta tells patients, by epoch, mean over the seeds; empty where that is no objective."""

    @property
    def values(self) -> list[float]:
        """Mean over the seeds, by epoch."""
        return [sum(seeds) / len(seeds) for seeds in self.seed_values]


@dataclass(kw_only=True)
class OpenTrial(Curve):
    """A trial between ask and tell."""

    handle: optuna.Trial
    since: int = 0
    """Epoch at which it last went on from another trial's weights; 0: it never did."""
    cut: bool = False
    """The budget stops it: a larger one lets it go on."""
    passed: int = 0
    """Epoch that an earlier try of it had reached: up to there the scheduler has let it through."""


class Study:
    """Ask and tell on the study of a plan; a context that one process at a time can enter.

    Raises:
        EngineError: on entering, another process is in it, or the folder holds the study of another plan.
    """

    def __init__(self, plan: StudyPlan) -> None:
        self._plan = plan
        self._points = grid_points(plan.search.space, plan.run) if plan.search.sampler == "grid" else None
        self.wanted = count_trials(plan)

    def __enter__(self) -> Study:
        """Lock and read the study, and put the trials of a killed driver again."""
        self._held = ExitStack()
        pruner = make_pruner(self._plan.search, self._plan.run.epochs)
        opened = opened_study(self._plan, pruner=pruner, directions=_directions(self._plan.search))
        self._study = self._held.enter_context(opened)
        try:
            self._check_key()
            self._study.set_user_attr(WANTED, self.wanted)
            self._study.set_user_attr(BUDGET, self._plan.search.budget.to_json())
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._study.tell(trial.number, state=TrialState.FAIL)
            self._start = self._study.user_attrs.get(STARTS, 0) + 1
            self._study.set_user_attr(STARTS, self._start)
            self._since = first_start(self._places(), self._start)
            self._open, self._fixed = self._unanswered()
            self._tried = set(self._places())
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock the study."""
        self._held.close()

    @property
    def places(self) -> tuple[int, ...]:
        """The places that wait for a trial, in the order in which they are tried."""
        return tuple(self._open)

    @property
    def open_places(self) -> int:
        """How many places wait for a trial: of those that search.budget.max_trials allows."""
        return len(self._open)

    @property
    def spent(self) -> Spent:
        """What all starts have spent, as far as it is written down."""
        return read_spent(self._study)

    def spend(self, spent: Spent) -> None:
        """Write down what all starts have spent."""
        self._study.set_user_attr(SPENT, asdict(spent))

    def ask(self) -> OpenTrial | None:
        """Open a trial for the next place; None where no place waits.

        Raises:
            ConfigError: the drawn parameters do not go together.
        """
        return self.ask_for(self._open[0]) if self._open else None

    def ask_for(self, number: int) -> OpenTrial:
        """Open a trial for a place that waits."""
        self._open.remove(number)
        passed = self._passed(number)
        with _experimental():
            self._study.sampler = make_sampler(self._plan.search, number, self._fixed.get(number))
            handle = self._study.ask()
            handle.set_user_attr(PLACE, number)
            handle.set_user_attr(START, self._start)
            params = draw(handle, self._plan.search.space, self._plan.run)
        return OpenTrial(number, params, apply_params(self._plan.run, params).epochs, handle=handle, passed=passed)

    def report(
        self, trial: OpenTrial, epoch: int, seed_values: Sequence[float], delta_auc: float | None = None
    ) -> bool:
        """Take down an epoch (1-based): a validation MAE per seed, years, and the delta's AUC where it is an objective.

        Returns:
            Whether the scheduler wants the trial to stop here. What it let through once it lets through again,
            though others may be better by now: a restart changes no choice.
        """
        trial.seed_values.append(tuple(seed_values))
        if delta_auc is not None:
            trial.delta_aucs.append(delta_auc)
            return False  # Optuna takes no reports of several objectives, and nothing stops such trials
        value = moving_average(trial.values, self._plan.search.smooth_epochs)[-1]
        trial.handle.report(value, epoch)
        stop = epoch < trial.epochs and trial.handle.should_prune()
        return stop and epoch > trial.passed

    def note_changes(self, trial: OpenTrial, changes: Sequence[SettingsChange]) -> None:
        """Take down how the settings of a trial changed while it trained: the last time, with another one's weights."""
        trial.since = last_change(changes)
        _note(trial, changes=[change.model_dump(mode="json") for change in changes])

    def tell(self, trial: OpenTrial, state: Literal["complete", "pruned"], seconds: float) -> float:
        """Close a trial with its best value, years; return that.

        Of a population's trial those epochs count that it trained since it last went on from another one's weights:
        the others are that one's.
        """
        best, epoch = best_of(trial.values, self._plan.search.smooth_epochs, trial.since)
        _note(trial, seed_values=trial.seed_values, best_value=best, best_epoch=epoch, seconds=seconds)
        if state == "complete" and trial.delta_aucs:
            delta_auc = moving_average(trial.delta_aucs, self._plan.search.smooth_epochs)[epoch - 1]
            _note(trial, delta_auc=delta_auc)
            self._study.tell(trial.handle, (best, delta_auc))
        elif state == "complete":
            self._study.tell(trial.handle, best)
        else:
            self._study.tell(trial.handle, state=TrialState.PRUNED)
        return best

    def fail(self, trial: OpenTrial, failure: Failure, reason: str, seconds: float = 0.0) -> bool:
        """Close a trial that failed; return whether its place is put again now."""
        _note(trial, **{FAILURE: failure}, reason=reason, seed_values=trial.seed_values, seconds=seconds)
        self._study.tell(trial.handle, state=TrialState.FAIL)
        again = failure in MACHINE and trial.number in self._unanswered()[0]
        if again:
            self._fixed[trial.number] = trial.params
            self._open.insert(0, trial.number)  # where trials run one by one, the next sees what it would have seen
        return again

    def result(self) -> StudyResult:
        """Return the trials, in order of their places."""
        return self._read(self._places())

    def _read(self, places: Mapping[int, Sequence[FrozenTrial]]) -> StudyResult:
        return read_trials(places, self.wanted, self._since, self._plan.search.budget, self._study)

    def _check_key(self) -> None:
        if self._study.user_attrs.get("key", self._plan.key) != self._plan.key:
            raise EngineError(
                f"{self._plan.folder} holds the study of another search or another training",
                "Remove that folder, or use another workspace.",
            )
        self._study.set_user_attr("key", self._plan.key)

    def _unanswered(self) -> tuple[list[int], dict[int, dict[str, Any]]]:
        """Return the places to fill, and the parameters of those that are not to be drawn."""
        tried = self._places()
        answered = {trial.number for trial in self._read(tried).trials if trial.state != "running"}
        places = [place for place in range(self.wanted) if place not in answered]
        places = places_left(self._plan.search.budget, places, self.wanted)
        if self._points is not None:
            return places, dict(enumerate(self._points))
        first = {place: dict(params) for place, params in enumerate(self._plan.first)}
        return places, first | {place: dict(tried[place][-1].params) for place in places if place in tried}

    def _passed(self, place: int) -> int:
        """Return the epoch that the tries of a place have reached, and note that there is one more."""
        tries = self._places()[place] if place in self._tried else ()  # else a long study is not read through
        self._tried.add(place)
        return max((trial.last_step or 0 for trial in tries), default=0)

    def _places(self) -> dict[int, list[FrozenTrial]]:
        return read_places(self._study, self.wanted)


def last_change(changes: Sequence[SettingsChange]) -> int:
    """Return the epoch after which a trial's settings changed last, 0 where they never did."""
    return changes[-1].after_epoch if changes else 0


def count_trials(plan: StudyPlan) -> int:
    """Return how many trials a study has: search.trials, or as many as its grid has points."""
    return len(grid_points(plan.search.space, plan.run)) if plan.search.sampler == "grid" else plan.search.trials


def load_plan_result(plan: StudyPlan) -> StudyResult | None:
    """Read the study of a plan as its next start will find it, see load_study_result."""
    return load_study_result(plan.folder, count_trials(plan), plan.storage, plan.name, plan.search.budget)


def _directions(search: SearchConfig) -> list[str]:
    return ["minimize" if objective == "validation_mae" else "maximize" for objective in search.objectives]


def _note(trial: OpenTrial, **attributes: Any) -> None:
    for name, value in attributes.items():
        trial.handle.set_user_attr(name, value)


@contextmanager
def _experimental() -> Iterator[None]:
    """Pass over Optuna's note that an interface is young: PartialFixedSampler, multivariate and group of TPE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
