"""Jobs on a cluster for real: `ray up` over an sshd on the loopback, and all that a laptop does with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
import yaml
from small_experiment import EXPERIMENT as SMALL
from test_cluster_local import ROOT, Machine, eventually, free_port, script

from brainage_ray.pipeline import read_model_folder

pytest.importorskip("aiohttp_cors", reason="needs ray[default]")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync"),
    # sockets of Ray's client, which nothing closes before the process ends
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EXPERIMENT = SMALL | {
    "name": "afar", "training": {"max_epochs": 25, "batch_size": 8}, "search": {**SMALL["search"], "trials": 4},
}  # fmt: skip


class Laptop:
    """A home with a working tree, and the command there."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.tree, self.file = machine, machine.laptop / "tree", machine.folder / "local.yaml"
        shutil.copytree(ROOT / "brainage_ray", self.tree / "brainage_ray", ignore=shutil.ignore_patterns("__pycache__"))
        (self.tree / "afar.yaml").write_text(yaml.safe_dump(EXPERIMENT))
        config = yaml.safe_load(Path(machine.config()).read_text())
        config["provider"]["worker_ips"], config["max_workers"] = [], 0
        mounts = config["file_mounts"]  # each takes its time
        config["file_mounts"] = {place: mounts[place] for place in ("~/.ray/auth_token", "~/brainage/brainage_ray")}
        start = config["head_start_ray_commands"][-1].replace("--num-cpus=1", "--num-cpus=2")
        ports = f"--dashboard-port={free_port()} --dashboard-agent-listen-port={free_port()}"  # others run
        config["head_start_ray_commands"] = [f"{start} {ports}"]
        self.file.write_text(yaml.safe_dump(config))
        script(machine.home / "venv/bin/python", f'exec {sys.executable} "$@"')

    def start(self, *words: str) -> Running:
        where = ["--cluster", str(self.file), *(["--workspace", str(self.workspace)] if words[0] != "stop" else [])]
        environment = os.environ | {
            "HOME": str(self.machine.laptop), "PATH": f"{self.machine.folder}/bin:{os.environ['PATH']}",
            "COLUMNS": "200", "RAY_ADDRESS": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1", "DISPLAY": "",
            "WAYLAND_DISPLAY": "",
        }  # fmt: skip
        return Running([sys.executable, "-m", "brainage_ray.cli", *words, *where], self.tree, environment)

    def call(self, *words: str) -> str:
        running = self.start(*words)
        assert running.process.wait(timeout=900) == 0, running.text
        running.reader.join()
        return running.text

    def up(self) -> None:
        for tries_left in (2, 1, 0):
            try:
                self.machine.call("up", "--yes", str(self.file))
                return
            except AssertionError:  # Ray gives its own start 30 s, which a busy machine does not keep
                if not tries_left:
                    raise
                self.stop_ray()

    def stop_ray(self) -> None:
        subprocess.run([str(self.machine.home / "venv/bin/ray"), "stop"], check=False)

    @property
    def workspace(self) -> Path:
        return self.machine.folder / "runs"


class Running:
    """A command of the laptop, and all that it has said."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def says(self, words: str) -> None:
        eventually(lambda: words in self.text or self.process.poll() is not None, seconds=600)
        assert words in self.text, self.text

    def ends(self, code: int) -> str:
        assert self.process.wait(timeout=900) == code, self.text
        self.reader.join()
        return self.text


@pytest.fixture(scope="module")
def laptop(machine: Machine) -> Iterator[Laptop]:
    laptop = Laptop(machine)
    try:
        laptop.up()
        yield laptop
    finally:
        laptop.stop_ray()


def test_a_search_outlives_its_follower_and_its_head_and_its_model_comes_home(laptop, tmp_path):
    machine = laptop.machine
    first = laptop.start("run", "afar.yaml")
    first.says("search unet:")
    first.process.kill()
    eventually(lambda: not tunnels(machine), seconds=60)

    second = laptop.start("run", "afar.yaml")
    second.says("runs already")
    second.says("search unet:")  # its last lines, though they were said before
    other = laptop.start("run", "afar.yaml", "--until", "prepare").ends(2)
    assert "with other settings" in other
    for process in psutil.Process(second.process.pid).children():  # its tunnel
        process.kill()
    second.says("The connection is lost")
    second.says("Connected again")
    second.process.send_signal(signal.SIGINT)
    left = second.ends(130)
    assert re.search(r"goes on without you\. Back to it: brainage run afar.yaml .*--cluster", left)

    assert "stopped" in laptop.call("stop", "afar.yaml")
    assert not [line for line in machine.processes() if "brainage_ray.cli run" in line]
    assert re.search(r"search *│ unet *│ \d of 4", laptop.call("status", "afar.yaml"))

    machine.call("down", "--yes", str(laptop.file))  # and another head, with the same workspace
    eventually(lambda: not machine.processes(), seconds=60)
    laptop.up()
    done = laptop.start("run", "afar.yaml").ends(0)
    assert "prepare:" not in done  # it was done before
    assert "test MAE" in done

    shown = laptop.call("status", "afar.yaml")
    assert shown.count("succeeded") == 1
    assert re.search(r"search *│ unet *│ 4 of 4", shown)
    assert (laptop.workspace / "afar" / "report" / "index.html").is_file()
    laptop.call("pull", "afar/unet", "--to", str(tmp_path / "checkpoints"))
    assert read_model_folder(tmp_path / "checkpoints").arm == "unet"
    assert json.loads((tmp_path / "checkpoints" / "model.json").read_text())["experiment"] == "afar"


def test_what_is_not_there_is_said(laptop, tmp_path):
    assert "There are afar/unet" in laptop.start("pull", "afar/other", "--to", str(tmp_path / "no")).ends(2)
    assert "Nothing runs on this cluster" in laptop.call("stop")


def test_the_pages_come_here_until_ctrl_c(laptop):
    pages = laptop.start("ui")
    pages.says("Ctrl-C ends it.")
    urls = dict(re.findall(r"^(\w+) +(http://127\.0\.0\.1:\d+)$", pages.text, re.MULTILINE))
    assert set(urls) == {"MLflow", "Ray", "Optuna"}
    assert b"afar" in urlopen(f"{urls['Optuna']}/api/studies").read()
    pages.process.send_signal(signal.SIGINT)
    pages.ends(0)
    eventually(lambda: not tunnels(laptop.machine), seconds=60)


def test_nothing_is_left_after_ray_down(laptop):
    laptop.machine.call("down", "--yes", str(laptop.file))
    eventually(lambda: not laptop.machine.processes(), seconds=60)


def tunnels(machine: Machine) -> list[str]:
    return [line for line in machine.processes() if "ExitOnForwardFailure" in line]
