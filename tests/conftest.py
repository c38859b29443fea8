"""Fixtures of every room: the private servers, started once per run and only when a test asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest

from sealgate.variant import core_variant
from support.compiled import listed_modules
from support.rabbitmq_server import RabbitMQServer, private_rabbitmq
from support.redis_server import RedisServer, private_redis

_CLOSING_LINES: pytest.StashKey[list[str]] = pytest.StashKey()
_BROKER: pytest.StashKey[RabbitMQServer] = pytest.StashKey()

TESTS = Path(__file__).parent
#: `make coverage` runs these.
CORE_TESTS = {"accounts", "fuzz", "session", "signing", "sim", "verify", "wire"}

#: What a module with system tests counts for that has no timeout of its own.
SYSTEM_S = 80.0

# No timed assertions (a loaded machine is no bug), and no example database that two runs could share.
hypothesis.settings.register_profile("sealgate", deadline=None, database=None)
hypothesis.settings.load_profile("sealgate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="faults at full size: `make faults`")
    parser.addoption("--core", action="store_true", help="read the core's tests alone: `make coverage`")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is not run need not be imported: that takes each process seconds, and under coverage more."""
    inside = collection_path.relative_to(TESTS).parts
    return True if config.getoption("core") and inside and inside[0] not in CORE_TESTS else None


def pytest_configure(config: pytest.Config) -> None:
    """`make` says which core it means to test; with the other one nothing would be shown."""
    expected = os.environ.get("SEALGATE_TESTS_EXPECT", core_variant())
    if core_variant() != expected:
        raise pytest.UsageError(
            f"the {core_variant()} core is loaded where the {expected} one is to be tested"
        )
    if core_variant() == "compiled":
        pytest.MonkeyPatch.setattr = _set_outside_the_core  # type: ignore[method-assign]


_setattr: Callable[..., None] = pytest.MonkeyPatch.setattr


def _set_outside_the_core(self: pytest.MonkeyPatch, target: Any, *args: Any, **options: Any) -> None:
    """Compiled code never sees what is put in its place: a test that relies on it would show nothing."""
    name = target.__name__ if isinstance(target, ModuleType) else getattr(target, "__module__", target)
    assert name not in listed_modules(), f"{target} is compiled: pass it in, or mark `replaces_core`"
    _setattr(self, target, *args, **options)


def pytest_report_header() -> str:
    return f"sealgate core: {core_variant()}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """At full size a test may take half an hour, whatever its short version may."""
    for item in items:
        if item.path.relative_to(TESTS).parts[0] in CORE_TESTS:
            item.add_marker("core")
    if core_variant() == "compiled":
        unseen = pytest.mark.skip(reason="compiled code calls its own parts; run on the plain core")
        for item in items:
            if item.get_closest_marker("replaces_core"):
                item.add_marker(unseen)
    if hasattr(config, "workerinput"):
        _begin_with_the_longest(items)
    if config.getoption("full"):
        for item in items:
            item.add_marker(pytest.mark.timeout(1800), append=False)


def _begin_with_the_longest(items: list[pytest.Item]) -> None:
    """Of several processes (pytest-xdist) none is left at the end with what takes minutes.

    A module is as long as its timeout says, and one that waits for servers longer than one that does not.
    """
    seconds: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        allowed = float(mark.args[0]) if mark else SYSTEM_S if item.get_closest_marker("system") else 0.0
        seconds[item.path] = max(seconds.get(item.path, 0.0), allowed)
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether a test that has a short version is to run at full size."""
    return bool(pytestconfig.getoption("full"))


@pytest.fixture(scope="session")
def closing_lines(pytestconfig: pytest.Config) -> list[str]:
    """Lines to print after the results: what a suite ran and what it left, with the reason."""
    return pytestconfig.stash.setdefault(_CLOSING_LINES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_CLOSING_LINES, []):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a part of the tests (pytest-xdist) hands its lines to the one that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["closing_lines"] = session.config.stash.get(_CLOSING_LINES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    lines = getattr(node, "workeroutput", {}).get("closing_lines", [])
    node.config.stash.setdefault(_CLOSING_LINES, []).extend(lines)


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> Iterator[RabbitMQServer]:
    """A private RabbitMQ shared by the whole run. Whoever stops it starts it again."""
    with private_rabbitmq() as server:
        pytestconfig.stash[_BROKER] = server
        yield server


@pytest.fixture(scope="module", autouse=True)
def _vhosts_of_a_module(pytestconfig: pytest.Config) -> Iterator[None]:
    """The shared broker forgets the virtual hosts of a module at its end."""
    yield
    broker = pytestconfig.stash.get(_BROKER, None)
    if broker is not None:
        broker.delete_vhosts()


@pytest.fixture
def vhost(rabbitmq: RabbitMQServer) -> str:
    """A fresh virtual host, so that no test sees another's queues."""
    return rabbitmq.new_vhost()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A private Redis shared by the whole run. Whoever stops or fills it restores it."""
    with private_redis() as server:
        yield server
