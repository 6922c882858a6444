from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import brainage_ray
from brainage_ray.errors import EngineError
from brainage_ray.execution import Cluster, ClusterResources
from brainage_ray.execution.cluster import PACKAGE, _temporary_folder

HERE = Path(__file__).parent


def script(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_nothing_starts_before_it_is_needed(tmp_path: Path):
    code = """
import sys
from brainage_ray.execution import Cluster, parallel_map
with Cluster() as cluster:
    assert parallel_map(cluster, str, []) == []
print([name for name in ("ray", "torch", "mlflow") if name in sys.modules])
"""
    assert script(code, tmp_path).stdout.strip() == "[]"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere.invalid:6379", "nonsense"])
def test_no_cluster_at_an_address_is_said_at_once(address: str):
    with pytest.raises(EngineError, match=f"no Ray cluster answers at {address}.*ray up"):
        Cluster(address).connect()


@pytest.mark.parametrize("noted", ["", "127.0.0.1:9"])
def test_auto_joins_no_dead_and_no_strange_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: str):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if noted:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(noted)
    with pytest.raises(EngineError, match=f"answers at auto .{noted}"):
        Cluster("auto").connect()


def test_a_ray_client_address_is_refused():
    with pytest.raises(EngineError, match=r"Ray Client.*auto"):
        Cluster("ray://127.0.0.1:10001").connect()


def test_resources_in_words():
    assert str(ClusterResources(2.0, 0.0, 1)) == "2 CPUs and 0 GPUs"
    assert str(ClusterResources(64.0, 8.0, 4)) == "64 CPUs and 8 GPUs on 4 nodes"


def test_folders_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("brainage_ray.execution.cluster._SOCKET_ROOM", 1000)
    dead = tmp_path / "brainage-dead"
    dead.mkdir()
    (dead / "alive").touch()
    first, mark = _temporary_folder()
    second, other = _temporary_folder()
    assert sorted(tmp_path.iterdir()) == sorted([first, second])
    mark.release()
    other.release()


def test_a_process_that_is_killed_while_it_removes_a_folder_leaves_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("brainage_ray.execution.cluster._SOCKET_ROOM", 1000)
    dead = tmp_path / "brainage-dead"
    for name in ("aaa", "session", "zzz"):
        (dead / name).mkdir(parents=True)
    (dead / "alive").touch()
    remove, removed = shutil.rmtree, []

    def killed_at_the_third(path: Path, ignore_errors: bool) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path, ignore_errors)

    monkeypatch.setattr("shutil.rmtree", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        _temporary_folder()
    assert len(removed) == 2
    monkeypatch.setattr("shutil.rmtree", remove)
    folder, mark = _temporary_folder()
    assert [*tmp_path.iterdir()] == [folder]
    mark.release()


@pytest.mark.parametrize("own", [True, False])
def test_ray_does_not_take_sigterm_from_who_has_a_handler(monkeypatch: pytest.MonkeyPatch, own: bool):
    def handler(number: int, frame: object) -> None: ...

    def rays(number: int, frame: object) -> None: ...

    monkeypatch.setattr("ray.init", lambda **options: signal.signal(signal.SIGTERM, rays))
    before = signal.signal(signal.SIGTERM, handler if own else signal.SIG_DFL)
    try:
        Cluster()._init({}, "no Ray", "none")
        assert signal.getsignal(signal.SIGTERM) is (handler if own else rays)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.ray
def test_the_resources_of_a_cluster(cluster: Cluster):
    found = cluster.resources()
    assert found == ClusterResources(cpus=2.0, gpus=0.0, nodes=1, memory=found.memory)
    assert 2**28 < found.memory < 2**50
    assert cluster.places(1, 0) == 2
    assert cluster.places(1, 0.5) == 0
    assert [cluster.places(1, 0, memory=found.memory / n) for n in (0.9, 1, 2, 3)] == [0, 1, 2, 2]


@pytest.mark.ray
def test_a_second_session_leaves_the_cluster_of_the_first(cluster: Cluster):
    with Cluster() as second:
        assert second.resources() == cluster.resources()
    assert cluster.places(1, 0) == 2


@pytest.mark.ray
@pytest.mark.slow
def test_workers_find_a_source_checkout_and_nothing_is_left(tmp_path: Path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "brainage_ray").symlink_to(PACKAGE)
    code = f"""
import sys
sys.path.insert(0, {str(checkout)!r})
import json
from pathlib import Path
from brainage_ray.execution import Cluster, parallel_map
def where(item):
    import os, brainage_ray
    return brainage_ray.__file__, os.getppid()
with Cluster(cpus=1) as cluster:
    (found, raylet), = parallel_map(cluster, where, [0])
    print(json.dumps([found, raylet, str(cluster._temporary)]))
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = script(code, elsewhere)
    assert done.stderr == ""
    found, raylet, folder = json.loads(done.stdout)
    assert Path(found).parent.parent == checkout
    assert not Path(folder).exists()
    assert not Path(f"/proc/{raylet}").exists()
    assert brainage_ray.__file__ != found


@pytest.mark.ray
@pytest.mark.slow
def test_a_running_cluster_is_joined_and_left_running(tmp_path: Path, short_folder: Path):
    code = """
import sys, ray
from ray.cluster_utils import Cluster as RayCluster
running = RayCluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(running.address, flush=True)
sys.stdin.readline()
running.shutdown()
"""
    join = """
import sys
from brainage_ray.execution import Cluster, parallel_map
def square(number):
    import brainage_ray.execution.cluster
    return number**2
for address in (sys.argv[1], "auto"):
    with Cluster(address) as cluster:
        print(parallel_map(cluster, square, [2, 3]), cluster.resources())
"""
    # in a folder of its own: Ray notes its address in there, where this machine's users look for theirs
    own = {**os.environ, "RAY_TMPDIR": str(short_folder)}
    own.pop("RAY_ADDRESS", None)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=own,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as running:
        address = running.stdout.readline().strip()
        joined = subprocess.run(
            [sys.executable, "-c", join, address], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env=own, check=False,
        )  # fmt: skip
        stranger = subprocess.run(
            [sys.executable, "-c", join, address], cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**own, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}, check=False,
        )  # fmt: skip
        running.communicate("end\n", timeout=60)
    assert stranger.returncode == 1
    assert f"EngineError: the Ray cluster at {address}, which listens, does not let us in" in stranger.stderr
    assert "InvalidAuthToken" in stranger.stderr, "Ray's own line"
    assert joined.stdout.splitlines() == ["[4, 9] 1 CPUs and 0 GPUs"] * 2
    assert joined.stderr == ""
