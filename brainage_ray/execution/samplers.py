"""Who proposes a study's trials, and who stops them: Optuna's samplers and pruners, as an experiment names them."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Container, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from brainage_ray.config.search import SearchConfig
from brainage_ray.execution.safe_pickle import read_pickle

PLACE = "place"
"""Name of the attribute of an Optuna trial that says which place of the study it fills."""
REDUCTION = 2
"""At each rung, after the grace and at each doubling of the epochs, the better half goes on."""
STARTUP_TRIALS = 10
"""Trials that are drawn at random before tpe, gp and cmaes learn from what came of them; Optuna's own number."""
_POPULATION = (8, 50)
_CMA = {"cmaes._cma.CMA"}


def make_sampler(search: SearchConfig, place: int, fixed: Mapping[str, Any] | None) -> BaseSampler:
    """Return what draws the trial of a place; seeded by place, so that a restart neither repeats nor changes a draw.

    Args:
        search: names the sampler and its seed.
        place: of the trial in the study.
        fixed: values that are not to be drawn, by dotted path.
    """
    seed = random.Random(f"{search.seed}/{place}").getrandbits(32)
    sampler = _SAMPLERS[search.sampler](search, seed)
    if isinstance(sampler, _CmaEs):
        sampler.place = place
    return optuna.samplers.PartialFixedSampler(dict(fixed), sampler) if fixed else sampler


def make_pruner(search: SearchConfig, epochs: int) -> optuna.pruners.BasePruner:
    """Return what stops trials early; it reads the study, so that a restart knows the rungs.

    Args:
        search: names the scheduler.
        epochs: of a trial that nothing stops.
    """
    grace = search.grace_epochs or max(1, epochs // 4, min(search.smooth_epochs, epochs // 2))
    match search.scheduler:
        case "asha":
            return _Halving(min_resource=grace, reduction_factor=REDUCTION)
        case "hyperband":
            return _Hyperband(grace, epochs)
        case "median":
            # a trial is compared with complete ones alone, so that failed ones stop nothing
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=grace)
        case _:
            return optuna.pruners.NopPruner()


class _CmaEs(CmaEsSampler):  # type: ignore[misc]
    """Draws by a trial's place, where Optuna's own goes by its number, which a trial that was cut off moves on."""

    place = 0

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> Any:
        """Read the optimizer that Optuna pickles into the study, where whoever writes the study could put code."""
        for trial in reversed(completed_trials):
            names = [name for name in trial.system_attrs if name.startswith(self._attr_key_optimizer)]
            if names:
                text = self._concat_optimizer_attrs({name: trial.system_attrs[name] for name in names})
                return read_pickle(bytes.fromhex(text), _CMA, f"trial {trial.number} of the study")
        return None

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the trial."""
        placed = copy.copy(trial)
        placed.number = self.place
        return dict(super().sample_relative(study, placed, search_space))


def _tpe(search: SearchConfig, seed: int) -> BaseSampler:
    several = len(search.objectives) > 1  # where trials are told together, guesses of the others' ends mislead
    return TPESampler(
        multivariate=True, group=True, constant_liar=not several, n_startup_trials=STARTUP_TRIALS, seed=seed
    )


def _nsga2(search: SearchConfig, seed: int) -> BaseSampler:
    """Give it five generations at least: Optuna's population of 50 would spend a short search on random draws."""
    smallest, largest = _POPULATION
    return NSGAIISampler(population_size=min(largest, max(smallest, search.trials // 5)), seed=seed)


_SAMPLERS: dict[str, Callable[[SearchConfig, int], BaseSampler]] = {
    "grid": lambda _, seed: RandomSampler(seed=seed),  # its points are fixed
    "random": lambda _, seed: RandomSampler(seed=seed),
    "tpe": _tpe,
    "gp": lambda _, seed: GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
    "cmaes": lambda _, seed: _CmaEs(seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False),
    "nsga2": _nsga2,
}


class _Halving(optuna.pruners.SuccessiveHalvingPruner):  # type: ignore[misc]
    """Asynchronous successive halving (Li et al. 2020).

    Does not compare a trial with failed ones: an interrupted trial would stop the one that is put in its place.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial is to stop."""
        return bool(super().prune(_Part(study, lambda _: True), trial))


class _Hyperband(optuna.pruners.BasePruner):  # type: ignore[misc]
    """Brackets of halving that differ in their first rung, each with its share of the trials (Li et al. 2018).

    Optuna's own goes by a trial's number, so that a trial that is tried again would change its bracket; and it lets
    tpe learn from one bracket alone.

    Args:
        grace: first rung of the first bracket, epochs.
        epochs: of a trial that nothing stops.
    """

    def __init__(self, grace: int, epochs: int) -> None:
        last = math.floor(math.log(max(1.0, epochs / grace), REDUCTION) + 1e-9)
        self._brackets = [
            optuna.pruners.SuccessiveHalvingPruner(
                min_resource=grace, reduction_factor=REDUCTION, min_early_stopping_rate=skipped
            )
            for skipped in range(last + 1)
        ]
        # how many trials the paper gives each bracket: (s_max + 1) / (s + 1) x eta^s
        counts = [math.ceil((last + 1) * REDUCTION**s / (s + 1)) for s in range(last, -1, -1)]
        self._turns: list[int] = [bracket for bracket, count in enumerate(counts) for _ in range(count)]
        random.Random(0).shuffle(self._turns)  # a short search has trials of each

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial is to stop."""
        mine = self._bracket(trial)
        return bool(self._brackets[mine].prune(_Part(study, lambda other: self._bracket(other) == mine), trial))

    def _bracket(self, trial: FrozenTrial) -> int:
        place: int = trial.user_attrs[PLACE]
        return self._turns[place % len(self._turns)]


class _Part(optuna.Study):  # type: ignore[misc]
    """A view of the trials of a study that have not failed and that are wanted."""

    def __init__(self, study: optuna.Study, wanted: Callable[[FrozenTrial], bool]) -> None:
        self.__dict__.update(vars(study))
        self._wanted = wanted

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the trials that this view shows."""
        found = super().get_trials(deepcopy, states)
        return [trial for trial in found if trial.state != TrialState.FAIL and self._wanted(trial)]
