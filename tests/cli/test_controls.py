"""Orders from the command line, to a desk that is served here."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from sealgate.app.controlling import PAGE, Controlling, ControlPlan
from sealgate.cli import main
from sealgate.ops.admin import Admin
from sealgate.ops.health import Health, LoopLag
from sealgate.ops.pages import Pages
from sealgate.session.records import Tally
from support.processes import free_port

TOKEN = "a-token-of-some-length"


@contextmanager
def desk(state: str | None = None, kinds: tuple[str, ...] = ("shed", "revoke")) -> Iterator[str]:
    """A running desk; gives its address."""
    loop = asyncio.new_event_loop()
    plan = ControlPlan(state, "memory", "prod", list(kinds), TOKEN)
    controlling = Controlling(plan, lambda orders: None)
    pages = Pages(
        CollectorRegistry(),
        Health(LoopLag()),
        Tally(),
        {},
        tables={PAGE: controlling.table},
        changes={PAGE: controlling.changes},
    )
    admin = Admin("127.0.0.1:0", pages)

    async def opened() -> None:
        await controlling.start()
        await admin.start()

    async def closed() -> None:
        await admin.close()
        await controlling.close()

    loop.run_until_complete(opened())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{admin.port}"
    finally:
        asyncio.run_coroutine_threadsafe(closed(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def run(address: str, *command: str, token: str | None = "env:TOKEN") -> Result:
    environ = {"SEALGATE_CONFIG": None, "TOKEN": TOKEN, "SEALGATE__ADMIN__TOKEN": token}
    return CliRunner().invoke(main, [*command, "--admin", address], env=environ)


def test_orders_are_given_listed_and_lifted() -> None:
    with desk() as address:
        assert run(address, "controls").output == "nothing is ordered\n"
        shed = run(address, "shed", "shop.*")
        assert (shed.exit_code, shed.output) == (
            0, "shop.*: shed until it is resumed (not kept over a restart: set control.state)\n",
        )  # fmt: skip
        assert "one.task: shed for 90m (" in run(address, "shed", "one.task", "--for", "90m").output
        assert "id-1: revoked for 1d (" in run(address, "revoke", "id-1").output
        listed = run(address, "controls").output.splitlines()
        assert listed[0].split() == ["ORDER", "SUBJECT", "SINCE", "ENDS", "IN", "BY"]
        assert [line.split()[:2] for line in listed[1:]] == [
            ["revoke", "id-1"],
            ["shed", "one.task"],
            ["shed", "shop.*"],
        ]
        as_json = json.loads(run(address, "controls", "--json").stdout)
        assert [order["subject"] for order in as_json["orders"]] == ["id-1", "one.task", "shop.*"]
        assert run(address, "resume", "shop.*").output == "shop.*: no longer shed\n"
        assert run(address, "unrevoke", "id-1").output == "id-1: no longer revoked\n"
        again = run(address, "resume", "shop.*")
        assert (again.exit_code, "no such order" in again.stderr) == (1, True)


def test_orders_that_are_kept_say_where(tmp_path: object) -> None:
    state = f"{tmp_path}/control"
    with desk(state) as address:
        assert run(address, "shed", "a").output == f"a: shed until it is resumed (kept in {state})\n"
    with desk(state) as address:
        assert "shed" in run(address, "controls").output


@pytest.mark.parametrize("token", [None, "env:NOTHING", "b-token-of-some-length", "short"])
def test_without_the_token_nothing_is_ordered(token: str | None) -> None:
    with desk() as address:
        done = run(address, "shed", "a", token=token)
        assert done.exit_code == (77 if token in (None, "b-token-of-some-length") else 78)
        assert "admin.token" in done.stderr
        assert run(address, "controls").output == "nothing is ordered\n"


def test_gateway_that_can_not_do_it_says_no() -> None:
    with desk(kinds=("revoke",)) as address:
        done = run(address, "shed", "a")
        assert (done.exit_code, "can not shed" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "command",
    [
        ("shed", "a", "--for", "1"),
        ("shed", ""),
        ("revoke", "two words"),
        ("shed", "a", "--for", "31d"),
        ("shed",),
    ],
)
def test_wrong_usage_is_64(command: tuple[str, ...]) -> None:
    with desk() as address:
        assert run(address, *command).exit_code == 64


def test_nobody_to_ask_is_69() -> None:
    address = f"127.0.0.1:{free_port()}"
    for command in (("shed", "a"), ("controls",), ("resume", "a"), ("unrevoke", "a"), ("revoke", "a")):
        assert run(address, *command).exit_code == 69


@pytest.mark.parametrize("command", ["shed", "revoke", "resume", "unrevoke", "controls"])
def test_help_teaches_by_examples_and_exit_codes(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"]).output
    assert f"  sealgate {command}" in shown
    assert "Exit codes:" in shown
