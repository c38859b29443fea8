"""Real Celery against a real RabbitMQ through the gateway, signed by sidecars or by the transport for kombu:
everything works, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from celery import chain, group
from celery.canvas import StampingVisitor

from support.celery_project import add, echo, fail, flaky, on_error
from support.celery_setup import IN_PROCESS, SIDECAR, VERIFYING, Setup, celery_setup
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(90),
    # Celery's result consumer leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RESULT_SECONDS_MAX = 30
LISTED = {
    "content": {
        "types": ["application/json", "application/x-msgpack"],
        "compression": ["application/x-gzip", "application/x-bz2"],
    }
}


@pytest.fixture(scope="module", params=["unconfirmed", "confirmed", IN_PROCESS, VERIFYING])
def setup(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    confirms = request.param != "unconfirmed"
    signing = request.param if request.param in (IN_PROCESS, VERIFYING) else SIDECAR
    home = tmp_path_factory.mktemp("celery")
    with celery_setup(
        *(home, rabbitmq.port, rabbitmq.new_vhost()),
        confirms=confirms,
        gateway_settings=LISTED,
        signing=signing,
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_refused_and_nothing_run_twice(setup: Setup) -> Iterator[None]:
    """What every test of this file must leave true."""
    yield
    assert setup.refused() == {}
    assert [run for run, times in setup.runs().items() if times != 1] == []
    assert setup.worker_alive()


def test_delay(setup: Setup) -> None:
    assert add.delay(2, 3).get(timeout=RESULT_SECONDS_MAX) == 5


def test_countdown_and_eta(setup: Setup) -> None:
    started = time.monotonic()
    later = add.apply_async((1, 1), countdown=1)
    at = add.apply_async((2, 2), eta=datetime.now(UTC) + timedelta(seconds=1))
    assert (later.get(timeout=RESULT_SECONDS_MAX), at.get(timeout=RESULT_SECONDS_MAX)) == (2, 4)
    assert time.monotonic() - started >= 0.9


def test_expires(setup: Setup) -> None:
    assert add.apply_async((1, 2), expires=60).get(timeout=RESULT_SECONDS_MAX) == 3
    assert add.apply_async((1, 2), expires=datetime.now(UTC) + timedelta(minutes=5)).get(timeout=30) == 3


def test_priority_time_limits_and_custom_headers(setup: Setup) -> None:
    result = echo.apply_async(
        ("v",), priority=7, time_limit=50, soft_time_limit=40, headers={"tenant": "acme", "attempt": 3}
    ).get(timeout=RESULT_SECONDS_MAX)
    assert result["value"] == "v"
    assert result["priority"] == 7
    assert result["timelimit"] == [50, 40]
    assert result["headers"]["tenant"] == "acme"
    assert result["headers"]["attempt"] == 3


def test_stamps(setup: Setup) -> None:
    class Monitoring(StampingVisitor):  # type: ignore[misc]
        def on_signature(self, sig: object, **headers: object) -> dict[str, object]:
            return {"monitoring_id": "m-1", "stamped_headers": ["monitoring_id"]}

    signature = echo.s("stamped")
    signature.stamp(visitor=Monitoring())
    assert signature.apply_async().get(timeout=RESULT_SECONDS_MAX)["stamps"] == {"monitoring_id": "m-1"}


def test_chain(setup: Setup) -> None:
    result = chain(add.s(1, 2), add.s(10), add.s(100)).apply_async()
    assert result.get(timeout=RESULT_SECONDS_MAX) == 113


def test_group(setup: Setup) -> None:
    assert group(add.s(n, n) for n in range(5)).apply_async().get(timeout=RESULT_SECONDS_MAX) == [
        0,
        2,
        4,
        6,
        8,
    ]


def test_link_and_link_error(setup: Setup) -> None:
    before = setup.runs_of("shop.on_error")
    linked = add.apply_async((1, 1), link=echo.s())
    assert linked.get(timeout=RESULT_SECONDS_MAX) == 2
    failing = fail.apply_async(link_error=on_error.s())
    with pytest.raises(ValueError, match="as asked"):
        failing.get(timeout=RESULT_SECONDS_MAX)
    wait_until(lambda: setup.runs_of("shop.on_error") == before + 1, 20, "the errback to run")


def test_retry(setup: Setup) -> None:
    result = flaky.delay(2)
    assert result.get(timeout=RESULT_SECONDS_MAX) == 2
    assert sorted(retry for task_id, retry in setup.runs() if task_id == result.id) == [0, 1, 2]


@pytest.mark.parametrize("compression", ["zlib", "bzip2"])
def test_compression_where_listed(setup: Setup, compression: str) -> None:
    text = "compress me " * 500
    result = echo.apply_async((text,), compression=compression).get(timeout=RESULT_SECONDS_MAX)
    assert result["value"] == text


def test_msgpack_where_listed(setup: Setup) -> None:
    assert add.apply_async((4, 5), serializer="msgpack").get(timeout=RESULT_SECONDS_MAX) == 9


def test_remote_control(setup: Setup) -> None:
    def answered() -> bool:
        return setup.app.control.ping(timeout=2) == [{"w1@tests": {"ok": "pong"}}]

    wait_until(answered, 20, "the worker's pong")
    inspected = setup.app.control.inspect(timeout=5).registered()
    assert "shop.add" in inspected["w1@tests"]


def test_events(setup: Setup) -> None:
    seen: list[str] = []

    def note(event: dict[str, object]) -> None:
        seen.append(str(event["type"]))

    with setup.app.connection_for_read() as connection:
        receiver = setup.app.events.Receiver(connection, handlers={"*": note})
        deadline = time.monotonic() + RESULT_SECONDS_MAX
        capture = receiver.itercapture(limit=None, timeout=RESULT_SECONDS_MAX, wakeup=False)
        next(capture)  # the receiver's queue is bound
        task = add.delay(1, 1)
        while "task-succeeded" not in seen and time.monotonic() < deadline:
            next(capture)
        capture.close()
    assert task.get(timeout=RESULT_SECONDS_MAX) == 2
    assert {"task-received", "task-started", "task-succeeded"} <= set(seen)


def test_many_tasks_at_once(setup: Setup) -> None:
    results = [add.delay(n, 1) for n in range(200)]
    assert [result.get(timeout=RESULT_SECONDS_MAX) for result in results] == [n + 1 for n in range(200)]
