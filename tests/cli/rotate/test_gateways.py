"""Whatever answers in a gateway's place: it is told, proves nothing, and no terminal obeys it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import pytest

from sealgate.cli.keys.gateways import Witness, ask_one
from sealgate.config.fields import parse_address
from support.http_stand_in import stand_in
from support.rotating import GatewayOf, Keys, Rotate, a_key, an_answer

NAN = float("nan")
FAR = float("inf")
HUGE = 10**400
ESCAPES = ["\x1b[2J", "\x9b31m", "a\nb", "\ud800"]


def told_by(say: Callable[[BaseHTTPRequestHandler], None]) -> Witness:
    with stand_in(say) as url:
        return ask_one(parse_address(url.removeprefix("http://")))


def saying(body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    def say(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return say


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"schema": 1},
        an_answer(at=NAN),
        an_answer(at=FAR),
        an_answer(at=HUGE),
        an_answer(failing_since=NAN),
        an_answer(failing_since=HUGE),
        an_answer(a_key("web1-a", last_used=NAN)),
        an_answer(a_key("web1-a", known_since=-FAR)),
        an_answer(a_key("web1-a", expires_latest=FAR)),
        an_answer(a_key("web1-a", messages_last_hour=FAR)),
        an_answer(a_key("web1-a", max_lifetime_s=NAN)),
        an_answer(a_key("web1-a", users=None)),
    ],
)
def test_what_no_gateway_says_is_no_evidence(answer: object) -> None:
    witness = told_by(saying(json.dumps(answer).encode()))
    assert "is not what a gateway of this version says" in witness.error
    assert not witness.keys


def test_what_is_nested_too_deep_is_no_answer() -> None:
    witness = told_by(saying(b"[" * 200_000 + b"]" * 200_000))
    assert "the answer is no JSON" in witness.error


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b""]
)
def test_answer_without_an_end_is_given_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealgate.cli.asking.ANSWER_S", 0.2)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        handler.close_connection = True
        with suppress(OSError):
            while True:
                handler.wfile.write(b"7")
                time.sleep(0.01)

    assert told_by(drip).error


def test_nothing_of_an_answer_is_obeyed_by_a_terminal() -> None:
    key = a_key("web1-a", ESCAPES[0], alg=ESCAPES[1], users=ESCAPES, last_used=time.time())
    answer = an_answer(key, source=ESCAPES[0], deployment=ESCAPES[1])
    witness = told_by(saying(json.dumps(answer).encode()))
    use = witness.keys["web1-a"]
    for text in (witness.source, witness.deployment, use.state, use.alg, *use.users):
        assert text.isprintable() and text.isascii()

    def status_line(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x1b[2J and more\r\n\r\n")
        handler.close_connection = True

    assert told_by(status_line).error.isprintable()


def test_answer_of_nonsense_is_a_reason_against_every_step(
    keys: Keys, rotate: Rotate, gateway_of: GatewayOf
) -> None:
    rotate("begin", keys.path, "--kid", "web1-a")
    gateway = gateway_of(a_key("web1-a"), a_key("web1-b"), at=NAN)
    assert rotate("promote", keys.path, "--kid", "web1-b", *gateway.gateway).exit_code == 69
    rotate("promote", keys.path, "--kid", "web1-b", "--force")
    keys.age(web1_a=30 * 86400, web1_b=30 * 86400)
    told = rotate("retire", keys.path, "--kid", "web1-a", *gateway.gateway)
    assert told.exit_code == 69
    assert "is not what a gateway of this version says" in told.output
