"""cluster/slurm.sh: a cluster of its own comes up, the experiment runs on it, a signal ends both, and nothing is left.

Slurm itself is played: `srun` runs its command here, `scontrol` says the names of two nodes and notes a requeue.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from small_experiment import EXPERIMENT

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "cluster" / "slurm.sh"
FAKES = {
    "srun": """echo "$*" >> calls
while [[ $1 == --* ]]; do
    [[ $1 != --exclude=* || -z ${NO_WORKER:-} ]] || exec sleep 600
    shift
done
exec "$@"
""",
    "scontrol": """echo "$*" >> calls
[[ $1 != show ]] || printf '%s\\n' one two
""",
    "brainage": f"""exec {sys.executable} -c \
'import sys; from brainage_ray.cli import main; sys.argv[0] = "brainage"; main()' "$@"
""",
}

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


class Job:
    """What sbatch would start, with what Slurm would say in the environment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, secrets.randbelow(10**6) + 10**6
        self.token = folder / f".ray-token-{self.number}"
        self.log = folder / "log"
        for name, script in FAKES.items():
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/usr/bin/env bash\n{script}")
            program.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        slurm = {
            "SLURM_JOB_ID": str(self.number), "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "4096", "SLURM_JOB_END_TIME": str(int(time.time()) + 290),
            "HEAD_IP": "127.0.0.1", "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200",
        }  # fmt: skip
        with self.log.open("ab") as log:
            return subprocess.Popen(["bash", str(SCRIPT), *arguments], cwd=self.folder, stdout=log, stderr=log,
                                    env=os.environ | slurm | environment)  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def calls(self) -> str:
        return (self.folder / "calls").read_text()

    def processes(self) -> list[str]:
        """What still runs with this job's number in its environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"SLURM_JOB_ID={self.number}\0" in (process / "environ").read_text(errors="replace"):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found

    def has_left_nothing(self) -> bool:
        eventually(lambda: not self.processes(), seconds=30)
        return not self.token.exists() and not Path(f"/tmp/ray-{self.number}").exists()


def eventually(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def job(tmp_path):
    job = Job(tmp_path)
    yield job
    for process in Path("/proc").glob("[0-9]*"):  # of a test that failed
        try:
            if f"SLURM_JOB_ID={job.number}\0" in (process / "environ").read_text(errors="replace"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
    shutil.rmtree(f"/tmp/ray-{job.number}", ignore_errors=True)


def test_it_is_shell():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_sbatch_is_told_to_warn_and_to_queue_again():
    options = re.findall(r"^#SBATCH (\S+)$", SCRIPT.read_text(), re.MULTILINE)
    assert {"--signal=B:TERM@300", "--requeue", "--ntasks-per-node=1", "--open-mode=append"} <= set(options)


def test_nothing_ends_processes_by_name_nor_listens_to_the_world():
    text = SCRIPT.read_text()
    assert not re.search(r"\bray stop\b|pkill|killall|symmetric-run", text)
    assert "--dashboard-host=127.0.0.1" in text
    assert "0.0.0.0" not in text


def test_outside_slurm_it_says_how_to_start_it(tmp_path):
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(["bash", str(SCRIPT), "x.yaml"], capture_output=True, text=True, env=outside, cwd=tmp_path)
    assert done.returncode == 1
    assert "sbatch cluster/slurm.sh" in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_an_experiment_it_starts_nothing(job):
    assert job.start().wait(20) == 1
    assert "No experiment" in job.said
    assert not job.token.exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_is_told_to_end_queues_again_and_goes_on(job):
    (job.folder / "small.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    first = job.start("small.yaml", "--until", "search", "--set", "search.trials=400")  # minutes
    eventually(lambda: "Ray runs on 2 nodes" in job.said or first.poll() is not None, seconds=120)
    assert stat.S_IMODE(job.token.stat().st_mode) == 0o600, job.said
    assert len(job.token.read_text()) == 64
    assert sum("/raylet " in line for line in job.processes()) == 2
    eventually(lambda: "search unet" in job.said or first.poll() is not None, seconds=120)
    first.send_signal(signal.SIGTERM)
    assert first.wait(120) == 143, job.said
    assert "What is done is kept" in job.said
    assert f"requeue {job.number}" in job.calls
    assert job.has_left_nothing()
    (journal,) = job.folder.glob("runs/small/search/**/*.journal")
    before = journal.read_bytes()

    assert job.start("small.yaml", "--until", "search", "--set", "search.trials=20").wait(240) == 0, job.said
    assert "Done up to search" in job.said
    assert journal.read_bytes().startswith(before)
    assert job.calls.count("requeue") == 1
    assert job.has_left_nothing()


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_that_does_not_come_is_waited_for_no_longer_than_the_limit(job):
    (job.folder / "small.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    assert job.start("small.yaml", NO_WORKER="yes", WAIT_SECONDS="20").wait(120) == 1
    assert "After 20 s still not: all 2 nodes have joined" in job.said
    assert "requeue" not in job.calls
    assert job.has_left_nothing()


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_on_one_node_ends_as_brainage_ends(job):
    assert job.start("absent.yaml", SLURM_JOB_NUM_NODES="1").wait(120) == 2
    assert "Ray runs on 1 nodes" in job.said
    assert "absent.yaml" in job.said
    assert "requeue" not in job.calls
    assert "--exclude" not in job.calls
    assert job.has_left_nothing()
