"""Hosts with addresses of their own on this machine: network namespaces on a bridge that lies in the head's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RAY = Path(sys.executable).parent / "ray"
PORT, SUBNET = 6379, "10.77.0"
NOTICE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}
"""A node that is silent is missed after seconds, not minutes; and ends when it misses the head."""


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


class Host:
    """A namespace; what runs in it is ended with it."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{SUBNET}.{number}"
        self.inside = ("ip", "netns", "exec", name)
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")

    def plug_in(self, device: str, gateway: str) -> None:
        """Give it its address; without a default route Ray does not find out which it is."""
        ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", device)
        ip("-n", self.name, "link", "set", device, "up")
        ip("-n", self.name, "route", "add", "default", *(("via", gateway) if gateway else ("dev", device)))

    def ray(self, folder: Path, *options: str) -> None:
        """Run `ray start` there."""
        command = [*self.inside, str(RAY), "start", f"--node-ip-address={self.address}", "--disable-usage-stats"]
        environment = {**os.environ, **NOTICE, "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr

    def pids(self) -> list[int]:
        return [int(pid) for pid in ip("netns", "pids", self.name).split()]

    def kill(self) -> None:
        """Take the power away."""
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)


class Network:
    """A head without CPUs, and workers of one each."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self._folder, self._hosts = folder, [self._host(1)]
        self.head = self._hosts[0]
        self.address = f"{self.head.address}:{PORT}"
        ip("-n", self.head.name, "link", "add", "bridge", "type", "bridge")
        self.head.plug_in("bridge", "")
        self.workers = [self._worker(number) for number in range(workers)]

    def _host(self, number: int) -> Host:
        return Host(f"brainage-{os.getpid()}-{number}", number)

    def _worker(self, number: int) -> Host:
        host, cable = self._host(11 + number), f"cable{number}"
        self._hosts.append(host)
        ip("-n", self.head.name, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        ip("-n", self.head.name, "link", "set", cable, "master", "bridge", "up")
        host.plug_in("eth0", self.head.address)
        return host

    def start(self) -> None:
        (self._folder / "ray").mkdir()
        self.head.ray(self._folder, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false",
                      f"--temp-dir={self._folder}/ray")  # fmt: skip
        for worker in self.workers:
            self.join(worker)

    def join(self, worker: Host) -> None:
        worker.ray(self._folder, f"--address={self.address}", "--num-cpus=1")

    def cable(self, worker: Host, state: str) -> None:
        """Pull the cable of a worker ("down"), or put it back ("up")."""
        ip("-n", self.head.name, "link", "set", f"cable{self.workers.index(worker)}", state)

    def close(self) -> None:
        for host in reversed(self._hosts):
            host.kill()
            ip("netns", "delete", host.name)
