"""Where a study lives: in a journal file of its folder, or in a database that a URL names.

The folder says which, in storage.json, so that no start looks in the wrong place, finds nothing, and begins anew.
Importing it loads no database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from brainage_ray.data.files import atomic_write
from brainage_ray.errors import EngineError
from brainage_ray.execution.journal import (
    JOURNAL,
    STARTS,
    WANTED,
    first_start,
    journal_storage,
    lock_study,
    mend,
    read_places,
    read_trials,
)
from brainage_ray.execution.results import StudyPlan, StudyResult

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from brainage_ray.execution.database import Database

NOTE = "storage.json"


def check_storage(storage: str) -> None:
    """See that studies can be kept in a storage.

    Raises:
        ConfigError: the URL is wrong.
        EngineError: the database cannot be reached.
    """
    from brainage_ray.execution.database import parse_storage, reach

    reach(parse_storage(storage))


def storage_without_secrets(storage: str) -> str:
    """Return a storage's URL as it may be shown."""
    from brainage_ray.execution.database import parse_storage

    return parse_storage(storage).shown


@contextmanager
def opened_study(plan: StudyPlan, **options: Any) -> Iterator[optuna.Study]:
    """Open the study of a plan to write, or begin it; until the block ends no other process can.

    Args:
        plan: of the study.
        options: of `optuna.create_study`: pruner, directions.

    Raises:
        ConfigError: the storage's URL is wrong.
        EngineError: another process has the study, it lives in another storage, or the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with lock_study(plan.folder):
        _check_home(plan)
        if plan.storage is None:
            mend(plan.folder / JOURNAL)
            storage = journal_storage(plan.folder)
            name = _name_in(storage) or plan.name
            yield optuna.create_study(study_name=name, storage=storage, load_if_exists=True, **options)
        else:
            with _in_database(plan, plan.storage, options) as study:
                yield study


def load_study_result(
    folder: Path, wanted: int | None = None, storage: str | None = None, name: str = ""
) -> StudyResult | None:
    """Read a study, finished or not, without changing it: as the next start will find it.

    Args:
        folder: of the study's plan; where it says in which storage the study is, it is read there.
        wanted: number of trials that the study is to have; None: as it was last run.
        storage: where to look otherwise, and who asks: the plan's.
        name: of the study in the storage: the plan's.

    Returns:
        Its trials, without those beyond the wanted number; None where no study was begun.

    Raises:
        EngineError: the study's storage cannot be used, or has lost it.
    """
    found = find_study(folder, storage, name)
    if found is None:
        return None
    study = optuna.load_study(storage=found[0], study_name=found[1])
    wanted = int(study.user_attrs.get(WANTED, 0)) if wanted is None else wanted
    places = read_places(study, wanted)
    return read_trials(places, wanted, first_start(places, study.user_attrs.get(STARTS, 0) + 1))


def find_study(folder: Path, storage: str | None = None, name: str = "") -> tuple[BaseStorage, str] | None:
    """Open the storage of a folder's study to read.

    Returns:
        The storage and the study's name in it; None where no study was begun.

    Raises:
        EngineError: the storage cannot be used, or has lost the study.
    """
    if _has_journal(folder):
        journal = journal_storage(folder)
        begun = _name_in(journal)
        return (journal, begun) if begun else None
    note = read_note(folder)
    if note is None and (storage is None or not name):
        return None
    from brainage_ray.execution.database import parse_storage, read_database

    database = parse_storage(storage or note["storage"]) if note else parse_storage(str(storage))
    name = note["study"] if note else name
    found = read_database(database)
    if found is not None and _holds(found, name):
        return found, name
    if note:
        raise _lost(folder, note, database)
    return None


def read_note(folder: Path) -> dict[str, str] | None:
    """Return which storage holds the study of a folder, and under which name; None for a journal, or nothing."""
    file = folder / NOTE
    return dict(json.loads(file.read_text())) if file.is_file() else None


@contextmanager
def _in_database(plan: StudyPlan, storage: str, options: dict[str, Any]) -> Iterator[optuna.Study]:
    from brainage_ray.execution.database import opened_database, parse_storage
    from brainage_ray.execution.patience import PatientStorage
    from brainage_ray.execution.study_lock import locked

    database, note = parse_storage(storage), read_note(plan.folder)
    with locked(database, plan.name) as hold, opened_database(database) as opened:
        if note and not _holds(opened, plan.name):
            raise _lost(plan.folder, note, database)
        patient: Any = PatientStorage(opened, database, hold)
        study = optuna.create_study(study_name=plan.name, storage=patient, load_if_exists=True, **options)
        _write_note(plan, database)
        yield study


def _check_home(plan: StudyPlan) -> None:
    """Refuse to begin a second study beside the one that a folder has."""
    note = read_note(plan.folder)
    if plan.storage is None and note:
        raise EngineError(
            f"the study of {plan.folder} lives in {note['storage']}, and this start was given no storage",
            f"Give --storage {note['storage']}, or set BRAINAGE_STORAGE; to begin it anew, remove that folder.",
        )
    if plan.storage is not None and _has_journal(plan.folder) and _name_in(journal_storage(plan.folder)):
        raise EngineError(
            f"the study of {plan.folder} lives in its own journal file, and this start was given a storage",
            "Leave out --storage and BRAINAGE_STORAGE; to begin it anew, remove that folder.",
        )


def _lost(folder: Path, note: dict[str, str], database: Database) -> EngineError:
    problem = f"the study of {folder} was begun as {note['study']} in {note['storage']}, but "
    problem += "is gone from there" if note["storage"] == database.shown else f"{database.shown} does not hold it"
    return EngineError(problem, "Give the --storage that does; to begin it anew, remove that folder.")


def _write_note(plan: StudyPlan, database: Database) -> None:
    note = {"storage": database.shown, "study": plan.name}
    if note != read_note(plan.folder):
        with atomic_write(plan.folder / NOTE) as file:
            file.write(json.dumps(note, indent=1).encode())


def _has_journal(folder: Path) -> bool:
    journal = folder / JOURNAL
    return journal.is_file() and journal.stat().st_size > 0


def _name_in(journal: BaseStorage) -> str | None:
    """Return the name of the one study of a journal."""
    return next((study.study_name for study in journal.get_all_studies()), None)


def _holds(storage: BaseStorage, name: str) -> bool:
    try:
        storage.get_study_id_from_name(name)
    except KeyError:
        return False
    return True
