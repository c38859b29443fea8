"""What a broker's greeting alone tells; the servers are ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealgate.cli.doctor import live_broker
from support.certificates import Authority
from support.doctor_apps import pairs
from support.doctor_configs import Place
from support.greeters import greeter, start_frame
from support.processes import free_port

AT_HAND = (
    "--ignore",
    "live.redis-*",
    "--timeout",
    "3",
    "--admin",
    "127.0.0.1:1",
    "--ignore",
    "live.gateway-*",
)


def found(place: Place, upstream: str, name: str = "gateway.toml", more: str = "") -> set[tuple[str, str]]:
    place.upstream = upstream
    place.gateway(more='[quarantine]\nenabled = false\n[refuse]\nunconfirmed = "close"\n' + more)
    place.sidecar(("amqp://127.0.0.1:6672", upstream))
    return pairs(place.findings(*AT_HAND, name=name))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(live_broker, "own_addresses", list)
    return Place(tmp_path)


def test_a_broker_that_greets_is_good_as_far_as_that_goes(place: Place) -> None:
    with greeter(start_frame()) as port:
        assert found(place, f"amqp://127.0.0.1:{port}") == set()


def test_a_broker_that_lets_anybody_in_is_found(place: Place) -> None:
    with greeter(start_frame("PLAIN ANONYMOUS")) as port:
        assert found(place, f"amqp://127.0.0.1:{port}") == {("live.broker-anonymous", "upstream.urls[0]")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak AMQP 0-9-1"),
        (b"AMQP\x00\x01\x00\x00AMQP", "it wants another version of AMQP"),
        (b"\x01\x00\x00\xff\xff\xff\xff" + b"x" * 70_000, "it does not speak AMQP 0-9-1"),
    ],
)
def test_who_does_not_greet_as_a_broker_is_none(place: Place, words: bytes, told: str) -> None:
    with greeter(words) as port:
        place.upstream = f"amqp://127.0.0.1:{port}"
        place.gateway(more='[quarantine]\nenabled = false\n[refuse]\nunconfirmed = "close"\n')
        findings = place.findings(*AT_HAND)
    assert pairs(findings) == {("live.broker-unreachable", "upstream.urls[0]")}
    assert told in findings[0]["message"]


def test_nobody_there_is_found(place: Place) -> None:
    upstream = f"amqp://127.0.0.1:{free_port()}"
    assert found(place, upstream) == {("live.broker-unreachable", "upstream.urls[0]")}


def test_a_sidecar_needs_a_gateway_behind_it(place: Place) -> None:
    with greeter(start_frame()) as port:
        expected = {("live.no-gateway", "upstream.urls[0]")}
        assert found(place, f"amqp://127.0.0.1:{port}", "sidecar.toml") == expected
    with greeter(start_frame(sealgate={"challenge": bytearray(b"0123456789abcdef")})) as port:
        assert found(place, f"amqp://127.0.0.1:{port}", "sidecar.toml") == set()


def test_a_broker_that_listens_beside_the_gateway_is_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_broker, "own_addresses", lambda: ["127.0.0.2"])
    with greeter(start_frame()) as port:
        assert found(place, f"amqp://127.0.0.1:{port}") == set()
        try:
            second = greeter(start_frame(), "127.0.0.2", port)
            with second:
                expected = {("live.broker-open", "upstream.urls[0]")}
                assert found(place, f"amqp://127.0.0.1:{port}") == expected
        except OSError:
            pytest.skip("this system has no address 127.0.0.2")


def test_a_certificate_that_ends_soon_is_found(place: Place, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.issue("localhost")
    more = f'[upstream.tls]\nca = "{authority.ca}"\n'
    with greeter(start_frame(), tls=authority.server(pair)) as port:
        expected = {("live.certificate-ending", "upstream.urls[0]")}
        assert found(place, f"amqps://localhost:{port}", more=more) == expected
        stranger = Authority(tmp_path / "other", "another authority")
        more = f'[upstream.tls]\nca = "{stranger.ca}"\n'
        expected = {("live.broker-unreachable", "upstream.urls[0]")}
        assert found(place, f"amqps://localhost:{port}", more=more) == expected
