"""Preparing the scans that somebody gives to a model: several at a time, one bad one alone fails.

Neither torch nor Ray is loaded here: a worker is a plain process, ready in a second or two.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from brainage_ray.config import PreprocessingConfig
from brainage_ray.config.base import digest
from brainage_ray.data.files import sha256_of
from brainage_ray.data.prepare_given import ExtractionChoice, Given, GivenSlices, prepare_given
from brainage_ray.errors import NoSpaceError

READING_VERSION = 1
"""Goes up with every change of the code that changes what a model reads of a scan; part of the key of what is kept."""
WAITING = 3
"""Scans a worker that are prepared or being prepared ahead of the networks: bounds the disk, and the memory."""


@dataclass(frozen=True)
class Task:
    """One scan to prepare."""

    given: Given
    config: PreprocessingConfig
    extraction: ExtractionChoice
    model: str
    """Digest of the model."""
    folder: Path
    """For the scan's slices."""
    readings: Path
    """Folder of what the model has read already, a file a key."""
    endings: tuple[str, ...]
    """Of the files that have to be there for the scan to be done."""


@dataclass(frozen=True)
class Outcome:
    """What came of it: slices to read, or nothing to do, or an error."""

    key: str = ""
    """Of the scan's content, the model and how the brain is extracted."""
    slices: GivenSlices | None = None
    """None where the model has read the scan already."""
    error: str = ""


def prepare_all(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """Yield the outcome of each task, in order, while processes are ahead by WAITING each.

    A process that dies, as by the kernel for its memory, takes no other scan with it: those that were under way are
    done again one by one, and the one that kills its process again is the one that has failed.

    Args:
        tasks: in the order that is wanted.
        workers: processes; with one there is none, and the scans are prepared here.

    Raises:
        NoSpaceError: the disk is full.
    """
    if workers <= 1:
        yield from map(prepare, tasks)
        return
    done = 0
    while done < len(tasks):
        try:
            for outcome in _together(tasks[done:], workers):
                done += 1
                yield outcome
        except BrokenProcessPool:
            for task in tasks[done : done + WAITING * workers]:
                yield _alone(task)
                done += 1


def _together(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    todo = iter(tasks)
    with _pool(min(workers, len(tasks))) as pool:
        ahead: deque[Future[Outcome]] = deque()
        try:
            for task in todo:
                ahead.append(pool.submit(prepare, task))
                if len(ahead) >= WAITING * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _alone(task: Task) -> Outcome:
    try:
        with _pool(1) as pool:
            return pool.submit(prepare, task).result()
    except BrokenProcessPool:
        problem = f"{task.given.image}: the process that prepared it was killed, most likely for the memory it took"
        return Outcome(error=f"{problem}. Look at the size of the scan, or prepare it on a larger machine.")


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def prepare(task: Task) -> Outcome:
    """Prepare one scan, or find that the model has read it already.

    Raises:
        NoSpaceError: the disk is full.
    """
    given = task.given
    if given.error:
        return Outcome(error=given.error)
    try:
        content = sha256_of(given.image) if given.image.is_file() else ""
        key = digest(READING_VERSION, content, task.model, task.extraction)
        if content and all((task.readings / f"{key}{ending}").is_file() for ending in task.endings):
            return Outcome(key)
        return Outcome(key, prepare_given(given.image, task.config, task.folder, task.extraction))
    except NoSpaceError:
        raise
    except Exception as error:  # whatever is wrong with one scan, it stops no other
        return Outcome(error=str(error) or type(error).__name__)
