"""How many epochs a search is to be expected to train, before it is run."""

from __future__ import annotations

from brainage_ray.config.search import SearchConfig
from brainage_ray.execution.samplers import REDUCTION


def expected_epochs(search: SearchConfig, epochs: int) -> float:
    """Return the epochs that a trial trains on average, if every rung lets through what it is meant to.

    asha: after the grace, and at each doubling of the epochs, half of the trials go on. hyperband: the mean over its
    brackets, whose first rungs are the grace, its double and so on. median: half of the trials go on after the grace,
    and those to their end. With few trials more go on than that, because nothing is there to compare them with; no
    trial ever trains more than all epochs.

    Args:
        search: names the scheduler.
        epochs: of a trial that nothing stops.
    """
    grace = min(epochs, search.grace_epochs or max(1, epochs // 4, min(search.smooth_epochs, epochs // 2)))
    match search.scheduler:
        case "asha":
            return _halved(grace, epochs)
        case "hyperband":
            rungs = _rungs(grace, epochs)
            return sum(_halved(rung, epochs) for rung in rungs) / len(rungs)
        case "median":
            return grace + (epochs - grace) / REDUCTION
        case _:
            return float(epochs)


def _rungs(grace: int, epochs: int) -> list[int]:
    rungs = [grace]
    while rungs[-1] * REDUCTION <= epochs:
        rungs.append(rungs[-1] * REDUCTION)
    return rungs


def _halved(grace: int, epochs: int) -> float:
    """Sum up the epochs between the rungs, of the share of the trials that goes on from each."""
    ends = [*_rungs(grace, epochs), epochs]
    going_on = (float(ends[i + 1] - ends[i]) / float(REDUCTION ** (i + 1)) for i in range(len(ends) - 1))
    return ends[0] + sum(going_on)
