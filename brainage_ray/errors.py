"""Every error that this package raises on purpose.

::

    BrainageError              exit code 1: something failed while it ran
    |-- ConfigError            exit code 2: an experiment, a search space, --set or an option is wrong
    |-- DataError              a scan, a store or a file of data cannot be used
    |   |-- MetadataError      exit code 2: a table or XML about the scans is wrong
    |   |-- LeakageError       exit code 3: a person, an image or a split is where it may not be
    |   |-- StoreError         a slice store is missing, damaged or of another version
    |   `-- UnsafeFileError    a file does what no honest one of its kind does; each is a line in the log too
    |-- WeightsError           weights do not fit the network, or not the checksum
    |-- TrialFailed            a training run ended with NaN or raised
    |-- EngineError            Ray, MLflow or the machine cannot do what is asked
    |   `-- ConnectionLost     a server does not answer; it may later
    |-- Detached               exit code 130: a job goes on, and nobody follows it
    `-- NoSpaceError           the disk is full

Each message is one paragraph: what is wrong (file, key or scan, and value), then the fix.
"""

from __future__ import annotations

import logging

_LOG = logging.getLogger(__name__)


class BrainageError(Exception):
    """An error with a fix.

    Args:
        problem: what is wrong, naming the file, key or scan, and the value.
        fix: what to do about it, as an instruction.
    """

    exit_code = 1

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        """Return the problem and the fix as one paragraph."""
        return f"{self.problem.rstrip('.')}. {self.fix}".strip() if self.fix else self.problem


class ConfigError(BrainageError):
    """Something that the user wrote in an experiment, a search space or on the command line is wrong."""

    exit_code = 2


class DataError(BrainageError):
    """A scan or a file of data cannot be used."""


class MetadataError(DataError):
    """A table or an XML that describes the scans is wrong."""

    exit_code = 2


class LeakageError(DataError):
    """A person is in two splits, or a split is asked for where it may not be opened."""

    exit_code = 3


class StoreError(DataError):
    """A slice store is missing, damaged or written by another version."""


class UnsafeFileError(DataError):
    """A file holds code, names a file outside its folder, or unpacks to far more than it is.

    It is a line in the log as soon as it is made, in each process that hears of it: a command that goes on without the
    file leaves the line all the same.
    """

    def __init__(self, problem: str, fix: str = "Do not use it: ask who made it.") -> None:
        super().__init__(problem, fix)
        _LOG.warning("Refused: %s", problem)


class WeightsError(BrainageError):
    """Weights do not fit the network that they are for, or not their checksum."""


class TrialFailed(BrainageError):
    """A training run ended with NaN or raised."""


class EngineError(BrainageError):
    """Ray, MLflow or the machine cannot do what is asked."""


class ConnectionLost(EngineError):
    """A server does not answer; it may later."""


class Detached(BrainageError):
    """Nobody follows a job any more, which goes on."""

    exit_code = 130


class NoSpaceError(BrainageError):
    """The disk is full."""
