"""What a process lets through of what it is delivered: signature, end of validity, target. Nothing else
passes."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Any

import pytest

from integrations.conftest import write_keys
from sealgate.integrations.deliveries import LOG_INTERVAL_S, DeliveryCheck
from sealgate.integrations.options import Options
from sealgate.reason import GateError, Reason
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_COUNTERSIGN
from sealgate.signing.keyring import Key
from sealgate.signing.token import TOKEN_BYTES_MAX
from sealgate.verify.message import Message
from sealgate.wire.entries import entry_longstr
from sealgate.wire.properties import EXPIRATION, TIMESTAMP, scan_content_header, splice
from support.gateway import key
from support.sealed import BODY, DEPLOYMENT, JSON_HEADER, NOW, a_message, received, seal, table, with_token
from support.wire_bytes import content_header, entry, long

SECRET = secrets.token_bytes(32)
KEY = Key("k1", HmacSha256(SECRET))


class Clock:
    def __init__(self) -> None:
        self.wall = float(NOW)
        self.monotonic = 1000.0


def verifier(
    tmp_path: Path, clock: Clock | None = None, *more: dict[str, object], **options: Any
) -> DeliveryCheck:
    path = tmp_path / "keys.toml"
    write_keys(path, [key("k1", "hex:" + SECRET.hex()), *more])
    time = clock or Clock()
    return DeliveryCheck(
        Options(f"file:{path}", deployment=DEPLOYMENT, verify=True, **options),
        lambda: time.wall,
        lambda: time.monotonic,
    )


def refusal(
    verifier: DeliveryCheck,
    message: Message,
    exchange: str | None = None,
    routing_key: str | None = None,
    queue: str = "celery",
    vhost: str = "/",
    added: bytes = b"",
) -> str:
    """The reason it is refused for, "" when it is not."""
    try:
        verifier.check(
            message.exchange if exchange is None else exchange,
            message.routing_key if routing_key is None else routing_key,
            *(splice(message.header, frozenset(), added), message.body, vhost, queue),
        )
    except GateError as error:
        return error.reason.value
    return ""


def sealed(message: Message | None = None, **options: Any) -> Message:
    message = message or a_message()
    return with_token(message, seal(message, KEY, **options))


def with_entries(message: Message, entries: bytes, properties: dict[int, bytes] | None = None) -> Message:
    """The message as a broker delivers it that has added headers to it (and left these properties)."""
    content = message.header.table.raw + entries
    given = {index: value for index, value in enumerate(message.header.fields) if value is not None}
    kept = given if properties is None else properties
    bare = a_message(message.body, {}, kept, message.exchange, message.routing_key, raw_entries=content)
    return received(bare.header.payload, message.body, message.exchange, message.routing_key)


def test_sealed_delivery_passes(tmp_path: Path) -> None:
    assert refusal(verifier(tmp_path), sealed()) == ""


def test_what_a_broker_adds_does_no_harm(tmp_path: Path) -> None:
    added = table({"x-delivery-count": 3, "x-first-death-queue": "q"})
    assert refusal(verifier(tmp_path), with_entries(sealed(), added)) == ""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (a_message(), "sig.missing"),
        (with_token(a_message(), b"seal2.k1"), "sig.version"),
        (with_token(a_message(), b"x" * (TOKEN_BYTES_MAX + 1)), "sig.malformed"),
        (with_token(a_message(), seal(a_message(), Key("other", HmacSha256(SECRET)))), "sig.kid"),
        (with_token(a_message(), seal(a_message(), Key("k1", HmacSha256(bytes(range(32)))))), "sig.bad"),
        (with_token(a_message(b"[]"), seal(a_message(), KEY)), "sig.bad"),
        (with_token(a_message(headers={"task": "app.sub"}), seal(a_message(), KEY)), "sig.bad"),
        (sealed(deployment="staging"), "sig.bad"),
        (sealed(vhost="other"), "sig.bad"),
        (sealed(created=NOW - 7200, expires=NOW - 31), "time.expired"),
        (sealed(expires=NOW + 8 * 24 * 3600), "sig.lifetime"),
    ],
)
def test_forged_delivery_is_refused(tmp_path: Path, message: Message, reason: str) -> None:
    assert refusal(verifier(tmp_path), message) == reason


def test_two_seals_are_refused(tmp_path: Path) -> None:
    second = entry("x-seal", "S", long(b"seal1"))
    assert refusal(verifier(tmp_path), sealed(), added=second) == "sig.duplicate"


def test_header_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """py-amqp would show the application the last one."""
    assert refusal(verifier(tmp_path), sealed(), added=table({"task": "app.sub"})) == "header.duplicate"


def test_old_and_repeated_deliveries_pass_as_long_as_the_seal_is_valid(tmp_path: Path) -> None:
    clock = Clock()
    judge = verifier(tmp_path, clock)
    message = sealed(expires=NOW + 24 * 3600)
    clock.wall = NOW + 24 * 3600 + 30.0
    assert [refusal(judge, message) for _ in range(2)] == ["", ""]
    clock.wall += 1
    assert refusal(judge, message) == "time.expired"


@pytest.mark.parametrize(("state", "reason"), [("verify", ""), ("revoked", "sig.key_state")])
def test_state_of_the_key_counts(tmp_path: Path, state: str, reason: str) -> None:
    path = tmp_path / "keys.toml"
    write_keys(path, [key("k1", "hex:" + SECRET.hex(), state=state)])
    options = Options(f"file:{path}", deployment=DEPLOYMENT)
    assert refusal(DeliveryCheck(options, lambda: float(NOW)), sealed()) == reason


class TestCountersignature:
    """A gateway that clamps what a task asks for breaks the producer's seal, and countersigns what it
    made."""

    GATEWAY = Key("gw1", HmacSha256(bytes(reversed(SECRET))))

    def judged(self, tmp_path: Path, message: Message, **options: Any) -> str:
        more = key("gw1", "hex:" + bytes(reversed(SECRET)).hex())
        return refusal(verifier(tmp_path, None, more, countersigned_by=("gw1",), **options), message)

    def countersigned(self, message: Message, by: Key | None = None) -> Message:
        """As a gateway does it: over the producer's seal as an ordinary header."""
        payload = message.header.payload
        header = scan_content_header(payload, OMITTED_FOR_COUNTERSIGN, ABSOLUTE_NAMES, "x-seal")
        covered = Message(
            *(message.exchange, message.routing_key, False, header, message.body, message.body_sha256)
        )
        added = entry_longstr("x-countersign", seal(covered, by or self.GATEWAY))
        return received(
            splice(header, frozenset(), added), message.body, message.exchange, message.routing_key
        )

    def test_is_taken_instead_of_a_seal_that_is_broken(self, tmp_path: Path) -> None:
        clamped = with_token(
            a_message(headers={"task": "app.add", "timelimit": [5, 5]}), seal(a_message(), KEY)
        )
        message = self.countersigned(clamped)
        assert self.judged(tmp_path, message, require="gateway") == ""
        assert self.judged(tmp_path, message, require="both") == "sig.bad"
        assert self.judged(tmp_path, message) == "sig.bad"

    def test_both_are_asked_for(self, tmp_path: Path) -> None:
        assert self.judged(tmp_path, self.countersigned(sealed()), require="both") == ""
        assert self.judged(tmp_path, self.countersigned(a_message()), require="both") == "sig.missing"
        assert self.judged(tmp_path, sealed(), require="both") == "sig.missing"

    def test_producer_can_not_stand_in_for_a_gateway(self, tmp_path: Path) -> None:
        message = self.countersigned(sealed(), by=KEY)
        assert self.judged(tmp_path, message, require="gateway") == "sig.kid"


class TestStrictTarget:
    @pytest.mark.parametrize(("exchange", "routing_key"), [("other", None), (None, "other")])
    def test_sealed_for_another_queue(
        self, tmp_path: Path, exchange: str | None, routing_key: str | None
    ) -> None:
        assert refusal(verifier(tmp_path), sealed(), exchange, routing_key) == "target.mismatch"

    @pytest.mark.parametrize("index", [EXPIRATION, TIMESTAMP])
    def test_property_of_the_target_changed(self, tmp_path: Path, index: int) -> None:
        first = {EXPIRATION: b"60000", TIMESTAMP: bytes(8)}
        second = {EXPIRATION: b"90000", TIMESTAMP: b"\x01" * 8}
        message = sealed(a_message(properties={**JSON_HEADER, index: first[index]}))
        assert refusal(verifier(tmp_path), message) == ""
        changed = with_entries(message, b"", {**JSON_HEADER, index: second[index]})
        assert refusal(verifier(tmp_path), changed) == "target.mismatch"
        assert refusal(verifier(tmp_path), with_entries(message, b"", JSON_HEADER)) == "target.mismatch"

    def test_dead_letter_is_none_of_its_business(self, tmp_path: Path) -> None:
        died = with_entries(sealed(), x_death())
        assert refusal(verifier(tmp_path), died, "dead", "letters") == "target.mismatch"


def x_death(**changes: object) -> bytes:
    death: dict[str, object] = {
        "count": 1,
        "exchange": "",
        "queue": "celery",
        "reason": "expired",
        "routing-keys": ["celery"],
        **changes,
    }
    return table({"x-death": [death]})


class TestDeadLetterTarget:
    QUEUES = (("letters", "dead_letter"),)

    def judged(self, tmp_path: Path, message: Message, queue: str = "letters") -> str:
        return refusal(verifier(tmp_path, queues=self.QUEUES), message, "dead", "letters", queue)

    def test_passes_where_it_died_as_it_was_signed(self, tmp_path: Path) -> None:
        assert self.judged(tmp_path, with_entries(sealed(), x_death())) == ""

    @pytest.mark.parametrize(
        "entries",
        [
            b"",
            x_death(exchange="other"),
            x_death(**{"routing-keys": ["other"]}),
            x_death(**{"routing-keys": "celery"}),
            table({"x-death": "celery"}),
            table({"x-death": ["celery"]}),
        ],
    )
    def test_refuses_where_no_death_says_so(self, tmp_path: Path, entries: bytes) -> None:
        assert self.judged(tmp_path, with_entries(sealed(), entries)) == "target.mismatch"

    def test_other_queues_stay_strict(self, tmp_path: Path) -> None:
        assert self.judged(tmp_path, with_entries(sealed(), x_death()), "celery") == "target.mismatch"

    @pytest.mark.parametrize(
        ("original", "reason"), [("60000", ""), ("90000", "target.mismatch"), (None, "target.mismatch")]
    )
    def test_expiration_that_the_broker_took_away_is_in_the_death(
        self, tmp_path: Path, original: str | None, reason: str
    ) -> None:
        message = sealed(a_message(properties={**JSON_HEADER, EXPIRATION: b"60000"}))
        more = {} if original is None else {"original-expiration": original}
        assert self.judged(tmp_path, with_entries(message, x_death(**more), JSON_HEADER)) == reason


class TestWaitedInTheGateway:
    """Messages over their rate wait in queues of the gateway's, with a time to live of its own."""

    @pytest.mark.parametrize("queue", ["sealgate.wait.ab12", "sealgate.park.ab12"])
    def test_expiration_that_was_replaced_is_no_mismatch(self, tmp_path: Path, queue: str) -> None:
        message = sealed(a_message(properties={**JSON_HEADER, EXPIRATION: b"60000"}))
        entries = x_death(queue=queue, **{"routing-keys": [queue], "original-expiration": "1500"})
        assert refusal(verifier(tmp_path), with_entries(message, entries, JSON_HEADER)) == ""

    def test_target_is_still_held_against_the_seal(self, tmp_path: Path) -> None:
        message = with_entries(sealed(), x_death(queue="sealgate.wait.ab12"))
        assert refusal(verifier(tmp_path), message, "", "other") == "target.mismatch"


class TestDelayedTarget:
    KEY = "0." * 26 + "1.1.celery"
    QUEUES = (("celery", "delayed"),)

    def judged(
        self, tmp_path: Path, exchange: str, routing_key: str, signed: str = "celery_delayed_27"
    ) -> str:
        died = x_death(exchange=signed, queue=signed, **{"routing-keys": [self.KEY]})
        message = with_entries(sealed(a_message(exchange=signed, routing_key=self.KEY)), died)
        return refusal(verifier(tmp_path, queues=self.QUEUES), message, exchange, routing_key)

    @pytest.mark.parametrize("exchange", ["celery_delayed_0", "celery_delayed_27", "celery_delayed_delivery"])
    def test_passes_from_exchange_to_exchange(self, tmp_path: Path, exchange: str) -> None:
        assert self.judged(tmp_path, exchange, self.KEY) == ""

    def test_other_key_or_exchange_is_refused(self, tmp_path: Path) -> None:
        assert self.judged(tmp_path, "celery_delayed_0", self.KEY + "x") == "target.mismatch"
        assert self.judged(tmp_path, "celery", self.KEY) == "target.mismatch"
        assert self.judged(tmp_path, "celery_delayed_0", self.KEY, signed="tasks") == "target.mismatch"


def test_keys_of_a_running_process_are_followed_through_a_rotation(tmp_path: Path) -> None:
    """Whether any of them can sign is nothing to who verifies; what is revoked is so at the next look."""
    check, other = verifier(tmp_path), secrets.token_bytes(32)
    new = Key("k2", HmacSha256(other))
    plain = a_message()
    messages = {"k1": with_token(plain, seal(plain, KEY)), "k2": with_token(plain, seal(plain, new))}
    found = []
    for states in (
        {"k1": "active"},
        {"k1": "active", "k2": "verify"},
        {"k1": "verify", "k2": "verify"},
        {"k1": "revoked", "k2": "active"},
        {"k2": "active"},
        {},  # no key file: the last good keys stay
    ):
        texts = {"k1": SECRET.hex(), "k2": other.hex()}
        write_keys(tmp_path / "keys.toml", [key(k, f"hex:{texts[k]}", state=s) for k, s in states.items()])
        check._keys._next = 0.0
        found.append([refusal(check, message) for message in messages.values()])
    assert found == [
        ["", "sig.kid"],
        ["", ""],
        ["", ""],
        ["sig.key_state", ""],
        ["sig.kid", ""],
        ["sig.kid", ""],
    ]


def test_refusals_are_counted_and_a_flood_of_them_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    judge = verifier(tmp_path, clock)
    forged = a_message(routing_key="celery\nFORGED LINE")
    with caplog.at_level(logging.WARNING, "sealgate"):
        caplog.clear()
        for _ in range(1000):
            assert not judge.passes("", forged.routing_key, forged.header.payload, BODY, "/", "celery")
        assert len(caplog.records) == 1
        clock.monotonic += LOG_INTERVAL_S
        judge.passes("", forged.routing_key, forged.header.payload, BODY, "/", "celery")
        told = [record.message for record in caplog.records]
    assert judge.refused == {"sig.missing": 1001}
    assert ["refused 1 deliveries: sig.missing" in told[0], "refused 1000 deliveries" in told[1]] == [
        True,
        True,
    ]
    assert not any("\n" in line for line in told)


def test_observe_counts_and_lets_pass(tmp_path: Path) -> None:
    judge = verifier(tmp_path, mode="observe")
    assert judge.passes("", "celery", a_message().header.payload, BODY, "/", "celery")
    assert judge.refused == {"sig.missing": 1}


def test_every_noise_is_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    judge = verifier(tmp_path)
    whole = sealed().header.payload
    for size in range(len(whole)):
        assert not judge.passes("", "celery", whole[:size], BODY, "/", "celery")
    assert not judge.passes("", "celery", content_header(), b"", "/", "celery")
    assert set(judge.refused) <= {reason.value for reason in Reason}
