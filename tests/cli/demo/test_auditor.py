"""The auditor: what it must see behind the gateway's back, or the demo proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sealgate.cli.demo import forge
from sealgate.cli.demo.attacker import Attacker
from sealgate.cli.demo.auditor import Auditor
from sealgate.cli.demo.forge import Forged
from sealgate.cli.demo.login import Login
from sealgate.cli.demo.names import OTHER_ROUTING_KEY, Names
from sealgate.devbroker.server import DevBroker

NAMES = Names("test")


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Auditor, Attacker, DevBroker]]:
    """An attacker straight at the broker: nothing stops it."""
    broker = DevBroker()
    await broker.start()
    auditor = Auditor(broker.url, NAMES)
    attacker = Attacker(broker.port, Login.of(broker.url))
    try:
        await auditor.start()
        yield auditor, attacker, broker
    finally:
        await attacker.close()
        await auditor.clean_up()
        await broker.close()


def a_task() -> Forged:
    return forge.task(NAMES.exchange, "demo.add", [1])


@pytest.mark.asyncio
async def test_what_nobody_announced_is_legitimate_once() -> None:
    async with watched() as (auditor, attacker, _):
        retried = forge.task(NAMES.exchange, "demo.add", [1], headers={"retries": 1, "id": "same"})
        first = forge.task(NAMES.exchange, "demo.add", [1], headers={"id": "same"})
        for message in (a_task(), first, retried):
            assert await attacker.publish(message.frames()) == "basic.ack"
        await auditor.settle()
        assert (auditor.legitimate, auditor.reached) == (3, {})


@pytest.mark.asyncio
async def test_forged_message_is_seen() -> None:
    async with watched() as (auditor, attacker, _):
        message = a_task()
        auditor.expect("unsigned", message.mark, captured=False)
        await attacker.publish(message.frames())
        await auditor.settle()
        assert (auditor.legitimate, auditor.reached) == (0, {"unsigned": 1})


@pytest.mark.asyncio
async def test_captured_message_is_seen_from_the_second_time_on() -> None:
    async with watched() as (auditor, attacker, _):
        message = a_task()
        auditor.expect("replayed", message.mark, captured=True)
        for _ in range(3):
            await attacker.publish(message.frames())
        await auditor.settle()
        assert (auditor.legitimate, auditor.reached) == (1, {"replayed": 2})


@pytest.mark.asyncio
async def test_message_sent_elsewhere_is_seen_there() -> None:
    async with watched() as (auditor, attacker, _):
        for target in ((NAMES.exchange, OTHER_ROUTING_KEY), ("", NAMES.decoy)):
            message = a_task()
            auditor.expect("other target", message.mark, captured=target[0] == "")
            elsewhere = Forged(*target, message.header, message.body, message.mark)
            await attacker.publish(elsewhere.frames())
        await auditor.settle()
        assert auditor.reached == {"other target": 2}


@pytest.mark.asyncio
async def test_command_is_seen_by_its_ticket() -> None:
    async with watched() as (auditor, attacker, broker):
        command = forge.command(NAMES.exchange, "shutdown")
        auditor.expect("command", command.mark, captured=False)
        await attacker.publish(command.frames())
        await auditor.settle()
        assert auditor.reached == {"command": 1}
        assert broker.published_to(NAMES.exchange) == 2  # the command, and the auditor's own last message


@pytest.mark.asyncio
async def test_nothing_is_left_on_the_broker() -> None:
    async with watched() as (auditor, _, broker):
        before = set(broker.vhost.exchanges) - {NAMES.exchange}
        await auditor.clean_up()
        assert (set(broker.vhost.exchanges), set(broker.vhost.queues)) == (before, set())
