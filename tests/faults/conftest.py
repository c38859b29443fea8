"""Gateways to be treated badly: one for each test, on both event loops, and what is left of them told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.gateway import GatewayProcess, Start, gateway
from support.hostile_keys import KEY_TABLES
from support.loops import LOOPS, loop_env, loop_of
from support.rabbitmq_server import RabbitMQServer

#: Everybody in a test comes from one address.
ROOM: dict[str, Any] = {"limits": {"connections_per_address_max": 10_000}}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both event loops, but where a file's short version says which are enough."""
    if "loop" in metafunc.fixturenames:
        short = getattr(metafunc.module, "SHORT_LOOPS", LOOPS)
        loops = LOOPS if metafunc.config.getoption("full") else short
        metafunc.parametrize("loop", loops, indirect=True)


@pytest.fixture
def loop(request: pytest.FixtureRequest) -> str:
    """The event loop that gateways run on."""
    return str(request.param)


@pytest.fixture
def start(rabbitmq: RabbitMQServer, tmp_path: Path, loop: str) -> Iterator[Start]:
    """Starts a verifying gateway on `loop`, before the shared broker or another; `settings` by section."""
    with ExitStack() as stack:

        def started(upstream_port: int = 0, port: int = 0, **settings: Any) -> GatewayProcess:
            tables = {**ROOM, **settings, "limits": {**ROOM["limits"], **settings.get("limits", {})}}
            env = {**os.environ, **loop_env(loop)}
            process = stack.enter_context(
                gateway(tmp_path / "gateway", upstream_port or rabbitmq.port, KEY_TABLES, tables, port, env)
            )
            assert loop_of(process.pid) == loop
            return process

        yield started
