"""Who may change something over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from sealgate.ops.admin import Admin
from sealgate.ops.changes import BODY_BYTES_MAX, Changes
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.metrics import build_registry
from sealgate.ops.pages import Pages
from sealgate.ops.tables import Table
from sealgate.session.records import Tally

TOKEN = "a-token-of-some-length"
ASKED = {"order": "shed", "subject": "shop.*", "by": "me"}
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


class Served:
    def __init__(self, port: int, changes: Changes, client: aiohttp.ClientSession, asked: list[Any]) -> None:
        self.port = port
        self.changes = changes
        self.client = client
        self.asked = asked

    async def post(
        self,
        headers: dict[str, str],
        body: bytes | None = None,
        path: str = "/controls",
        method: str = "POST",
    ) -> tuple[int, bytes]:
        data = json.dumps(ASKED).encode() if body is None else body
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.client.request(method, url, headers=headers, data=data) as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def served(token: str | None = TOKEN) -> AsyncIterator[Served]:
    asked: list[Any] = []

    async def carry_out(what: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked.append(what)
        return (404, {"error": "none"}) if what.get("order") == "resume" else (200, {"done": what["order"]})

    tally = Tally()
    changes = Changes(token, carry_out)
    tables = {"/controls": lambda: Table("Controls", "", (), ()), "/observed": lambda: Table("O", "", (), ())}
    registry = build_registry(tally, None, {})
    pages = Pages(registry, Health(LoopLag()), tally, {}, tables=tables, changes={"/controls": changes})
    admin = Admin("127.0.0.1:0", pages)
    await admin.start()
    async with aiohttp.ClientSession() as client:
        yield Served(admin.port, changes, client, asked)
    await admin.close()


@pytest.mark.asyncio
async def test_who_knows_the_token_is_obeyed_and_on_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with served() as it:
        assert await it.post(HEADERS) == (200, b'{"done": "shed"}\n')
        assert it.asked == [ASKED]
        assert (await it.post({**HEADERS, "Authorization": f"bearer  {TOKEN}"}))[0] == 200
        assert (await it.post(HEADERS, b'{"order": "resume"}'))[0] == 404
        assert (await it.post({**HEADERS, "Content-Type": "application/json; charset=utf-8"}))[0] == 200
    first, *_ = [record for record in caplog.records if record.name == "sealgate.audit"]
    assert (first.message, vars(first)["by"], vars(first)["client"]) == ("order.taken", "me", "127.0.0.1")
    assert [record.message for record in caplog.records if "order" in record.message].count(
        "order.refused"
    ) == 1
    assert TOKEN not in caplog.text + str([vars(record) for record in caplog.records])


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer t\u00f6ken",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
    ],
)
async def test_who_does_not_is_turned_away_and_counted(authorization: str | None) -> None:
    headers = {**HEADERS, "Authorization": authorization} if authorization is not None else {}
    async with served() as it:
        status, body = await it.post(headers)
        assert status == 403
        assert TOKEN.encode() not in body
        assert (it.asked, it.changes.denied) == ([], 1)


@pytest.mark.asyncio
async def test_two_authorizations_are_none() -> None:
    async with served() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        line = f"Authorization: Bearer {TOKEN}\r\n"
        head = f"POST /controls HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\n{line}"
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        async with asyncio.timeout(10):
            assert b" 403 " in await reader.readline()
        writer.close()
        assert it.asked == []


@pytest.mark.asyncio
async def test_without_a_token_nobody_can_change_anything() -> None:
    async with served(token=None) as it:
        for headers in (HEADERS, {}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            status, body = await it.post(headers)
            assert status == 403
            assert b"admin.token" in body
        assert it.asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("text/plain", None, 415),
        ("application/x-www-form-urlencoded", b"order=shed", 415),
        ("application/json", b"", 400),
        ("application/json", b"[]", 400),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 4000, 400),
        ("application/json", b'{"x": "' + b"x" * BODY_BYTES_MAX + b'"}', 413),
    ],
)
async def test_what_is_no_request_is_told(content_type: str, body: bytes | None, status: int) -> None:
    async with served() as it:
        assert (await it.post({**HEADERS, "Content-Type": content_type}, body))[0] == status
        assert it.asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/observed", "POST"),
        ("/", "POST"),
        ("/controls", "PUT"),
        ("/controls", "DELETE"),
        ("/controls", "OPTIONS"),
    ],
)
async def test_nothing_else_is_changed_by_anybody(path: str, method: str) -> None:
    async with served() as it:
        assert (await it.post(HEADERS, path=path, method=method))[0] == 405
        assert it.asked == []


@pytest.mark.asyncio
async def test_page_of_another_site_is_allowed_nothing() -> None:
    """A browser asks before it sends Authorization to another origin, and is not told yes."""
    async with served() as it:
        url = f"http://127.0.0.1:{it.port}/controls"
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Headers": "authorization"}
        async with it.client.options(url, headers=asked) as answer:
            assert answer.status == 405
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert (await it.post({"Origin": "http://evil.example", "Content-Type": "text/plain"}))[0] == 403


@pytest.mark.asyncio
async def test_flood_of_the_wrong_token_is_one_line_a_second(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]

    async def never(what: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        raise AssertionError(what)

    changes = Changes(TOKEN, never, lambda: now[0])
    for _ in range(50):
        await changes.answer("Bearer wrong", "application/json", b"{}", "192.0.2.1")
    now[0] = 1.0
    await changes.answer("Bearer wrong", "application/json", b"{}", "192.0.2.1")
    lines = [vars(record)["count"] for record in caplog.records if record.message == "order.denied"]
    assert lines == [1, 51]
    assert changes.denied == 51
