"""Tunnels over a real ssh."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import urlopen

import psutil
import pytest
from test_cluster_local import eventually, free_port

from brainage_ray.cluster import Tunnel
from brainage_ray.errors import EngineError


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from afar")

    def log_message(self, *_):
        pass


@pytest.fixture
def page():
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_page_of_the_head_is_here_while_the_block_runs(head, page):
    named = free_port()
    with Tunnel(head, {page: 0, 8265: named}) as tunnel:
        assert urlopen(tunnel.url(page)).read() == b"from afar"
        assert tunnel.ports[8265] == named
        assert tunnel.alive
        here = tunnel.ports[page]
    assert not listens(here)
    assert not tunnel.alive


def test_a_port_that_is_taken_and_a_key_that_does_not_fit_are_said(head, page, tmp_path):
    with pytest.raises(EngineError, match="port of this machine is taken"), Tunnel(head, {8265: page}):
        pass
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    with (
        pytest.raises(EngineError, match="does not let you in"),
        Tunnel(dataclasses.replace(head, key=tmp_path / "other"), {page: 0}),
    ):
        pass


def test_a_connection_that_breaks_shows(head, page):
    with Tunnel(head, {page: 0}) as tunnel:
        psutil.Process(tunnel._process.pid).kill()
        eventually(lambda: not tunnel.alive, seconds=10)


def test_a_tunnel_ends_with_a_process_that_is_killed(head, page):
    port = free_port()
    code = (
        f"import sys; from pathlib import Path; from brainage_ray.cluster import Head, Tunnel\n"
        f"with Tunnel(Head({head.ip!r}, {head.user!r}, Path({str(head.key)!r}), {head.port}), {{{page}: {port}}}):\n"
        f"    print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"open\n"
    assert listens(port)
    os.kill(process.pid, 9)
    process.communicate()
    eventually(lambda: not listens(port), seconds=20)
