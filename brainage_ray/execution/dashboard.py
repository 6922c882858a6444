"""Optuna's dashboard on all studies of a workspace, wherever they live; it can look, and change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from brainage_ray.errors import EngineError
from brainage_ray.execution.storage import find_study

TRIALS = 10**9
"""More than a storage has; ids of trials of the i-th study begin at i times this."""


class WorkspaceStudies(BaseStorage):  # type: ignore[misc]
    """The studies of all searches below a workspace as one storage, found anew at each look.

    Args:
        workspace: holds `<experiment>/search/<arm>-<key>`.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._studies: dict[Path, tuple[BaseStorage, int]] = {}

    def get_all_studies(self) -> list[Any]:
        """Return all studies, numbered as they were found."""
        for folder in sorted(self._workspace.glob("*/search/*")):
            found = None if folder in self._studies else find_study(folder)
            if found:
                self._studies[folder] = (found[0], found[0].get_study_id_from_name(found[1]))
        return [self._frozen(i) for i in range(len(self._studies))]

    def _frozen(self, study_id: int) -> Any:
        folder = list(self._studies)[study_id]
        storage, inner = self._studies[folder]
        frozen = copy.copy(next(study for study in storage.get_all_studies() if study._study_id == inner))
        frozen._study_id = study_id
        frozen.study_name = f"{folder.parent.parent.name}/{folder.name}"
        return frozen

    def _inner(self, study_id: int) -> tuple[BaseStorage, int]:
        return list(self._studies.values())[study_id]

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the number of a study."""
        return next(int(study._study_id) for study in self.get_all_studies() if study.study_name == study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        return str(self._frozen(study_id).study_name)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return what is better of each value, less or more."""
        return list(self._frozen(study_id).directions)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what was noted of a study."""
        return dict(self._frozen(study_id).user_attrs)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what Optuna noted of a study."""
        return dict(self._frozen(study_id).system_attrs)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        study_id, inner = divmod(trial_id, TRIALS)
        return _numbered(self._inner(study_id)[0].get_trial(inner), study_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study."""
        storage, inner = self._inner(study_id)
        return [_numbered(trial, study_id) for trial in storage.get_all_trials(inner, deepcopy, states)]

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise EngineError("the driver of a search alone writes its study", "Only look.")

    create_new_study = delete_study = set_study_user_attr = set_study_system_attr = _refuse
    create_new_trial = set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse


def _numbered(trial: FrozenTrial, study_id: int) -> FrozenTrial:
    trial = copy.copy(trial)
    trial._trial_id += study_id * TRIALS
    return trial


def serve_dashboard(
    workspace: Path, storage: str | None, address: tuple[str, int], say: Callable[[str], object]
) -> None:
    """Serve Optuna's dashboard until Ctrl-C.

    Args:
        workspace: whose searches it shows.
        storage: URL of a database, all of whose studies it shows instead.
        address: host and port to listen on; the pages ask for no password.
        say: told where the pages are.

    Raises:
        EngineError: there are no studies, the storage cannot be read, the port is taken, or there is no dashboard.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        fix = "Install it: pip install 'brainage-ray[dashboard]'."
        raise EngineError("Optuna's dashboard is not installed", fix) from None
    studies = _studies(workspace, storage)
    host, port = address
    try:
        server = make_server(host, port, _reading(wsgi(studies)), _Server, _Quiet)
    except OSError as error:
        raise EngineError(f"Cannot listen on {host}:{port}: {error.strerror}", "Give another --port.") from None
    say(f"Optuna's dashboard on http://{host}:{port} (Ctrl-C ends it)")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _studies(workspace: Path, storage: str | None) -> BaseStorage:
    if storage is None:
        found: BaseStorage | None = WorkspaceStudies(workspace)
        where = str(workspace)
    else:
        from brainage_ray.execution.database import parse_storage, read_database

        database = parse_storage(storage)
        found, where = read_database(database), database.shown
    if found is None or not found.get_all_studies():
        raise EngineError(f"no search was begun in {where}", "Start one: brainage run EXPERIMENT.")
    return found


def _reading(app: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """Refuse all requests that would change something."""

    def reading(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] in ("GET", "HEAD"):
            answer: Iterable[bytes] = app(environment, start)
            return answer
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "The driver of a search alone writes its study."}']

    return reading


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002
        pass
