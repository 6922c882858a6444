"""cluster/local.yaml for real: `ray up`, `ray exec`, the services and `ray down` over an sshd on the loopback."""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from postgres import programs

ROOT = Path(__file__).resolve().parent.parent
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
RAY = Path(sys.executable).parent / "ray"

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SSHD and shutil.which("ssh") and shutil.which("rsync") and programs()),
        reason="needs sshd, ssh, rsync and PostgreSQL",
    ),
]


BRAINAGE = "import sys; from brainage_ray.cli import main; sys.argv[0] = 'brainage'; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(1)


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


class Machine:
    """An sshd whose sessions live in a home of their own, and the home of whoever calls it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ssh_port, self.ray_port = folder, free_port(), free_port()
        self.home, self.laptop, self.ray = folder / "home", folder / "laptop", folder / "ray"
        self.workspace, self.ports = folder / "srv" / "runs", (free_port(), free_port())
        self.name = f"test-{secrets.token_hex(4)}"
        for place in (self.home / "tmp", self.laptop / "tmp", self.laptop / ".ray", folder / "sshd"):
            place.mkdir(parents=True)
        (self.laptop / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        script(self.home / "venv/bin/brainage", f'PYTHONPATH={ROOT} exec {sys.executable} -c "{BRAINAGE}" "$@"')
        # in place of the machine's own table of what to start, which is left alone
        table = folder / "crontab"
        script(
            self.home / "venv/bin/crontab",
            f"[[ $1 != -l ]] || exec cat {table}\ncat > {table}.new; mv {table}.new {table}",
        )
        # `ray stop`, which `ray down` says, would end every Ray process of this machine: here it ends this test's.
        end = f"pgrep -f -- '{self.ray}/' | xargs --no-run-if-empty kill"
        stop = f"{{ {end}; sleep 3; {end} -KILL; exit 0; }}"  # as Ray does, which waits longer
        script(self.home / "venv/bin/ray", f'[[ $1 != stop ]] || {stop}\nexec {RAY} "$@"')
        ssh = f"exec {shutil.which('ssh')} -o Port={self.ssh_port}"
        script(folder / "bin/ssh", f'{ssh} "$@"')
        # the head calls the worker; ssh takes the ~ of its copy of the key for the home that the system knows
        script(self.home / "venv/bin/ssh", f'{ssh} -i {self.home}/ray_bootstrap_key.pem "$@"')

    def start(self) -> subprocess.Popen[bytes]:
        sshd = self.folder / "sshd"
        for key in (sshd / "host", sshd / "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        (sshd / "config").write_text(
            f"ListenAddress 127.0.0.1:{self.ssh_port}\nListenAddress 127.0.0.2:{self.ssh_port}\n"
            f"HostKey {sshd}/host\nAuthorizedKeysFile {sshd}/key.pub\n"
            "UsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
            f"SetEnv HOME={self.home} RAY_TMPDIR={self.home}/tmp PYTHONPATH={os.environ.get('PYTHONPATH', '')}\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it, and only a service makes it
        command = [str(SSHD), "-D", "-e", "-f", str(sshd / "config")]
        with (sshd / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.ssh_port)) == 0:
                    return process
            time.sleep(0.1)
        raise AssertionError((sshd / "log").read_text())

    def config(self) -> Path:
        """The file in the repository, for this machine, without what costs minutes or the rights of root."""
        config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
        config["cluster_name"] = self.name
        config["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": ["127.0.0.2"]}
        config["auth"] = {"ssh_user": getpass.getuser(), "ssh_private_key": str(self.folder / "sshd" / "key")}
        config["setup_commands"] = [c for c in config["setup_commands"] if "sudo" not in c and "pip install" not in c]
        config["head_setup_commands"] = [c for c in config["head_setup_commands"] if "sudo" not in c]
        for role, program, ip in (("head", "gcs_server", "127.0.0.1"), ("worker", "raylet", "127.0.0.2")):
            commands = config[f"{role}_start_ray_commands"]
            guard = f'pgrep -u "$(id -u)" -x {program} > /dev/null || '  # there may be other clusters on this machine
            assert guard in commands[-1]
            assert "6379" in commands[-1]
            start = commands[-1].replace(guard, "").replace("6379", str(self.ray_port))
            config[f"{role}_start_ray_commands"] = [
                *(c for c in commands[:-1] if "sudo" not in c),
                f"{start} --node-ip-address={ip} --temp-dir={self.ray} --num-cpus=1",
            ]
        port, postgres_port = self.ports
        text = yaml.safe_dump(config, width=1000).replace("/srv/brainage", str(self.folder / "srv"))
        start = "brainage services start"
        path = self.folder / "local.yaml"
        path.write_text(text.replace(f"{start} --", f"{start} --port {port} --postgres-port {postgres_port} --"))
        return path

    def call(self, verb: str, *arguments: str) -> str:
        """Run `ray VERB` as somebody would at home; return all that it says."""
        environment = os.environ | {
            "HOME": str(self.laptop), "RAY_TMPDIR": f"{self.laptop}/tmp", "TMPDIR": f"{self.laptop}/tmp",
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        done = subprocess.run([str(RAY), verb, *arguments], cwd=ROOT, env=environment, timeout=500, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def processes(self) -> list[str]:
        """What runs in one of the two homes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_text().replace("\0", " ")
                if f"HOME={self.folder}/" in (process / "environ").read_text(errors="replace"):
                    found.append(words)
            except OSError:
                continue
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="bl", dir="/tmp", ignore_cleanup_errors=True) as folder:  # Ray's sockets
        Path(folder).chmod(0o755)  # started by root, PostgreSQL runs as another user
        machine = Machine(Path(folder))
        sshd = machine.start()
        try:
            yield machine
        finally:
            for command in (["ray", "stop"], ["brainage", "services", "stop", "--workspace", str(machine.workspace)]):
                subprocess.run([machine.home / "venv/bin" / command[0], *command[1:]], check=False)
            sshd.terminate()
            sshd.wait()
    user, name = (hashlib.sha256(text.encode()).hexdigest()[:10] for text in (getpass.getuser(), machine.name))
    shutil.rmtree(f"/tmp/ray_ssh_{user}/{name}", ignore_errors=True)


def test_ray_up_exec_and_down(machine):
    config = str(machine.config())
    machine.call("up", "--yes", config)
    token = machine.home / ".ray" / "auth_token"
    assert token.read_text() == (machine.laptop / ".ray" / "auth_token").read_text()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert (machine.home / "brainage" / "brainage_ray" / "pipeline" / "run.py").is_file()
    assert not list((machine.home / "brainage").rglob("__pycache__"))
    assert any("/gcs_server " in line for line in machine.processes())

    # the token and the PATH are there without a word of ours, and without the token nobody gets in
    status = f"ray status --address 127.0.0.1:{machine.ray_port}"
    eventually(lambda: "2.0 CPU" in machine.call("exec", config, status), seconds=200)  # the head's and the worker's
    assert "refused" in machine.call("exec", config, f"RAY_AUTH_TOKEN=wrong {status} || echo refused")

    # the servers: where every shell of the head finds them, for those with the password alone, back after a restart
    ask = "PSQL_PAGER=cat psql -tAc 'SELECT 40 + 2' \"${BRAINAGE_STORAGE:?}\" 2>&1"
    assert "42" in machine.call("exec", config, ask)
    assert "authentication failed" in machine.call("exec", config, f"PGPASSWORD=wrong {ask} || true")
    url = f"http://127.0.0.1:{machine.ports[0]}/api/2.0/mlflow/experiments/search?max_results=1"
    code = f"curl -s -o /dev/null -w 'code %{{http_code}}' '{url}'"
    login = '"$MLFLOW_TRACKING_USERNAME:$MLFLOW_TRACKING_PASSWORD"'
    assert "code 200" in machine.call("exec", config, f"{code} -u {login}")
    assert "code 401" in machine.call("exec", config, f"{code} -u admin:wrong")
    stop = f"brainage services stop --workspace {machine.workspace}"
    assert "Stopped" in machine.call("exec", config, stop)
    [at_reboot] = (machine.folder / "crontab").read_text().splitlines()
    machine.call("exec", config, at_reboot.removeprefix("@reboot "))
    assert "42" in machine.call("exec", config, ask)
    machine.call("exec", config, stop)

    machine.call("down", "--yes", config)
    eventually(lambda: not machine.processes(), seconds=60)
