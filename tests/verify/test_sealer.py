from __future__ import annotations

import random
from typing import Any

import pytest

from sealgate.reason import GateError, Reason
from sealgate.signing.base64url import b64url_encode
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    canonical_properties,
)
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.signing.token import Token, is_session_nonce, parse_token, session_nonce, split_session_nonce
from sealgate.verify.message import Message
from sealgate.verify.sealer import LIFETIME_S, Sealer, SignerSession
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import EXPIRATION, TIMESTAMP, scan_content_header, splice
from sealgate.wire.reader import HeaderReader
from support.sealed import (
    CHALLENGE,
    DEPLOYMENT,
    JSON_HEADER,
    NOW,
    a_key,
    a_message,
    a_peer,
    a_policy,
    judge,
    received,
    rules,
    sealed,
    task_headers,
)


def counting(size: int) -> bytes:
    return bytes(range(size))


def a_sealer(key: Key | None = None, **options: Any) -> Sealer:
    return Sealer(Keyring([key or a_key()]), "k1", DEPLOYMENT, counting, **options)


def add(message: Message, added: bytes) -> Message:
    payload = splice(message.header, frozenset({TOKEN_NAME}), added)
    return received(payload, message.body, message.exchange, message.routing_key)


def token_of(message: Message, key: Key | None = None, now: float = NOW) -> Token:
    added = a_sealer(key).seal(message, a_peer(), SignerSession(), now)
    value = add(message, added).header.table.values[TOKEN_NAME]
    assert isinstance(value, str)
    return parse_token(value.encode())


@pytest.mark.parametrize(
    "message",
    [
        a_message(),
        a_message(b"", {}, {}),
        a_message(properties={**JSON_HEADER, EXPIRATION: b"60000", TIMESTAMP: NOW.to_bytes(8, "big")}),
        a_message(exchange="events", routing_key="a.b.ż"),
        sealed(),
    ],
)
def test_sealed_message_is_accepted(message: Message) -> None:
    sent = add(message, a_sealer().seal(message, a_peer(), SignerSession(), NOW + 0.9))
    verdict = judge(sent, a_policy(content=rules("generic", "*")))
    assert isinstance(verdict, Accepted)


ETA = "2026-01-01T00:30:00+00:00"


@pytest.mark.parametrize("etas", [{"app.add": (None,), "app.mul": (ETA,)}, {"app.add": (None, ETA)}])
@pytest.mark.parametrize("seed", range(4))
def test_seal_hangs_on_no_message_before(etas: dict[str, tuple[str | None, ...]], seed: int) -> None:
    """One sealer for all of them, read as a session reads them, makes what a new one makes."""
    dice = random.Random(seed)
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, "task")
    rings = [Keyring([a_key("k1"), a_key("k2", max_lifetime_s=50_000 + days)]) for days in range(2)]
    sealer, session = Sealer(rings[0], "k1", DEPLOYMENT, counting), SignerSession()
    seen = set()
    expiration: bytes | None = None
    is_timed = False
    for number in range(400):
        properties = {**JSON_HEADER, 5: b"%d" % number}
        if dice.random() < 0.1:
            expiration = dice.choice((None, None, b"60000", b"5"))
        if dice.random() < 0.05:
            is_timed = not is_timed
        if expiration is not None:
            properties[EXPIRATION] = expiration
        if is_timed:
            properties[TIMESTAMP] = (NOW + dice.randrange(2)).to_bytes(8, "big")
        task = dice.choice(list(etas))
        headers = task_headers(task=task, eta=dice.choice(etas[task]), id=f"i-{number}")
        target = dice.choice(("", "", "events")), dice.choice(("celery", "celery", "a.b.ż"))
        body = dice.choice((b"[]", b"[1]"))
        message = a_message(body, headers, properties, *target)
        read = Message(*target, False, reader.read(message.header.payload), body, message.body_sha256)
        if dice.random() < 0.1:
            sealer.kid = dice.choice(("k1", "k2"))
        sealer.keyring = dice.choice((sealer.keyring, *rings))
        now, vhost = NOW + number // 100, dice.choice(("/", "/", "t-1"))
        fresh = Sealer(sealer.keyring, sealer.kid, DEPLOYMENT, counting)
        added = sealer.seal(read, a_peer(vhost=vhost), session, now)
        assert added == fresh.seal(message, a_peer(vhost=vhost), SignerSession(), now)
        seen.add(added)
        remove = frozenset({TOKEN_NAME})
        assert splice(read.header, remove, added) == splice(message.header, remove, added)
    assert len(seen) == 400


def test_seal_is_of_the_vhost_it_is_sent_to() -> None:
    message = a_message()
    sent = add(message, a_sealer().seal(message, a_peer(vhost="t-1"), SignerSession(), NOW))
    assert isinstance(judge(sent, peer=a_peer(vhost="t-1")), Accepted)
    assert not isinstance(judge(sent), Accepted)


def test_challenge_makes_session_nonces_that_rise_by_one() -> None:
    session, peer, message = SignerSession(CHALLENGE), a_peer(), a_message()
    for sequence in range(3):
        sent = add(message, a_sealer().seal(message, peer, session, NOW))
        assert isinstance(judge(sent, peer=peer), Accepted)
        assert peer.last_sequence == sequence
    value = sent.header.table.values[TOKEN_NAME]
    assert isinstance(value, str)
    nonce = parse_token(value.encode()).nonce
    assert is_session_nonce(nonce)
    assert split_session_nonce(nonce) == (CHALLENGE, 2)


@pytest.mark.parametrize("sequence", [0, 63, 64, 4094, 2**24 - 2, 2**32 - 2, 2**48 - 2])
def test_text_of_a_nonce_is_that_of_its_octets(sequence: int) -> None:
    session = SignerSession(CHALLENGE)
    for number in range(sequence, sequence + 4):
        session.sequence = number
        text = b"".join(session.nonce_text(counting))
        assert text == b64url_encode(session_nonce(CHALLENGE, number))
        assert session.sequence == number + 1


def test_no_challenge_makes_random_nonces() -> None:
    assert token_of(a_message()).nonce == counting(16)


def expires_after(message: Message, max_lifetime_s: int = 7 * 86400) -> int:
    return token_of(message, a_key(max_lifetime_s=max_lifetime_s)).expires - NOW


def test_seal_lasts_a_day_and_never_over_the_keys_limit() -> None:
    assert expires_after(a_message()) == LIFETIME_S
    assert expires_after(a_message(), 3600) == 3600


def test_fraction_of_now_is_cut_from_created() -> None:
    assert token_of(a_message(), now=NOW + 0.999).created == NOW


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"eta": "2026-01-01T12:00:00+00:00"}, 12 * 3600 + LIFETIME_S),
        ({"eta": "2026-01-01T12:00:00.25+00:00"}, 12 * 3600 + 1 + LIFETIME_S),
        ({"eta": "2025-12-01T00:00:00+00:00"}, LIFETIME_S),
        ({"eta": "2026-01-07T23:00:00+00:00"}, 7 * 86400),
        ({"expires": "2026-01-01T01:00:00+00:00"}, 3600),
        ({"expires": "2026-01-01T01:00:00.5+00:00"}, 3601),
        ({"expires": "2027-01-01T00:00:00+00:00"}, LIFETIME_S),
        ({"expires": "2025-01-01T00:00:00+00:00"}, 1),
        ({"eta": "2026-01-01T12:00:00", "expires": "2026-01-01T13:00:00"}, 13 * 3600),
        ({"eta": 5, "expires": "zzz"}, LIFETIME_S),
    ],
)
def test_seal_lasts_as_long_as_its_task(headers: dict[str, object], seconds: int) -> None:
    assert expires_after(a_message(headers=task_headers(**headers))) == seconds


@pytest.mark.parametrize(
    ("expiration", "seconds"),
    [(b"0", 1), (b"1", 1), (b"60000", 60), (b"60001", 61), (b"4294967295", LIFETIME_S), (b"abc", LIFETIME_S)],
)
def test_seal_lasts_no_longer_than_the_expiration(expiration: bytes, seconds: int) -> None:
    assert expires_after(a_message(properties={**JSON_HEADER, EXPIRATION: expiration})) == seconds


def test_times_of_what_is_no_task_are_not_read() -> None:
    control = a_message(b"{}", {"clock": 1, "expires": NOW + 1.5, "eta": "2026-01-09T00:00:00"})
    assert expires_after(control) == LIFETIME_S


def refusal(message: Message, key: Key, kid: str = "k1") -> Reason:
    sealer = a_sealer(key)
    sealer.kid = kid
    with pytest.raises(GateError) as caught:
        sealer.seal(message, a_peer(), SignerSession(), NOW)
    return caught.value.reason


def test_what_can_not_be_sealed_is_an_error() -> None:
    assert refusal(a_message(), a_key(), kid="k9") is Reason.SIG_KID
    assert refusal(a_message(), a_key(state=KeyState.VERIFY)) is Reason.SIG_KEY_STATE
    assert refusal(a_message(), a_key(not_after=NOW - 1)) is Reason.SIG_KEY_STATE
    late = a_message(headers=task_headers(eta="2026-01-08T00:00:01+00:00"))
    assert refusal(late, a_key()) is Reason.CELERY_ETA


def read_by(reader: HeaderReader, number: int, target: str = "", expiration: bytes | None = None) -> Message:
    properties = {**JSON_HEADER, 5: b"%d" % number}
    if expiration is not None:
        properties[EXPIRATION] = expiration
    message = a_message(b"[]", task_headers(id=f"i-{number}"), properties, target, target)
    return Message(target, target, False, reader.read(message.header.payload), b"[]", message.body_sha256)


def test_key_that_ends_within_a_second_seals_nothing_more_in_it() -> None:
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, "task")
    sealer, session = a_sealer(a_key(not_after=NOW)), SignerSession()
    for number in range(4):
        sealer.seal(read_by(reader, number), a_peer(), session, NOW)
    with pytest.raises(GateError) as refused:
        sealer.seal(read_by(reader, 4), a_peer(), session, NOW + 0.5)
    assert refused.value.reason is Reason.SIG_KEY_STATE


def test_what_is_too_long_for_a_seal_is_so_each_time() -> None:
    reader = HeaderReader(OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME, canonical_properties, "task")
    sealer, session = a_sealer(), SignerSession()
    for number in range(6):
        with pytest.raises(GateError) as refused:
            sealer.seal(read_by(reader, number, "t" * 255, b"1" * 255), a_peer(), session, NOW)
        assert refused.value.reason is Reason.SIG_MALFORMED


def test_sequence_is_not_spent_on_what_can_not_be_sealed() -> None:
    session = SignerSession(CHALLENGE)
    late = a_message(headers=task_headers(eta="2027-01-01T00:00:00+00:00"))
    with pytest.raises(GateError):
        a_sealer().seal(late, a_peer(), session, NOW)
    assert session.sequence == 0


def test_countersignature_covers_the_seal_as_an_ordinary_header() -> None:
    message = sealed()
    header = scan_content_header(
        message.header.payload, OMITTED_FOR_COUNTERSIGN, ABSOLUTE_NAMES, COUNTERSIGN_NAME
    )
    covered = Message("", "celery", False, header, message.body, message.body_sha256)
    sealer = a_sealer(name=COUNTERSIGN_NAME)
    added = sealer.seal(covered, a_peer(), SignerSession(), NOW)
    uncovered = sealer.seal(message, a_peer(), SignerSession(), NOW)
    assert added.startswith(bytes((len(COUNTERSIGN_NAME),)) + COUNTERSIGN_NAME.encode())
    assert added != uncovered
