"""Sealgate's own login on the broker: may it do what a gateway has to? Nothing is created or changed.

A queue is declared with an argument that can not be, so that RabbitMQ asks for the permission, and then
refuses: 403 ACCESS_REFUSED is the answer about the permission, 406 PRECONDITION_FAILED the one about the
argument, which comes after it (rabbit_channel, `queue.declare`; tried on 3.10.8).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sealgate.app import build
from sealgate.cli.doctor import live_rules as rules
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Finding, Report
from sealgate.net.endpoints import Endpoint
from sealgate.quarantine.link import (
    LinkLostError,
    LinkRefusedError,
    Topology,
    connect,
    hang_up,
    without_credentials,
)
from sealgate.session.holding import PARK_PREFIX, WAIT_PREFIX

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

_FULL: Final = 0.8
_IMPOSSIBLE: Final = {"x-max-length": -1}
#: Of a queue from which messages go on: who declares it must be allowed to write to where they go.
_GOING_ON: Final = {**_IMPOSSIBLE, "x-dead-letter-exchange": ""}
#: Names as a gateway makes them end in a digest.
_EXAMPLE: Final = "0123456789abcdef"


@dataclass(slots=True, frozen=True)
class Seen:
    """What the broker answered. Codes are AMQP's, 0 for yes; `depth` is None without a quarantine queue."""

    configure: dict[str, int]
    bind: int
    same: int
    depth: int | None


def check_own_login(case: Case, report: Report, timeout_s: float) -> None:
    """Where refused messages are kept, and messages wait."""
    settings = case.settings
    urls = build.quarantine_urls(settings)
    if not urls:
        return
    tls = build.build_upstream_tls(settings, urls)
    key = "quarantine.url" if settings.quarantine.url is not None else "upstream.urls[0]"
    where = without_credentials(urls[0])
    try:
        seen = asyncio.run(_look(urls[0], tls, _topology(case), _names(case), timeout_s))
    except LinkRefusedError as error:
        change = 'quarantine.url = "env:NAME", with a user that may declare and publish sealgate.*'
        report.add([case.about(rules.LOGIN, str(error), key, change)])
        return
    except LinkLostError as error:
        report.skipped.append(f"permissions of Sealgate's own user: {error}")
        return
    report.add(_permissions(case, key, where, seen))
    report.add(_quarantine(case, where, seen))
    report.examined.append(f"permissions of Sealgate's own user at {where}, and its quarantine")


def _topology(case: Case) -> Topology:
    quarantine = case.settings.quarantine
    return Topology(quarantine.exchange, quarantine.length_max, quarantine.bytes_max, quarantine.age_max)


def _names(case: Case) -> list[str]:
    """Queues that a gateway with these settings may have to declare."""
    names = [case.settings.quarantine.exchange, PARK_PREFIX + _EXAMPLE]
    if case.settings.refuse.over_rate == "delay" and case.settings.rate:
        names.append(WAIT_PREFIX + _EXAMPLE)
    return names


async def _look(
    url: str, tls: SSLContext | None, topology: Topology, names: list[str], timeout_s: float
) -> Seen:
    from aio_pika import exceptions

    connection = await connect(url, tls, timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            configure = {}
            for name in names:
                arguments = _IMPOSSIBLE if name == topology.name else _GOING_ON
                configure[name] = await _code(connection, "declare", name, arguments)
            bind = await _code(connection, "bind", topology.name, {})
            depth = await _depth(connection, topology.name)
            same = 0
            if depth is not None:
                # It is there: declared as the gateway would, it stays as it is, or the difference is told.
                same = await _code(connection, "declare", topology.name, topology.queue_arguments())
            return Seen(configure, bind, same, depth)
    except (*exceptions.CONNECTION_EXCEPTIONS, TimeoutError) as error:
        raise LinkLostError(f"{without_credentials(url)}: {type(error).__name__}") from error
    finally:
        await hang_up(connection)


async def _code(connection: AbstractConnection, what: str, name: str, arguments: dict[str, Any]) -> int:
    """0 when the broker did it, else the code with which it closed the channel, on one of its own."""
    from aiormq import exceptions

    channel = await _channel(connection)
    try:
        if what == "declare":
            await channel.queue_declare(name, durable=True, arguments=arguments)
        else:
            await channel.queue_bind(name, name)
    except exceptions.ChannelClosed as error:
        return _code_of(error)
    await channel.close()
    return 0


def _code_of(error: Exception) -> int:
    from aiormq import exceptions

    for kind, code in (
        (exceptions.ChannelAccessRefused, 403),
        (exceptions.ChannelNotFoundEntity, 404),
        (exceptions.ChannelLockedResource, 405),
        (exceptions.ChannelPreconditionFailed, 406),
    ):
        if isinstance(error, kind):
            return code
    return 500


async def _channel(connection: AbstractConnection) -> Any:
    channel = connection.channel(publisher_confirms=False)
    await channel.initialize()
    return await channel.get_underlay_channel()


async def _depth(connection: AbstractConnection, name: str) -> int | None:
    from aiormq import exceptions

    channel = await _channel(connection)
    try:
        declared = await channel.queue_declare(name, passive=True)
    except exceptions.ChannelClosed:
        return None
    await channel.close()
    return int(declared.message_count or 0)


def _permissions(case: Case, key: str, where: str, seen: Seen) -> Iterator[Finding]:
    # It writes wherever messages go on to after their wait.
    rights = "rabbitmqctl set_permissions -p VHOST USER '^sealgate\\.' '.*' '^sealgate\\.'"
    for name, code in seen.configure.items():
        if code == 403:
            message = f"it may not declare {name} at {where}"
            yield case.about(rules.PERMISSION, message, key, rights, subject=f"configure {name}")
    if seen.bind == 403:
        name = case.settings.quarantine.exchange
        message = f"it may not write to and read {name} at {where}"
        yield case.about(rules.PERMISSION, message, key, rights, subject=f"write {name}")


def _quarantine(case: Case, where: str, seen: Seen) -> Iterator[Finding]:
    quarantine = case.settings.quarantine
    if seen.same == 406:
        message = f"{quarantine.exchange} at {where} has other arguments"
        change = (
            f"rabbitmqctl delete_queue {quarantine.exchange} (its records go), or another quarantine.exchange"
        )
        yield case.about(rules.TOPOLOGY, message, "quarantine.exchange", change)
    if not seen.depth:
        return
    message = f"{seen.depth} of at most {quarantine.length_max} are kept"
    if seen.depth > _FULL * quarantine.length_max:
        change = "sealgate quarantine discard, or a larger length_max"
        yield case.about(rules.FILLING, message, "quarantine.length_max", change)
    else:
        yield case.about(rules.HOLDS, message, "quarantine.exchange", "sealgate quarantine list says why")


def lets_in(at: Endpoint, user: str, password: str, vhost: str, timeout_s: float) -> bool:
    """Whether this login opens a connection there."""
    scheme = "amqp" if at.tls is None else "amqps"
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = f"{scheme}://{login}@{at.address}/{quote(vhost, safe='')}"
    return asyncio.run(_gets_in(url, at.tls, timeout_s))


# It would print what is told as a finding, or is as it should be.
logging.getLogger("aiormq").addHandler(logging.NullHandler())


async def _gets_in(url: str, tls: SSLContext | None, timeout_s: float) -> bool:
    try:
        connection = await connect(url, tls, timeout_s)
    except (LinkLostError, LinkRefusedError):
        return False
    await hang_up(connection)
    return True
