"""What running gateways and sidecars know of keys: `GET /keys` of their admin addresses (docs/keys.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final

import click

from sealgate.cli.asking import UnansweredError, ask_json
from sealgate.cli.text import plain
from sealgate.config.fields import Address, has_port, parse_address, split_url

PAGE: Final = "/keys"
SCHEMA: Final = 1
_PORT: Final = 9672
#: Asked at the same time; one that hangs takes `asking.TIMEOUT_S`, one that never ends `asking.ANSWER_S`.
_ASKED_AT_ONCE_MAX: Final = 16


@dataclass(slots=True, frozen=True)
class KeyUse:
    """One key as one gateway has it. All moments are Unix seconds of this machine's clock; see docs/keys.md.

    `known_since` is None while one of its workers does not have the key.
    """

    kid: str
    alg: str
    state: str
    can_sign: bool
    not_before: float | None
    not_after: float | None
    max_lifetime_s: float
    known_since: float | None
    state_since: float | None
    last_used: float | None
    messages_last_hour: int
    expires_latest: float | None
    users: tuple[str, ...]
    users_more: bool


@dataclass(slots=True, frozen=True)
class Witness:
    """One gateway's answer; with `error` there is none. `clock_ahead_s`: its clock is so far before ours."""

    address: str
    error: str = ""
    deployment: str = ""
    source: str = ""
    failing_since: float = 0.0
    clock_ahead_s: float = 0.0
    keys: dict[str, KeyUse] = field(default_factory=dict)


def gateway_options(command: Any) -> Any:
    """--gateway and --config: who is asked."""
    for option in (
        click.option(
            "--config",
            "-c",
            type=click.Path(path_type=Path, readable=False),
            envvar="SEALGATE_CONFIG",
            show_envvar=True,
            help="A configuration whose admin address is asked as well.",
        ),
        click.option(
            "--gateway",
            "gateways",
            multiple=True,
            callback=_addresses,
            metavar="HOST:PORT",
            help="A running gateway or sidecar to ask, by its admin address or http:// URL. Can be repeated.",
        ),
    ):
        command = option(command)
    return command


def ask_all(addresses: Sequence[Address]) -> list[Witness]:
    """What each of them says, in their order."""
    if not addresses:
        return []
    with ThreadPoolExecutor(min(len(addresses), _ASKED_AT_ONCE_MAX)) as pool:
        return list(pool.map(ask_one, addresses))


def ask_one(address: Address) -> Witness:
    """What the gateway at `address` says now."""
    before = time.time()
    try:
        answer = ask_json(address, PAGE)
    except UnansweredError as error:
        return Witness(str(address), str(error))
    middle = (before + time.time()) / 2
    try:
        return _witness(str(address), answer, middle)
    except (KeyError, TypeError, ValueError, OverflowError):
        return Witness(
            str(address), f"{address}{PAGE}: the answer is not what a gateway of this version says"
        )


def _witness(address: str, answer: Any, now: float) -> Witness:
    """Raises KeyError, TypeError, ValueError or OverflowError for what is no such answer.

    Whatever answers at that address, a terminal obeys nothing of it, and what is no number proves nothing.
    """
    if answer["schema"] != SCHEMA:
        raise ValueError("another schema")
    ahead = _number(answer["at"]) - now
    uses = [_use(key, ahead) for key in answer["keys"]]
    failing_since = _number(answer["failing_since"])
    return Witness(
        address,
        "",
        plain(str(answer["deployment"])),
        plain(str(answer["source"])),
        failing_since - ahead if failing_since else 0.0,
        ahead,
        {use.kid: use for use in uses},
    )


def _use(key: Any, ahead: float) -> KeyUse:
    def moment(name: str) -> float | None:
        return None if key[name] is None else _number(key[name]) - ahead

    return KeyUse(
        plain(str(key["kid"])),
        plain(str(key["alg"])),
        plain(str(key["state"])),
        bool(key["can_sign"]),
        moment("not_before"),
        moment("not_after"),
        _number(key["max_lifetime_s"]),
        moment("known_since"),
        moment("state_since"),
        moment("last_used"),
        int(_number(key["messages_last_hour"])),
        moment("expires_latest"),
        tuple(plain(str(user)) for user in key["users"]),
        bool(key["users_more"]),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not isfinite(number):
        raise ValueError("no number")
    return number


def _addresses(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[Address]:
    try:
        return [_address(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _address(value: str) -> Address:
    if "://" not in value:
        return parse_address(value if has_port(value) else f"{value}:{_PORT}")
    url = split_url(value)
    if url.scheme != "http":
        raise ValueError("want host:port or an http:// URL: the admin address has no TLS")
    return Address(url.hostname or "", url.port or _PORT)
