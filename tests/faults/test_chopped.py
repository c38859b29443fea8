"""The whole Celery suite once more, with every byte of clients and broker read alone, or in random pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

import system.test_celery as suite
from support.celery_setup import Setup, celery_setup
from support.chopped import Chop
from support.loops import LOOPS, loop_of
from support.rabbitmq_server import RabbitMQServer
from system.test_celery import (  # noqa: F401 - the suite's own tests
    nothing_refused_and_nothing_run_twice,
    test_chain,
    test_compression_where_listed,
    test_countdown_and_eta,
    test_delay,
    test_events,
    test_expires,
    test_group,
    test_link_and_link_error,
    test_many_tasks_at_once,
    test_msgpack_where_listed,
    test_priority_time_limits_and_custom_headers,
    test_remote_control,
    test_retry,
    test_stamps,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


#: How bytes come, whether the producer has confirms, and the event loop.
SHORT = [("one", "confirmed", "uvloop"), ("random", "unconfirmed", "asyncio")]
FULL = list(itertools.product(("one", "random"), ("unconfirmed", "confirmed"), LOOPS))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    ways = FULL if metafunc.config.getoption("full") else SHORT
    if "setup" in metafunc.fixturenames:
        metafunc.parametrize("setup", ways, ids="-".join, indirect=True, scope="module")


@pytest.fixture(scope="module")
def setup(
    request: pytest.FixtureRequest,
    rabbitmq: RabbitMQServer,
    tmp_path_factory: pytest.TempPathFactory,
    closing_lines: list[str],
) -> Iterator[Setup]:
    how, confirms, loop = request.param
    home = tmp_path_factory.mktemp("chopped")
    chop = Chop(home, how, loop)
    with celery_setup(
        home,
        rabbitmq.port,
        rabbitmq.new_vhost(),
        confirms=confirms == "confirmed",
        gateway_settings=suite.LISTED,
        chop=chop,
    ) as running:
        assert loop_of(running.gateway.pid) == loop
        yield running
    chop.check()
    closing_lines.append(f"chopped, {chop.how}, {confirms}, {loop}: {chop.report()}")


def test_every_test_of_the_suite_is_here() -> None:
    names = {name for name in vars(suite) if name.startswith("test_")}
    assert names <= set(globals())
