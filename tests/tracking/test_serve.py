"""A request that is too large is refused, and its sender hears so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brainage_ray.tracking import serve
from brainage_ray.tracking.serve import limited


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def ask(parts: list[bytes], headers: list[tuple[bytes, bytes]] = []) -> tuple[int, bytes, int]:  # noqa: B006
    """Return the status, the answer, and how many parts were taken."""
    sent: list[Any] = []
    left = [{"type": "http.request", "body": part, "more_body": i + 1 < len(parts)} for i, part in enumerate(parts)]

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(limited(echo, 10)({"type": "http", "headers": headers}, receive, send))
    return sent[0]["status"], sent[1]["body"], len(parts) - len(left)


def test_a_request_of_the_size_goes_through_whole():
    assert ask([b"01234", b"56789"]) == (200, b"0123456789", 2)


@pytest.mark.parametrize(
    ("parts", "headers"), [([b"01234", b"567890", b"rest"], []), ([b"x"], [(b"content-length", b"11")])]
)
def test_a_larger_one_is_refused_once_its_sender_is_done(parts: list[bytes], headers: list[tuple[bytes, bytes]]):
    status, answer, read = ask(parts, headers)
    assert (status, read) == (413, len(parts))
    assert b"10 bytes at most" in answer


def test_one_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serve, "_MOST_DRAINED", 100)
    status, _, read = ask([b"0123456789"] * 1000)
    assert status == 413
    assert read == 2 + 10
