"""Patience with a database's server that is away for minutes."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from sqlalchemy.exc import SQLAlchemyError

from brainage_ray.execution.database import Database, explain, passes, reason_of
from brainage_ray.execution.study_lock import TakenError

logger = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""How long a search waits for a server that does not answer."""
LONGEST_WAIT_S = 10.0
"""Between two tries."""


class PatientStorage:
    """Waits for a server that is away: what was to be written is written once it is back.

    A call whose answer was lost is made again. That is safe as one process writes: attributes and values are set
    to the same, and a trial made twice leaves one that has no place in the study, and is never counted.

    Args:
        storage: what it passes all calls to.
        database: where that is.
        hold: makes sure that the study is still this process's.
    """

    def __init__(self, storage: BaseStorage, database: Database, hold: Callable[[], None]) -> None:
        self._storage, self._database, self._hold = storage, database, hold
        self._patience = 0.0 if database.file else PATIENCE_S

    def __getattr__(self, name: str) -> Any:
        """Return the method of that name, made patient."""
        if name.startswith("__"):
            raise AttributeError(name)
        method = getattr(self._storage, name)
        return functools.partial(self._call, method) if callable(method) else method

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        began, tries = time.monotonic(), 0
        while True:
            try:
                if tries or method.__name__ == "create_new_trial":
                    self._hold()
                answer = method(*arguments, **options)
                break
            except UpdateFinishedTrialError:
                if not tries:
                    raise
                answer = True  # the try before had closed the trial
                break
            except (StorageInternalError, SQLAlchemyError, TakenError) as error:
                self._wait(error, began, tries)
                tries += 1
        if tries:
            waited = time.monotonic() - began
            logger.warning("The storage %s answers again after %.0f s", self._database.shown, waited)
        return answer

    def _wait(self, error: Exception, began: float, tries: int) -> None:
        waited = time.monotonic() - began
        if not (isinstance(error, TakenError) or passes(error)) or waited >= self._patience:
            self._patience = 0.0  # what is still to be noted before the end must not wait again
            raise explain(error, self._database, waited) from None
        if tries == 0:
            problem = reason_of(error, self._database)
            logger.warning("The storage %s is away, trying again: %s", self._database.shown, problem)
        try:
            time.sleep(min(0.25 * 2**tries, LONGEST_WAIT_S))
        except BaseException:
            self._patience = 0.0
            raise
