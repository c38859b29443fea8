from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from sealgate.ops.address import split_address
from sealgate.ops.admin import Admin
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.metrics import build_registry
from sealgate.ops.pages import Pages
from sealgate.ops.tables import Table
from sealgate.session.records import Tally

TABLE = Table("Ro<ws", "A & b.", ("name", "n"), [("<x>", "1"), ("y", "2")], {"rows": [["<x>", 1]]})


@dataclass
class Served:
    admin: Admin
    health: Health
    tally: Tally
    client: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.admin.port}{path}"

    async def get(self, path: str) -> tuple[int, str]:
        async with self.client.get(self.url(path)) as answer:
            return answer.status, await answer.text()


def build(address: str) -> tuple[Admin, Health, Tally]:
    tally = Tally()
    health = Health(LoopLag())
    tables = {"/rows": lambda: TABLE}
    registry = build_registry(tally, None, {})
    pages = Pages(registry, health, tally, {"deployment": "prod"}, tables=tables)
    return Admin(address, pages), health, tally


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    admin, health, tally = build("127.0.0.1:0")
    await admin.start()
    async with aiohttp.ClientSession() as client:
        yield Served(admin, health, tally, client)
    await admin.close()


@pytest.mark.asyncio
async def test_metrics_are_served_as_prometheus_text() -> None:
    async with served() as it:
        it.tally.messages["publish", "refused", "sig.bad"] += 1
        async with it.client.get(it.url("/metrics")) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            text = await answer.text()
    assert 'sealgate_messages_total{direction="publish",reason="sig.bad",verdict="refused"} 1.0' in text


@pytest.mark.asyncio
async def test_ready_is_503_while_a_check_fails_or_it_drains() -> None:
    async with served() as it:
        assert await it.get("/readyz") == (200, "ok\n")
        trouble = ["no answer"]
        it.health.watch("store", lambda: trouble[0])
        assert await it.get("/readyz") == (503, "failing: store\n")
        assert "[-]store no answer" in (await it.get("/readyz?verbose"))[1]
        trouble[0] = ""
        it.health.draining = True
        assert await it.get("/readyz") == (503, "failing: draining\n")
        assert await it.get("/livez") == (200, "ok\n")
        assert await it.get("/healthz") == (200, "ok\n")


@pytest.mark.asyncio
async def test_the_page_is_html_that_allows_no_script() -> None:
    async with served() as it, it.client.get(it.url("/")) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "prod" in await answer.text()


@pytest.mark.asyncio
async def test_table_is_json_for_programs_and_a_page_for_browsers() -> None:
    async with served() as it:
        async with it.client.get(it.url("/rows")) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert await answer.json() == TABLE.data
        accept = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
        async with it.client.get(it.url("/rows"), headers=accept) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            page = await answer.text()
        assert "<td>&lt;x&gt;</td><td>1</td>" in page
        assert "<h1>Ro&lt;ws</h1>" in page
        assert "<p>A &amp; b.</p>" in page
        assert '<a href="rows">rows</a>' in (await it.get("/"))[1]


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/readyz"])
async def test_nothing_but_reading_is_answered(method: str, path: str) -> None:
    async with served() as it, it.client.request(method, it.url(path), data=b"x") as answer:
        assert answer.status == 405


@pytest.mark.asyncio
async def test_another_path_is_not_found() -> None:
    async with served() as it:
        assert (await it.get("/quitquitquit"))[0] == 404


@pytest.mark.asyncio
async def test_an_address_in_use_is_an_os_error_and_leaves_nothing_open() -> None:
    async with served() as it:
        second, _, _ = build(f"127.0.0.1:{it.admin.port}")
        with pytest.raises(OSError, match="address already in use") as refused:
            await second.start()
        assert refused.value.errno == errno.EADDRINUSE
        await second.close()


@pytest.mark.asyncio
async def test_closing_frees_the_port_while_a_client_holds_on() -> None:
    async with served() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.admin.port)
        port = it.admin.port
        async with asyncio.timeout(5):
            await it.admin.close()
            assert await reader.read() == b""
        writer.close()
        again, _, _ = build(f"127.0.0.1:{port}")
        await again.start()
        await again.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9672", ("127.0.0.1", 9672)),
        ("[::1]:80", ("::1", 80)),
        (":9672", ("", 9672)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_an_address_is_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected


@pytest.mark.parametrize("address", ["", "9672", "localhost", "::1:80", "h:-1", "h:65536", "h:", "h:\u0663"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        split_address(address)


@pytest.mark.asyncio
async def test_head_is_answered_without_a_body() -> None:
    async with served() as it, it.client.head(it.url("/metrics")) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 1000
