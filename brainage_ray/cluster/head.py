"""The head of a cluster, as ssh reaches it."""

from __future__ import annotations

import getpass
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainage_ray.config.read import read_yaml
from brainage_ray.errors import ConfigError, EngineError
from brainage_ray.execution import find_launched_head

CONNECT_S = 20
SSH_FAILED = 255
"""What ssh itself exits with where it did not get to run the command."""
OPTIONS = (
    # Addresses of clouds are given to new machines again and again, so Ray knows no host by its key, and no more do we.
    "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
    "BatchMode=yes",  # nobody is asked for a password
    f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=5", "ServerAliveCountMax=3",  # seconds; gone after 15
    "ControlMaster=no", "ControlPath=none",  # what we start ends with us
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """A machine, and how ssh gets in."""

    ip: str
    user: str
    key: Path | None = None
    """None: the keys that ssh finds by itself."""
    port: int | None = None
    """None: what ssh's own configuration says, 22 else."""
    proxy: str | None = None
    """ssh's ProxyCommand."""
    dashboard: int = 8265
    """Port of Ray's dashboard on its loopback."""
    file: Path = Path("cluster.yaml")
    """That described it, for messages."""

    def __str__(self) -> str:
        """Return user@ip."""
        return f"{self.user}@{self.ip}"

    def words(self, *options: str) -> list[str]:
        """Return `ssh OPTIONS user@ip`, to which a command may be added.

        Args:
            options: more of ssh's, word by word.
        """
        words = ["ssh", *(word for option in OPTIONS for word in ("-o", option))]
        words += ["-o", "IdentitiesOnly=yes", "-i", str(self.key)] if self.key else []
        words += ["-p", str(self.port)] if self.port else []
        words += ["-o", f"ProxyCommand={self.proxy}"] if self.proxy else []
        return [*words, *options, str(self)]

    def ssh(
        self, command: str, *, told: bytes | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the shell there, and wait for it; its exit code is for the caller to judge.

        Args:
            command: what is secret has no place in it, as all users of a machine see command lines.
            told: to its standard input.
            timeout_s: after which it is given up.

        Raises:
            EngineError: ssh did not get in, says why; or the command took too long.
        """
        given: dict[str, Any] = {"input": told} if told is not None else {"stdin": subprocess.DEVNULL}
        words = [*self.words("-T"), command]
        try:
            done = subprocess.run(words, capture_output=True, timeout=timeout_s, check=False, **given)
        except FileNotFoundError:
            raise no_ssh() from None
        except subprocess.TimeoutExpired:
            problem = f"{self} has not answered within {timeout_s:g} s"
            raise EngineError(problem, f"Look whether it is overloaded or full: ray attach {self.file}") from None
        out, said = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        if done.returncode == SSH_FAILED:
            raise self.refused(said)
        return subprocess.CompletedProcess(words, done.returncode, out, said)

    def read_token(self) -> str:
        """Return the token that Ray asks for on this cluster, which the head alone has to know.

        Raises:
            EngineError: it cannot be read.
        """
        done = self.ssh('cat "${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"')
        token = done.stdout.strip()
        if done.returncode or not token:
            problem = f"{self} has no token of Ray's: {done.stderr.strip() or 'its file is empty'}"
            raise EngineError(
                problem, f"Make one (ray get-auth-token --generate > /dev/null), then: ray up {self.file}"
            )
        return token

    def refused(self, said: str) -> EngineError:
        """Return what ssh's last words mean."""
        said = " ".join(said.split())
        for pattern, problem, fix in _REASONS:
            if re.search(pattern, said, re.IGNORECASE):
                values = {"head": self, "file": self.file, "key": self.key or "~/.ssh/id_ed25519"}
                return EngineError(f"{problem.format(**values)} ({said})", fix.format(**values))
        return EngineError(f"ssh {self} failed: {said or 'it said nothing'}", f"Try it: ray attach {self.file}")


_REASONS = (
    (
        "unprotected private key|bad permissions|error in libcrypto|invalid format",
        "ssh does not take the key {key}",
        "Keep it to yourself (chmod 600 {key}), or name another one in {file}: auth.ssh_private_key.",
    ),
    (
        "permission denied|too many authentication",
        "{head} does not let you in with the key {key}",
        "Put it there (ssh-copy-id -i {key} {head}), or correct auth in {file}.",
    ),
    ("could not resolve", "There is no machine of the name in {head}", "Correct the address in {file}."),
    ("connection refused", "No sshd listens on {head}", "Start the machine (ray up {file}), or its sshd."),
    (
        "timed out|no route to host|network is unreachable|host is down",
        "{head} cannot be reached",
        "Look whether the machine is up (ray up {file}), and what stands between: VPN, firewall, address.",
    ),
    ("address already in use|cannot listen to port", "A port of this machine is taken", "Name another one."),
)


def no_ssh() -> EngineError:
    """Return the error of a machine without ssh."""
    return EngineError("There is no ssh on this machine", "Install OpenSSH's client (openssh-client).")


def find_head(file: Path) -> Head:
    """Return the head of a cluster that `ray up FILE` started.

    Of machines that are reached by ssh (provider: local) the file itself says which it is; clouds are asked.

    Raises:
        ConfigError: the file is missing, no YAML, or not of a cluster; or the key that it names is not there.
        EngineError: no head is up, or the cloud cannot be asked.
    """
    config = read_yaml(file)
    provider, auth = (_group(config, name, file) for name in ("provider", "auth"))
    kind = provider.get("type")
    if not isinstance(kind, str) or not isinstance(config.get("cluster_name"), str):
        raise ConfigError(f"{file} has no cluster_name, or no provider.type", "Give a file for `ray up`.")
    named = auth.get("ssh_private_key")
    key = Path(str(named)).expanduser() if named else None
    if key is not None and not key.is_file():
        raise ConfigError(f"{file}: auth.ssh_private_key is {named}, which is not there", "Correct it.")
    if kind == "local" and "coordinator_address" not in provider:
        ip = provider.get("external_head_ip") or provider.get("head_ip")
        if not isinstance(ip, str):
            raise ConfigError(f"{file}: provider.head_ip is {ip}", "Write the address of the head in quotes.")
    else:
        found = find_launched_head(config, file)
        ip, key = found.ip, found.key
    proxy = auth.get("ssh_proxy_command")
    named_port = re.search(r"--dashboard-port[= ](\d+)", str(config.get("head_start_ray_commands")))
    return Head(
        ip, str(auth.get("ssh_user") or getpass.getuser()), key, proxy=str(proxy) if proxy else None,
        dashboard=int(named_port[1]) if named_port else Head.dashboard, file=file,
    )  # fmt: skip


def _group(config: Mapping[str, Any], name: str, file: Path) -> Mapping[str, Any]:
    group = config.get(name)
    if not isinstance(group, dict):
        raise ConfigError(f"{file} is no cluster: it has no {name}", "Give a file for `ray up`, cluster.yaml for one.")
    return group
