"""An S3 server on loopback that checks signatures: moto's, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BUCKET = "brainage"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_SETTING_UP = 4
"""Calls before the server asks for keys: those of _set_up."""


@dataclass(frozen=True)
class ObjectStore:
    """A server with a bucket, and the keys to it."""

    endpoint: str
    keys: dict[str, str]
    """Variables of the environment."""
    log: Path

    def requests(self) -> list[str]:
        """Return what it was asked: METHOD PATH VERSION."""
        lines = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())
        return re.findall(r'"([A-Z]+ [^"]*)"', lines)

    def uri(self, path: str) -> str:
        """Return the URI of a folder in the bucket."""
        return f"s3://{BUCKET}/{path}?endpoint_override={self.endpoint}&scheme=http&region=us-east-1"


@contextmanager
def running_object_store(folder: Path) -> Iterator[ObjectStore]:
    """Start the server, and end it; what it holds goes with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_SETTING_UP)}
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(port, server)
        yield ObjectStore(f"127.0.0.1:{port}", _set_up(f"http://127.0.0.1:{port}"), folder / "moto.log")
    finally:
        server.terminate()
        server.wait()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "moto's server has ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("moto's server does not answer")


def _set_up(endpoint: str) -> dict[str, str]:
    import boto3

    nobody = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=endpoint, **nobody)
    boto3.client("s3", endpoint_url=endpoint, **nobody).create_bucket(Bucket=BUCKET)
    iam.create_user(UserName="brainage")
    iam.put_user_policy(UserName="brainage", PolicyName="all", PolicyDocument=json.dumps(EVERYTHING))
    key = iam.create_access_key(UserName="brainage")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
