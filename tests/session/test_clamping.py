"""Publishes that bounds change: what goes upstream is countersigned, what comes back is the client's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, header

from sealgate.reason import Reason
from sealgate.session import originals
from sealgate.session.confirms import Seal
from sealgate.session.conversation import Role
from sealgate.session.originals import Originals
from sealgate.session.records import Tally
from sealgate.signing.canonical import (
    ABSOLUTE_NAMES,
    COUNTERSIGN_NAME,
    OMITTED_FOR_COUNTERSIGN,
    OMITTED_FOR_SEAL,
    TOKEN_NAME,
    signing_context,
)
from sealgate.signing.token_reader import TokenReader
from sealgate.verify.bounds import Bound, BoundTable, Limit
from sealgate.verify.expiry import Expiry
from sealgate.verify.inputs import covered_by
from sealgate.verify.message import Message, Peer
from sealgate.verify.policy import Policy
from sealgate.verify.sealer import Sealer, SignerSession
from sealgate.wire.properties import EXPIRATION, ContentHeader, scan_content_header, splice
from support.sealed import BODY, a_message, task_headers
from support.talk import DEPLOYMENT, KEY, KEYRING, START_S, RawHeader, Spoken, Talk, on

BOUNDS = (Bound("app.*", time_limit=Limit(600.0, 300.0, True), soft_time_limit=Limit(540.0, 240.0, True)),)
NONCES = iter(range(1, 2**32))


def a_talk(role: Role = Role.VERIFY, bounds: tuple[Bound, ...] = BOUNDS, **options: Any) -> Talk:
    policy = Policy(DEPLOYMENT, bounds=BoundTable(bounds), **options)
    talk = Talk(role=role, policy=policy, countersign=role is Role.VERIFY)
    return talk.shake_hands().open_channel(1)


def a_task(mandatory: bool = False, seal: bool = True, **headers: object) -> list[Spoken]:
    """A publish of Celery's, sealed by k1: method, content header, body."""
    message = a_message(headers=task_headers(**headers), routing_key="q")
    payload = message.header.payload
    if seal:
        sealer = Sealer(KEYRING, "k1", DEPLOYMENT, lambda size: next(NONCES).to_bytes(size, "big"))
        added = sealer.seal(message, Peer(DEPLOYMENT), SignerSession(), START_S)
        payload = splice(message.header, frozenset(), added)
    return [
        commands.Basic.Publish(routing_key="q", mandatory=mandatory),
        RawHeader(payload),
        body.ContentBody(BODY),
    ]


def sent_header(talk: Talk) -> tuple[bytes, ContentHeader]:
    """The content header that went upstream, as octets and as scanned for the countersignature."""
    data, talk.to_broker = talk.to_broker, b""
    at = 0
    payload = b""
    while at < len(data):
        size = int.from_bytes(data[at + 3 : at + 7], "big")
        if data[at] == 2:
            payload = data[at + 7 : at + 7 + size]
        at += size + 8
    assert payload
    return payload, scan_content_header(payload, OMITTED_FOR_COUNTERSIGN, ABSOLUTE_NAMES, TOKEN_NAME)


def has_seal_of(scanned: ContentHeader, name: str) -> bool:
    """Whether the signature in header `name` is k1's, of this header and the usual body."""
    message = Message("", "q", False, scanned, BODY, a_message().body_sha256)
    value = scanned.table.values[name]
    assert isinstance(value, str)
    token = TokenReader().read(value.encode())
    signed = covered_by(signing_context(KEY.algorithm.name, DEPLOYMENT, "/"), message, token.prefix)
    return KEY.algorithm.verify(signed, token.signature)


@pytest.mark.parametrize("in_octets", [False, True])
def test_clamped_message_is_changed_in_one_header_and_countersigned(in_octets: bool) -> None:
    talk = a_talk()
    parts = a_task(timelimit=[3600, 3000])
    data = on(1, *parts)
    for piece in [data[at : at + 1] for at in range(len(data))] if in_octets else [data]:
        talk.client_bytes(piece)
    _, sent = sent_header(talk)
    before = scan_content_header(parts[1].payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    values = dict(sent.table.values)
    assert has_seal_of(sent, COUNTERSIGN_NAME)
    assert values.pop(COUNTERSIGN_NAME)
    assert values == {**before.table.values, "timelimit": [600, 540]}
    assert list(values) == list(before.table.values)
    assert talk.tally.clamped == {"time_limit": 1, "soft_time_limit": 1}
    assert talk.tally.messages["publish", "accepted", "ok"] == 1
    (record,) = talk.clamps
    assert (record.bounds, record.observed, record.kid) == (("time_limit", "soft_time_limit"), False, "k1")


def test_producers_seal_no_longer_holds_of_a_clamped_message() -> None:
    """It is still there, and covered by the gateway's."""
    for limits, holds in (([3600, 3000], False), ([600, 500], True)):
        talk = a_talk()
        talk.client(1, *a_task(timelimit=limits))
        payload, sent = sent_header(talk)
        own = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
        assert has_seal_of(own, TOKEN_NAME) is holds
        assert has_seal_of(sent, COUNTERSIGN_NAME)


def test_message_within_its_bounds_is_not_told_of() -> None:
    talk = a_talk()
    talk.client(1, *a_task(timelimit=[600, 500]))
    assert not talk.clamps and not talk.tally.clamped


def test_default_is_put_in_and_counted() -> None:
    talk = a_talk()
    talk.client(1, *a_task(timelimit=...))
    assert sent_header(talk)[1].table.values["timelimit"] == [300, 240]
    assert talk.tally.clamped["time_limit"] == 1


def test_under_observe_the_message_goes_on_as_it_came() -> None:
    talk = a_talk(observe_default=True)
    parts = a_task(timelimit=[3600, 3000])
    talk.client(1, *parts)
    _, sent = sent_header(talk)
    assert sent.table.values["timelimit"] == [3600, 3000]
    assert not talk.tally.clamped
    assert talk.tally.would_clamp["time_limit"] == 1
    assert talk.clamps[0].observed


def test_gateway_without_a_signature_of_its_own_refuses_what_it_would_have_to_change() -> None:
    """The configuration does not allow it; a mistake there must not let the message through."""
    talk = a_talk()
    talk.terms.countersealer = None
    talk.client(1, *a_task(timelimit=[3600, 3000]))
    assert not talk.to_broker
    assert talk.tally.messages["publish", "refused", "sig.kid"] == 1


SECONDS = st.one_of(st.none(), st.integers(0, 10**6), st.floats(0.001, 1e6))


@given(
    limits=st.tuples(SECONDS, SECONDS).map(list),
    others=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=30), max_size=4),
)
def test_whatever_is_clamped_is_countersigned_as_it_is_sent(
    limits: list[object], others: dict[str, object]
) -> None:
    others = {name: value for name, value in others.items() if name not in task_headers()}
    talk = a_talk()
    parts = a_task(timelimit=limits, **others)
    talk.client(1, *parts)
    _, sent = sent_header(talk)
    assert has_seal_of(sent, COUNTERSIGN_NAME)
    hard, soft = sent.table.values["timelimit"]  # type: ignore[misc]
    assert 0 < soft < hard <= 600
    before = scan_content_header(parts[1].payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    for name, value in before.table.values.items():
        assert name == "timelimit" or sent.table.values[name] == value


# What comes back


def a_return(talk: Talk, payload: bytes) -> None:
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"))
    talk.broker(1, RawHeader(payload), body.ContentBody(BODY))


@pytest.mark.parametrize("confirms", [False, True])
@pytest.mark.parametrize("limits", [[3600, 3000], [None, None], [600, 500]])
def test_returned_publish_comes_back_as_the_client_sent_it(confirms: bool, limits: list[object]) -> None:
    talk = a_talk()
    if confirms:
        talk.client(1, commands.Confirm.Select())
        talk.broker(1, commands.Confirm.SelectOk())
    parts = a_task(mandatory=True, timelimit=limits)
    talk.client(1, *parts)
    payload, _ = sent_header(talk)
    talk.to_client = b""
    a_return(talk, payload)
    assert on(1, RawHeader(parts[1].payload)) in talk.to_client
    if confirms:
        talk.broker(1, commands.Basic.Ack(1, False))
    assert talk.tally.buffered_bytes == 0


def test_what_may_come_back_is_kept_until_the_broker_has_answered_it() -> None:
    talk = a_talk()
    talk.client(1, commands.Confirm.Select())
    talk.broker(1, commands.Confirm.SelectOk())
    for _ in range(3):
        talk.client(1, *a_task(mandatory=True, timelimit=[3600, 3000]))
    assert talk.tally.buffered_bytes > 0
    talk.broker(1, commands.Basic.Ack(3, True))
    assert talk.tally.buffered_bytes == 0


def test_what_may_come_back_goes_with_the_connection() -> None:
    talk = a_talk()
    talk.client(1, *a_task(mandatory=True, timelimit=[3600, 3000]))
    assert talk.tally.buffered_bytes > 0
    talk.client(0, commands.Connection.Close(200, "", 0, 0))
    talk.broker(0, commands.Connection.CloseOk())
    assert talk.tally.buffered_bytes == 0


def test_what_may_come_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    kept = Originals(tally)
    size = originals.RETURNABLE_BYTES_MAX // 4
    seals = [Seal(str(number).encode(), "", "q") for number in range(6)]
    for seal in seals:
        kept.keep(1, seal, bytes(size))
    assert tally.buffered_bytes <= originals.RETURNABLE_BYTES_MAX
    assert [kept.of(1, seal) is not None for seal in seals] == [False, False, False, True, True, True]
    assert tally.limits_hit["returnable_bytes_max"] == 3
    assert kept.of(2, seals[-1]) is None
    kept.forget_all()
    assert tally.buffered_bytes == 0


# Where messages are signed


def test_signer_changes_before_it_signs() -> None:
    talk = a_talk(Role.SIGN)
    talk.client(1, *a_task(seal=False, timelimit=[3600, 3000]))
    payload, _ = sent_header(talk)
    sealed = scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
    assert sealed.table.values["timelimit"] == [600, 540]
    assert has_seal_of(sealed, TOKEN_NAME)
    assert talk.tally.clamped["time_limit"] == 1
    assert talk.tally.messages["publish", "signed", "ok"] == 1


def test_signer_refuses_what_exceeds_a_bound_that_refuses() -> None:
    talk = a_talk(Role.SIGN, (Bound("app.*", retries_max=3, arguments_bytes_max=100),))
    talk.client(1, *a_task(seal=False, retries=3))
    assert talk.to_broker
    talk.to_broker = b""
    talk.client(1, *a_task(seal=False, retries=4))
    assert not talk.to_broker
    (record,) = talk.records
    assert (record.reason, record.task, record.observed) == (Reason.CELERY_RETRIES, "app.add", False)


def test_signer_counts_what_it_only_observes() -> None:
    talk = a_talk(Role.SIGN, (Bound("app.*", retries_max=3),), observe_default=True)
    talk.client(1, *a_task(seal=False, retries=4))
    assert has_seal_of(sent_header(talk)[1], TOKEN_NAME) is False  # scanned for the other signature
    assert talk.tally.messages["publish", "observed", "celery.retries"] == 1


def test_returned_publish_of_a_signer_comes_back_as_the_client_sent_it() -> None:
    talk = a_talk(Role.SIGN)
    parts = a_task(mandatory=True, seal=False, timelimit=[3600, 3000])
    talk.client(1, *parts)
    payload, _ = sent_header(talk)
    talk.to_client = b""
    a_return(talk, payload)
    assert on(1, RawHeader(parts[1].payload)) in talk.to_client
    assert talk.tally.buffered_bytes == 0


def test_signer_leaves_what_is_no_task_alone() -> None:
    talk = a_talk(Role.SIGN, (Bound("*", body_bytes_max=1, arguments_bytes_max=1),))
    properties = commands.Basic.Properties(content_type="text/plain")
    talk.client(
        1,
        commands.Basic.Publish(routing_key="q"),
        header.ContentHeader(body_size=5, properties=properties),
        body.ContentBody(b"hello"),
    )
    assert talk.to_broker


@pytest.mark.parametrize("role", [Role.SIGN, Role.VERIFY])
def test_result_gets_its_expiration_before_it_is_sealed(role: Role) -> None:
    """And the seal ends with it."""
    expiry = Expiry(expiration_ms_max=60_000, queues=("q",))
    policy = Policy(DEPLOYMENT, expiry=expiry)
    talk = Talk(role=role, policy=policy, countersign=role is Role.VERIFY).shake_hands().open_channel(1)
    result = json.dumps({"task_id": "1", "status": "SUCCESS", "result": 5}).encode()
    message = a_message(result, {"n": 1}, routing_key="q")
    payload = message.header.payload
    if role is Role.VERIFY:
        sealer = Sealer(KEYRING, "k1", DEPLOYMENT, lambda size: next(NONCES).to_bytes(size, "big"))
        payload = splice(
            message.header, frozenset(), sealer.seal(message, Peer(DEPLOYMENT), SignerSession(), START_S)
        )
    talk.client(1, commands.Basic.Publish(routing_key="q"), RawHeader(payload), body.ContentBody(result))
    _, sent = sent_header(talk)
    name = TOKEN_NAME if role is Role.SIGN else COUNTERSIGN_NAME
    value = sent.table.values[name]
    assert isinstance(value, str)
    token = TokenReader().read(value.encode())
    assert sent.fields[EXPIRATION] == token.target.expiration == b"60000"
    assert token.expires == START_S + 60
    assert talk.tally.clamped == {"expiration": 1}
