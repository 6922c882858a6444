"""MLflow's server killed in the middle of a search, and back: before its end, or after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from survival_plans import check, give_orders, plan_in, start_driver, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Server:
    """MLflow's own server on this machine, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self._port}", folder
        folder.mkdir()

    def start(self) -> None:
        store = [f"--backend-store-uri=sqlite:///{self._folder}/mlflow.db", f"--default-artifact-root={self._folder}"]
        place = ["--host=127.0.0.1", f"--port={self._port}", "--workers=1"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, *place], start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while True:  # the test's own time limit ends it
            try:
                with urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self._process.poll() is None
                time.sleep(0.1)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


def test_a_server_that_is_gone_for_a_while(address: str, tmp_path: Path, server: Server):
    plan = plan_in(tmp_path)
    give_orders(plan, t1_2="wait", t3_1="wait", t5_4="wait")
    driver = start_driver(tmp_path, "random", address, server.uri)

    def reached(order: str) -> None:
        wait_until((plan.folder / "orders" / f"{order}.obeyed").exists, driver)

    def go_on(order: str) -> None:
        (plan.folder / "orders" / f"{order}.go").touch()

    reached("001-2")
    server.kill()
    go_on("001-2")
    reached("003-1")
    server.start()
    go_on("003-1")
    reached("005-4")
    server.kill()  # and gone until after the end
    go_on("005-4")
    _, errors = driver.communicate()
    assert driver.returncode == 0
    assert "were not written to MLflow" in errors
    server.start()
    driver = start_driver(tmp_path, "random", address, server.uri)
    _, errors = driver.communicate()
    assert (driver.returncode, errors) == (0, "")
    check(plan, tmp_path, extra=0, uri=server.uri)
