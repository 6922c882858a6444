"""What a search does: who proposes trials, who stops them, how one of them is chosen, when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from brainage_ray.config.base import FrozenModel
from brainage_ray.config.model import each_once
from brainage_ray.config.space import CategoricalParameter, SearchSpace

Sampler = Literal["grid", "random", "tpe", "gp", "cmaes", "nsga2"]
Scheduler = Literal["none", "asha", "hyperband", "median", "pbt"]
Objective = Literal["validation_mae", "validation_delta_auc"]

LEARNS_FROM_COMPLETE = ("gp", "cmaes", "nsga2")
"""Samplers that learn from trials that were trained to their end, and from no others."""
CHANGEABLE = ("training.optimizer.", "training.augmentation.")
"""What may change from one epoch to the next."""
SMALLEST_POPULATION = 4


class BudgetConfig(FrozenModel):
    """When the search of an arm ends before its trials are through; what comes first counts."""

    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Wall clock of the arm's search, over all its starts."""
    max_gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Sum over its trials of training time times the share of GPUs that a trial holds."""
    max_trials: Annotated[int, Field(ge=1)] | None = None
    """Finished trials, failed ones included."""
    target_mae: Annotated[float, Field(gt=0)] | None = None
    """A complete trial with a validation MAE as low as this, years, ends the search."""


class SearchConfig(FrozenModel):
    """Ray Tune with Optuna, once per arm, on the validation split."""

    space: SearchSpace
    """What the search may change: a path of a YAML file, or the space itself."""
    start_from: Literal["paper"] | Path | None = None
    """First trials: `paper` tries the published settings first; the folder of an earlier experiment, the best settings
    of its arm of the same name, or of all of its arms where it has none of that name."""
    sampler: Sampler = "tpe"
    """grid tries every combination of categorical parameters; random draws; tpe is Optuna's multivariate TPE, gp its
    Gaussian process; cmaes is CMA-ES, for numbers alone; nsga2 is NSGA-II, for several objectives."""
    scheduler: Scheduler = "none"
    """asha stops trials early that are not in the better half of those that came as far; hyperband does so in brackets
    of different patience; median stops those that are worse than the median at their epoch; pbt stops none, but lets
    the poorest quarter go on from the weights of the best one, with settings near theirs."""
    grace_epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs that a scheduler gives every trial; for pbt those of a generation; default: a quarter of max_epochs, so
    that a warm-up is over."""
    trials: Annotated[int, Field(ge=1)] = 20
    """Trials per arm; not for grid, which has as many as it has points."""
    seeds_per_trial: Annotated[int, Field(ge=1)] = 1
    """Repeats of each trial, trained side by side; the trial's value is their mean."""
    objective: Objective | Annotated[tuple[Objective, ...], Field(min_length=1), AfterValidator(each_once)] = (
        "validation_mae"
    )
    """validation_mae: mean absolute error of the scans' brain ages on the validation split, years. With
    validation_delta_auc beside it, in a list, also how well the brain-age delta tells AD from CN there."""
    smooth_epochs: Annotated[int, Field(ge=1)] = 1
    """Window of the moving average over the epochs' values, before the best epoch is taken."""
    finalists: Annotated[int, Field(ge=0)] = 0
    """Best trials that are trained again with fresh seeds before one is chosen; 0: chosen on the trials' own values.
    Their trainings are beyond the budget."""
    finalist_seeds: Annotated[int, Field(ge=2)] = 3
    """Fresh seeds of each finalist."""
    choice: Literal["best", "one_standard_error"] = "best"
    """best takes the lowest validation MAE; one_standard_error the cheapest within one standard error of it: fewest
    weights, then epochs, then settings that differ from the experiment's own. Between arms likewise."""
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at a time; default: as many as the resources hold."""
    workers_per_trial: Annotated[int, Field(ge=1)] = 1
    """Ray Train workers that fit a trial together (DDP); 1 trains it in its own process."""
    budget: BudgetConfig = BudgetConfig()
    checkpoint_gib: Annotated[float, Field(gt=0)] = 20
    """Disk that the checkpoints of an arm's trials may take, GiB."""
    hang_minutes: Annotated[float, Field(gt=0)] = 120
    """A trial that reports no epoch for so long, and for ten times its slowest epoch so far, is taken for dead: its
    process is ended, and it goes on from its last checkpoint as one that was lost."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the sampler and of the trials' networks."""

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised, one or more."""
        return (self.objective,) if isinstance(self.objective, str) else self.objective

    @property
    def delta_is_objective(self) -> bool:
        """Tell whether trials are also to be good at telling AD from CN."""
        return "validation_delta_auc" in self.objectives

    @field_validator("objective", mode="before")
    @classmethod
    def _not_on_test(cls, value: Any) -> Any:
        for name in value if isinstance(value, list | tuple) else [value]:
            if isinstance(name, str) and "test" in name.lower():
                raise ValueError(
                    f"{name} is of the test split, which is closed during the search: settings that are chosen on it "
                    "would make its error too small; use validation_mae"
                )
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        for problem in (_of_objectives(self), _of_scheduler(self), _of_space(self)):
            if problem:
                raise ValueError(problem)
        return self


def _of_objectives(search: SearchConfig) -> str:
    if "validation_mae" not in search.objectives:
        return "objective: validation_delta_auc alone is no brain age; write [validation_mae, validation_delta_auc]"
    if search.objectives[0] != "validation_mae":
        return "objective: write validation_mae first; a trial's best epoch is that of its MAE"
    several = len(search.objectives) > 1
    if several and search.scheduler != "none":
        return (
            f"scheduler: {search.scheduler} ranks trials by one value while they train, and objective has "
            f"{len(search.objectives)}; set scheduler: none, or one objective"
        )
    if several and search.sampler == "cmaes":
        return "sampler: cmaes moves one mean towards one objective; use nsga2, tpe or gp for several"
    if not several and search.sampler == "nsga2":
        return "sampler: nsga2 sorts trials by several objectives and objective has one; use tpe, gp or cmaes"
    return ""


def _of_scheduler(search: SearchConfig) -> str:
    if search.scheduler == "none":
        return ""
    if search.sampler in LEARNS_FROM_COMPLETE:
        other = "random" if search.scheduler == "pbt" else "tpe"
        return (
            f"sampler: {search.sampler} learns from complete trials alone, so it would never know of those that "
            f"{search.scheduler} stops or changes; use {other}, or scheduler: none"
        )
    if search.scheduler == "pbt" and search.sampler != "random":
        return (
            f"scheduler: pbt makes new settings itself, from those of better trials, and sampler: {search.sampler} "
            f"would not be asked; set sampler: random, which draws the first ones"
        )
    return ""


def _of_space(search: SearchConfig) -> str:
    parameters = search.space.parameters
    if search.sampler == "grid" and search.start_from is not None:
        return "sampler: grid tries every point, in its order; take start_from out, or use another sampler"
    if search.scheduler == "pbt":
        return _of_population(search)
    if search.sampler == "cmaes":
        odd = [path for path, p in parameters.items() if isinstance(p, CategoricalParameter) or p.when]
        if odd:
            return f"sampler: cmaes moves numbers that every trial has, and {odd[0]} is a choice or has a when; use tpe"
    return ""


def _of_population(search: SearchConfig) -> str:
    for path, parameter in search.space.parameters.items():
        if parameter.when:
            return f"scheduler: pbt mixes the settings of trials, which all need the same ones, and {path} has a when"
        if not path.startswith(CHANGEABLE) or path == "training.optimizer.name":
            return (
                f"scheduler: pbt changes settings while a network trains, and {path} cannot change then; search "
                f"{' and '.join(f'{place}*' for place in CHANGEABLE)}"
            )
    if search.trials < SMALLEST_POPULATION:
        return f"scheduler: pbt needs a population: raise trials from {search.trials} to {SMALLEST_POPULATION} or more"
    return ""
