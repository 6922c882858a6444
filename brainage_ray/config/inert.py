"""Settings that are valid and do nothing: whoever wrote one believes that it does something."""

from __future__ import annotations

from collections.abc import Iterator

from brainage_ray.config.experiment import Experiment
from brainage_ray.config.search import SearchConfig

MOMENTUM = "training.optimizer.momentum"


def inert_settings(experiment: Experiment) -> list[str]:
    """Return a sentence for each setting of an experiment that changes nothing."""
    return [*_of_search(experiment.search, experiment.training.max_epochs), *_of_space(experiment)]


def _of_search(search: SearchConfig, epochs: int) -> Iterator[str]:
    written = search.model_fields_set
    if search.sampler == "grid" and "trials" in written:
        yield f"search.trials: {search.trials} is not looked at, because sampler: grid tries all its points"
    if search.scheduler == "none" and search.grace_epochs is not None:
        yield f"search.grace_epochs: {search.grace_epochs} is not looked at, because scheduler: none stops no trial"
    if search.scheduler != "none" and search.grace_epochs is not None and search.grace_epochs >= epochs:
        does = "changes nothing" if search.scheduler == "pbt" else "stops no trial"
        yield (
            f"search.grace_epochs: {search.grace_epochs} is not below training.max_epochs: {epochs}, so that "
            f"scheduler: {search.scheduler} {does}"
        )
    if search.sampler != "grid" and search.finalists > search.trials:
        yield f"search.finalists: {search.finalists} are more than search.trials: {search.trials}; all are finalists"
    if not search.finalists and "finalist_seeds" in written:
        yield f"search.finalist_seeds: {search.finalist_seeds} is not looked at, because search.finalists is 0"


def _of_space(experiment: Experiment) -> Iterator[str]:
    parameters, optimizer = experiment.search.space.parameters, experiment.training.optimizer
    if all(len(set(parameter.values)) == 1 for parameter in parameters.values()):
        yield "search.space has one point: every trial has the same settings"
    name = parameters.get("training.optimizer.name")
    if "sgd" in (name.values if name else (optimizer.name,)):
        return
    if MOMENTUM in parameters:
        yield f"search.space draws {MOMENTUM}, which {optimizer.name} does not have: it is of sgd alone"
    elif optimizer.momentum != type(optimizer)().momentum:
        yield f"{MOMENTUM} is not looked at, because {optimizer.name} has none: it is of sgd alone"
