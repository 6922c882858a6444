"""A search trial inside its Ray actor, which goes on to the next trial when this one has ended."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from time import perf_counter
from typing import Any

from ray import tune

from brainage_ray.config.run import TrainingRun
from brainage_ray.data.files import no_space
from brainage_ray.data.node_files import bring_run, run_here, send_run
from brainage_ray.errors import NoSpaceError, TrialFailed
from brainage_ray.execution.results import best_of
from brainage_ray.execution.trial_files import keep_best

EpochSource = Callable[[TrainingRun], Generator[Mapping[str, float], None, Any]]
"""As brainage_ray.training.loop.epochs: trains a run and yields each epoch's metrics."""

OBJECTIVE = "validation_mae"


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Trains the runs of a trial in turns, one epoch of each per step.

    A step reports the epoch, or why the trial failed. It raises only where the process may have been
    damaged, after that report, so that Tune drops the actor.
    """

    _damaged: str
    _writes = True
    """Whether this process writes the files of the runs."""

    def setup(self, config: dict[str, Any], epochs: EpochSource | None = None) -> None:
        """Begin the first trial; see run_study for `epochs`."""
        self._source = epochs or _default_source()
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        self._close()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch of every seed."""
        if self._damaged:
            raise RuntimeError(self._damaged)
        start = perf_counter()
        try:
            with no_space(self._runs[0].folder):
                report = self._train_epoch()
        except NoSpaceError as error:
            report = {"failure": "full", "reason": str(error), "done": True}
        except Exception as error:
            report = self._failed(error)
        self._seconds += perf_counter() - start
        return {**report, "seconds": self._seconds}

    def cleanup(self) -> None:
        """Let go of the models."""
        self._close()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Note the epoch: the runs keep what else they need in their own folders."""
        return {"epoch": self._epoch}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Pass over the epochs that were reported before a scheduler paused the trial: the runs go on after them."""
        while self._epoch < checkpoint["epoch"]:
            self._train_epoch()

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._told = [TrainingRun.model_validate_json(text) for text in json.loads(config["runs"])]
        self._runs = [run_here(run) for run in self._told]
        self._epochs_wanted = self._runs[0].epochs
        self._smooth, self._since = config["smooth_epochs"], config.get("since", 0)
        self._epoch, self._seconds = 0, 0.0
        self._means: list[float] = []
        self._damaged = ""
        self._progress = [_brought(self._source, run) for run in self._told]

    def _train_epoch(self) -> dict[str, Any]:
        metrics = [dict(next(progress)) for progress in self._progress]
        self._epoch += 1
        values = [float(each[OBJECTIVE]) for each in metrics]
        if not all(map(math.isfinite, values)):
            raise TrialFailed(f"the {OBJECTIVE} of epoch {self._epoch} is {values}")
        self._means.append(statistics.fmean(values))
        if self._epoch > self._since and best_of(self._means, self._smooth, self._since)[1] == self._epoch:
            keep_best(self._runs, self._epoch)
        done = self._epoch >= self._epochs_wanted
        if done:
            self._close()
        if self._writes:
            for run in self._told:
                send_run(run, done)
        return {"epoch": self._epoch, "seed_values": values, "metrics": merge_metrics(metrics), "done": done}

    def _failed(self, error: Exception) -> dict[str, Any]:
        foreseen = isinstance(error, TrialFailed)
        if foreseen and not _out_of_memory(error):
            return {"failure": "nan", "reason": str(error), "done": True}
        self._damaged = str(error) if foreseen else f"{type(error).__name__}: {error}"
        return {"failure": "error", "reason": self._damaged}

    def _close(self) -> None:
        for progress in self._progress:
            progress.close()
        self._progress = []


def _brought(source: EpochSource, run: TrainingRun) -> Generator[Mapping[str, float], None, Any]:
    """Train a run as the source does, after all that it needs was brought to this node."""
    return (yield from source(bring_run(run)))


def _default_source() -> EpochSource:
    from brainage_ray.training.loop import epochs  # here: the driver need not load torch and MONAI

    return epochs


def _out_of_memory(error: Exception) -> bool:
    """Tell whether the GPU's memory was too small: its other users may have left less of it than there is."""
    torch = sys.modules.get("torch")  # to load it here would take seconds
    return torch is not None and isinstance(error.__cause__, torch.OutOfMemoryError)


def merge_metrics(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Put the metrics of a trial's seeds together.

    Args:
        seeds: metrics of one epoch by seed, at least one.

    Returns:
        The mean of each metric over the seeds; and for more than one seed the objective's standard deviation
        (n - 1) as `validation_mae_sd` and each seed's as `validation_mae_seed_<i>`.
    """
    merged = {name: statistics.fmean(each[name] for each in seeds) for name in seeds[0]}
    if len(seeds) > 1:
        values = [each[OBJECTIVE] for each in seeds]
        merged[f"{OBJECTIVE}_sd"] = statistics.stdev(values)
        merged |= {f"{OBJECTIVE}_seed_{i}": value for i, value in enumerate(values)}
    return merged
