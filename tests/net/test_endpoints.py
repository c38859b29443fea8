"""Which broker is tried first, and what failures and successes change about that."""

from __future__ import annotations

import ssl

import pytest

from sealgate.net.endpoints import AVOID_S_MAX, AVOID_S_MIN, Endpoint, Endpoints, endpoint

ONE, TWO, THREE = Endpoint("one", 5672), Endpoint("two", 5672), Endpoint("three", 5672)


class World:
    """Endpoints with a clock and dice to turn."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.dice = 0.5
        self.endpoints = Endpoints([ONE, TWO, THREE], lambda: self.now, lambda: self.dice)

    @property
    def order(self) -> list[Endpoint]:
        return self.endpoints.route().left

    def avoided_s(self, target: Endpoint) -> float:
        return self.endpoints.states()[target.address].avoid_until - self.now


# URLs


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("amqp://broker", "broker", 5672),
        ("amqp://user:secret@broker:1234/vhost", "broker", 1234),
        ("amqp://[::1]:5673", "::1", 5673),
        ("amqp://[fe80::1%25eth0]", "fe80::1%eth0", 5672),
        ("amqp://[fe80::1%eth0]", "fe80::1%eth0", 5672),
    ],
)
def test_plain_url_names_host_and_port_only(url: str, host: str, port: int) -> None:
    assert endpoint(url, ssl.create_default_context(), "ignored") == Endpoint(host, port)


def test_tls_url_brings_its_own_port_and_name() -> None:
    context = ssl.create_default_context()
    assert endpoint("amqps://broker", context, None) == Endpoint("broker", 5671, context, "broker")
    assert endpoint("amqps://10.0.0.1:1", context, "name") == Endpoint("10.0.0.1", 1, context, "name")


def test_certificate_of_a_scoped_address_is_for_the_address() -> None:
    context = ssl.create_default_context()
    assert endpoint("amqps://[fe80::1%25eth0]", context, None).server_name == "fe80::1"


def test_address_is_told_as_people_write_it() -> None:
    assert Endpoint("::1", 1).address == "[::1]:1"
    assert Endpoint("broker", 1).address == "broker:1"


# Order


def test_configured_order_holds_while_nothing_is_known() -> None:
    world = World()
    assert world.order == [ONE, TWO, THREE]
    assert world.endpoints.reachable is None
    assert [state.up for state in world.endpoints.states().values()] == [None] * 3


def test_one_that_failed_is_tried_last_and_comes_back_by_itself() -> None:
    world = World()
    world.endpoints.failed(ONE, "refused", connects=False)
    assert world.order == [TWO, THREE, ONE]
    assert world.endpoints.reachable is False
    world.endpoints.connected(TWO)
    assert world.endpoints.reachable is True
    world.now += AVOID_S_MIN
    assert world.order == [ONE, TWO, THREE]


def test_all_that_failed_are_still_tried() -> None:
    world = World()
    for target in (ONE, TWO, THREE):
        world.endpoints.failed(target, "refused", connects=False)
    assert world.order == [ONE, TWO, THREE]


def test_each_failure_doubles_the_wait_up_to_a_minute() -> None:
    world = World()
    waits = []
    for _ in range(9):
        world.endpoints.failed(ONE, "refused", connects=False)
        waits.append(world.avoided_s(ONE))
        world.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert AVOID_S_MAX == 60
    for _ in range(2000):
        world.endpoints.failed(ONE, "refused", connects=False)
        world.now += world.avoided_s(ONE)
    assert world.avoided_s(ONE) <= AVOID_S_MAX


def test_those_who_failed_at_the_same_time_are_one_failure() -> None:
    world = World()
    for _ in range(100):
        world.endpoints.failed(ONE, "refused", connects=False)
    assert world.avoided_s(ONE) == AVOID_S_MIN


@pytest.mark.parametrize(("dice", "share"), [(0.0, 0.75), (0.999, 1.2495)])
def test_gates_do_not_retry_in_step(dice: float, share: float) -> None:
    world = World()
    world.dice = dice
    world.endpoints.failed(ONE, "refused", connects=False)
    assert world.avoided_s(ONE) == pytest.approx(AVOID_S_MIN * share)


def test_success_forgives_everything() -> None:
    world = World()
    for _ in range(5):
        world.endpoints.failed(ONE, "refused", connects=False)
        world.now += 100
    world.endpoints.connected(ONE)
    assert world.order == [ONE, TWO, THREE]
    world.endpoints.failed(ONE, "refused", connects=False)
    assert world.avoided_s(ONE) == AVOID_S_MIN


def test_socket_alone_does_not_forgive_what_failed_after_connecting() -> None:
    world = World()
    world.endpoints.failed(ONE, "320 in the handshake", connects=True)
    world.endpoints.connected(ONE)
    assert world.order == [TWO, THREE, ONE]
    assert world.endpoints.states()[ONE.address].why == "320 in the handshake"
    world.now += AVOID_S_MIN
    world.endpoints.connected(ONE)
    assert world.endpoints.states()[ONE.address].up is True
    world.endpoints.failed(ONE, "320 in the handshake", connects=True)
    assert world.avoided_s(ONE) == 2 * AVOID_S_MIN
    world.endpoints.served(ONE)
    assert world.order == [ONE, TWO, THREE]
    assert world.endpoints.states()[ONE.address].up is True
