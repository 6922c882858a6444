"""MLflow's own model server with a pyfunc in it, held to a size of request."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from brainage_ray.errors import EngineError
from brainage_ray.tracking.pyfunc import load_pyfunc

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
_MOST_DRAINED = 2**26
"""Bytes of a request that is refused for its size; whoever sends more is cut off."""


def serve_pyfunc(model: Path, host: str, port: int, most_bytes: int, say: Callable[[str], object]) -> None:
    """Serve a pyfunc's `/invocations`, `/ping` and `/version` until Ctrl-C.

    Args:
        model: folder of the pyfunc, one of our own: loading it imports the module that it names.
        host: address to listen on; the server asks for no password.
        port: to listen on.
        most_bytes: of a request.
        say: told where it listens, once the port is had.

    Raises:
        EngineError: the port is taken.
    """
    load_pyfunc()
    import mlflow.pyfunc
    import uvicorn
    from mlflow.pyfunc import scoring_server

    with _listen(host, port) as listener:
        app = scoring_server.init(mlflow.pyfunc.load_model(str(model)))
        server = uvicorn.Server(uvicorn.Config(limited(app, most_bytes), log_level="warning"))
        say(f"http://{host}:{listener.getsockname()[1]}/invocations (Ctrl-C ends it)")
        server.run(sockets=[listener])


def limited(app: App, most_bytes: int) -> App:
    """Wrap an ASGI application: a request of more bytes is answered with 413, and its rest is not kept."""

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        body, more = b"", True
        while more and len(body) <= most_bytes and int(said if said.isdigit() else 0) <= most_bytes:
            part, more = await _next_part(receive)
            body += part
        if more or len(body) > most_bytes:
            if more:
                await _drain(receive)
            await _refuse(send, most_bytes)
            return
        parts = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def once() -> Message:
            return next(parts, None) or await receive()

        await app(scope, once, send)

    return wrapped


async def _next_part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next bytes of a request, and whether more are to come; a client that left sends none."""
    message = await receive()
    return message.get("body", b""), bool(message.get("more_body", False)) and message["type"] == "http.request"


async def _drain(receive: Receive) -> None:
    """Read what a client is still sending: one that is cut off while it sends reads no answer."""
    more, left = True, _MOST_DRAINED
    while more and left > 0:
        part, more = await _next_part(receive)
        left -= len(part)


async def _refuse(send: Send, most_bytes: int) -> None:
    text = f'{{"error_code": "BAD_REQUEST", "message": "A request has {most_bytes} bytes at most: --max-mb."}}'
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        problem = f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
        raise EngineError(problem, "Give another --port.") from None
    return listener
