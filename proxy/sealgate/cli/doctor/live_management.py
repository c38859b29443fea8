"""Who else is connected to the broker, as RabbitMQ's management API tells it."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from sealgate.cli.doctor import live_rules as rules
from sealgate.cli.doctor.config_case import Case
from sealgate.cli.doctor.findings import Finding, Place, Report, found
from sealgate.cli.doctor.live_broker import own_addresses

_CONNECTIONS: Final = "/api/connections?columns=user,peer_host,protocol,client_properties.connection_name"
_CHANNELS: Final = "/api/channels?columns=user,confirm,message_stats.publish,connection_details.peer_host"
#: 100,000 connections take 20 MB.
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
#: How connections of gateways for themselves call themselves.
_OWN_NAME: Final = "sealgate "
_SECONDS_MIN: Final = 2.0  # the Date header has whole seconds


class ManagementError(Exception):
    """The API does not answer as it should; the text holds no password."""


def check_management(
    case: Case, report: Report, url: str, gateways: tuple[str, ...], timeout_s: float
) -> None:
    """`gateways` are addresses that connections of gateways come from, beside those that can be known."""
    try:
        connections, skew = _rows(url, _CONNECTIONS, timeout_s)
        channels, _ = _rows(url, _CHANNELS, timeout_s)
    except ManagementError as error:
        change = "--management http://USER:PASSWORD@HOST:15672, a user with the tag monitoring"
        report.add([found(rules.MANAGEMENT, str(error), change, Place(), "management")])
        return
    report.add(_around(case, connections, gateways))
    report.add(_unconfirmed(channels))
    allowed = max(_SECONDS_MIN, case.settings.replay.clock_skew / 2)
    if abs(skew) > allowed:
        message = f"the broker's is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
        report.add([case.about(rules.BROKER_CLOCK, message, "replay.clock_skew", "NTP on both hosts")])
    told = f"{len(connections)} connections and {len(channels)} channels"
    report.examined.append(f"{told} that the management API lists")


def _rows(url: str, path: str, timeout_s: float) -> tuple[list[dict[str, Any]], float]:
    """(what is listed at `path`, the broker's clock less ours in seconds). Raises `ManagementError`."""
    parts = urlsplit(url)
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    where = f"{parts.hostname}:{parts.port}"
    connection = _http(parts.scheme, parts.hostname or "", parts.port, timeout_s)
    try:
        headers = {"Authorization": "Basic " + base64.b64encode(login).decode()}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(_ANSWER_BYTES_MAX)
        if answer.status != http.HTTPStatus.OK:
            raise ManagementError(f"{where}: HTTP status {answer.status}")
        date = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
        rows = json.loads(body)
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        raise ManagementError(f"{where}: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()
    if not isinstance(rows, list):
        raise ManagementError(f"{where}: the answer is no list")
    # Half a second: what the Date header leaves off, on average.
    return [row for row in rows if isinstance(row, dict)], date + 0.5 - time.time()


def _http(scheme: str, host: str, port: int | None, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _around(case: Case, connections: list[dict[str, Any]], gateways: tuple[str, ...]) -> Iterator[Finding]:
    """Where Sealgate logs in for its clients, by the user; else by where they come from."""
    amqp = [row for row in connections if str(row.get("protocol", "")).startswith("AMQP")]
    own = [row for row in amqp if _name(row).startswith(_OWN_NAME)]
    known = {*own_addresses(), "127.0.0.1", "::1", "::ffff:127.0.0.1", *gateways}
    known |= {str(row.get("peer_host")) for row in own}
    credentials = case.settings.credentials
    others: Counter[tuple[str, str]] = Counter()
    for row in amqp:
        user, host = str(row.get("user")), str(row.get("peer_host"))
        by_user = credentials.mode == "replace" and user != credentials.user
        if row not in own and (by_user or host not in known):
            others[(user, host)] += 1
    for (user, host), count in sorted(others.items()):
        message = f"{count} of user {user} from {host}"
        change = "a firewall that lets the gateways alone reach the broker's port, or no login for that user"
        place = case.place("upstream.urls")
        yield found(rules.AROUND, message, change, place, f"{user}@{host}")


def _unconfirmed(channels: list[dict[str, Any]]) -> Iterator[Finding]:
    """A client's channel is a channel of the broker's, through a gateway too, and so are its confirms."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in channels:
        if row.get("confirm") is False and _nested(row, "message_stats", "publish"):
            host = str(_nested(row, "connection_details", "peer_host"))
            counts[(str(row.get("user")), host)] += 1
    for (user, host), count in sorted(counts.items()):
        message = f"{count} channels of user {user} from {host} have published"
        change = 'broker_transport_options = {"confirm_publish": True}, or confirm.select in other clients'
        yield found(rules.NO_CONFIRMS, message, change, Place(), f"{user}@{host}")


def _nested(row: dict[str, Any], outer: str, inner: str) -> Any:
    value = row.get(outer)
    return value.get(inner) if isinstance(value, dict) else None


def _name(row: dict[str, Any]) -> str:
    return str(_nested(row, "client_properties", "connection_name") or "")
