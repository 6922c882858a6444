"""Brain ages of new scans: the model's own preprocessing, all of its seeds, and what speaks against each scan."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainage_ray.config.base import digest
from brainage_ray.data import sharing
from brainage_ray.data.prepare_given import ExtractionChoice, Given
from brainage_ray.pipeline.ensemble import Ensemble, split_of
from brainage_ray.pipeline.given_tasks import Outcome, Task, prepare_all
from brainage_ray.pipeline.judge import COLUMNS, SliceReading, failed, judge, named
from brainage_ray.pipeline.model_folder import ModelFolder, read_model_folder
from brainage_ray.pipeline.progress import Progress, Silent
from brainage_ray.pipeline.reference import Reference, read_reference
from brainage_ray.pipeline.scan_pages import PICTURES, ScanPages

READING = ".json"
"""Ending of the file of a reading."""


@dataclass(frozen=True)
class PredictOptions:
    """How ages are predicted; none of it but the extraction changes an age."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    batch_size: int = 512
    """Slices at a time in a network. On the CPU a batch never holds more than one scan, so that an age does not depend
    on its neighbours, to the last bit."""
    workers: int = 1
    """Processes that prepare scans."""
    extraction: ExtractionChoice = "auto"
    """How the brain is taken out of a head."""
    cache: Path | None = None
    """Folder for what is done already, by content of image and model; None: nothing is kept."""
    html: Path | None = None
    """Folder for a page a scan; None: no pages."""


def predict(
    folder: Path,
    images: Sequence[Path | Given],
    options: PredictOptions | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Read the brain age off T1 scans, of heads or of brains.

    Args:
        folder: of a model, as `brainage pull` makes it.
        images: NIfTI files, or what `find_given` finds; a file that is not there is a row with an error.
        options: device, workers and the like.
        progress: where a bar is drawn.

    Returns:
        One row a scan, in the order given, with the columns of `judge.COLUMNS`. status is ok; flagged, where the scan
        is unlike those that the model saw: then there is no interval, and no age either if it is no T1 scan of a
        brain; or failed, with an error and no age. A bad scan holds up no other.

    Raises:
        ConfigError, WeightsError: the folder holds no whole model.
        NoSpaceError: the disk is full.
    """
    options, progress = options or PredictOptions(), progress or Silent()
    given = [one if isinstance(one, Given) else Given(Path(one)) for one in images]
    progress.begin("predict", len(given), "scans")
    try:
        described, reference, rows = read_model_folder(folder), read_reference(folder), []
        with _cache(options.cache) as cache:
            run = _Run(folder, described, reference, options, cache)
            for row in run.rows(given):
                rows.append(row)
                progress.advance(1, f"{sum(r['status'] != 'ok' for r in rows)} not ok")
    finally:  # a bar that is left hides the terminal's cursor
        progress.end()
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n_slices": "Int64"})
    texts = ["subject", "session", "sex", "flags", "notes", "error"]
    numbers = [name for name in COLUMNS if name.endswith(("_years", "_mm", "_ml"))] + ["snr", "distance"]
    return table.fillna(dict.fromkeys(texts, "")).astype(dict.fromkeys(numbers, np.float64))


class _Run:
    """One call: a generator of rows that holds the slices of one batch and no more."""

    def __init__(
        self, folder: Path, described: ModelFolder, reference: Reference | None, options: PredictOptions, cache: Path
    ) -> None:
        self._folder, self._described, self._reference = folder, described, reference
        self._options, self._cache = options, cache
        self._pages = ScanPages(options.html, described, reference) if options.html else None
        self._loaded: Ensemble | None = None

    @property
    def _ensemble(self) -> Ensemble:
        """The networks, loaded when the first scan needs them."""
        if self._loaded is None:
            self._loaded = Ensemble(self._folder, self._described, self._options.device, self._options.batch_size)
        return self._loaded

    def rows(self, given: Sequence[Given]) -> Iterator[dict[str, Any]]:
        """Yield the row of each scan, in order."""
        tasks = [self._task(i, one) for i, one in enumerate(given)]
        number = 0
        for batch in self._batches(prepare_all(tasks, self._options.workers)):
            self._read(batch)
            for outcome in batch:
                yield self._row(number, given[number], outcome)
                shutil.rmtree(tasks[number].folder, ignore_errors=True)
                number += 1
        if self._pages:
            self._pages.finish()

    def _task(self, number: int, given: Given) -> Task:
        model = digest([member.sha256 for member in self._described.members], self._described.preprocessing.to_json())
        endings = (READING, PICTURES) if self._options.html else (READING,)
        folder = self._cache / "slices" / f"{number:06d}"
        config = self._described.preprocessing
        return Task(given, config, self._options.extraction, model, folder, self._cache / "readings", endings)

    def _batches(self, outcomes: Iterator[Outcome]) -> Iterator[list[Outcome]]:
        """Group outcomes: on a GPU until a batch of slices is full, else one by one."""
        batch: list[Outcome] = []
        slices = 0
        for outcome in outcomes:
            batch.append(outcome)
            if outcome.slices is not None:
                slices += outcome.slices.prepared.n_slices
                if self._ensemble.device.type == "cpu" or slices >= self._options.batch_size:
                    yield batch
                    batch, slices = [], 0
            elif not slices:
                yield batch
                batch = []
        if batch:
            yield batch

    def _read(self, batch: Sequence[Outcome]) -> None:
        """Read the scans of a batch that have not been read, and keep what was read."""
        todo = [(outcome, outcome.slices) for outcome in batch if outcome.slices is not None]
        if not todo:
            return
        split = split_of([slices.prepared for _, slices in todo])
        years = self._ensemble.slice_years(split)
        for i, (outcome, slices) in enumerate(todo):
            if self._pages:
                pictures = self._cache / "readings" / f"{outcome.key}{PICTURES}"
                self._pages.draw(pictures, split.take(np.arange(len(todo)) == i), self._ensemble)
            SliceReading.of(slices, years[:, split.slice_scan == i]).save(self._reading(outcome.key))

    def _reading(self, key: str) -> Path:
        return self._cache / "readings" / f"{key}{READING}"

    def _row(self, number: int, given: Given, outcome: Outcome) -> dict[str, Any]:
        model = f"{self._described.experiment}/{self._described.arm}"
        about = named(given) | {"model": model}
        if outcome.error:
            row = about | failed(outcome.error)
            if self._pages:
                self._pages.note(row)
            return row
        reading = SliceReading.load(self._reading(outcome.key))
        row = about | judge(given, reading, self._reference, self._described.aggregate)
        if self._pages:
            self._pages.write(number, row, reading, self._cache / "readings" / f"{outcome.key}{PICTURES}")
        return row


@contextmanager
def _cache(folder: Path | None) -> Iterator[Path]:
    """Give the folder of what is done already, tidied up, or one that is gone afterwards."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="brainage-") as name:
            yield Path(name)
        return
    with sharing(folder):
        yield folder
        shutil.rmtree(folder / "slices", ignore_errors=True)
