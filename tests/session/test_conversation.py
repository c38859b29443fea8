"""The rest of a conversation: handshake, order, closing, draining, loss, time."""

from __future__ import annotations

import pytest
from pamqp import body, commands, header, heartbeat

from sealgate.reason import Reason
from sealgate.session.conversation import Role
from sealgate.session.events import (
    Disconnected,
    DrainAsked,
    Ticked,
    UpstreamConnected,
    UpstreamFailed,
)
from sealgate.session.limits import Limits
from sealgate.session.states import Side, State
from sealgate.verify.sealer import Sealer
from sealgate.verify.verdict import ClaimOutcome, ClaimStatus
from support.talk import (
    CHALLENGE,
    DEPLOYMENT,
    KEYRING,
    SERVER_PROPERTIES,
    Talk,
    decode,
    methods_of,
    on,
    sealed,
    unsealed,
)

PUBLISH = commands.Basic.Publish(routing_key="q")
HEADER = b"AMQP\x00\x00\x09\x01"


# Handshake


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\xa5\x01\x00\x00", b"AMQP\x00\x01\x00\x00"]
)
def test_wrong_protocol_header_is_answered_with_ours_and_closed(wrong: bytes) -> None:
    talk = Talk()
    talk.client_bytes(wrong)
    assert talk.to_client == HEADER
    assert Side.CLIENT in talk.closed
    assert not talk.dialed
    assert talk.tally.messages == {("publish", "refused", "conn.protocol"): 1}


def test_broker_is_dialed_only_after_eight_good_bytes() -> None:
    talk = Talk()
    for octet in HEADER[:-1]:
        talk.client_bytes(bytes([octet]))
        assert not talk.dialed
    talk.client_bytes(HEADER[-1:])
    assert talk.dialed
    assert talk.to_client == b""


def test_0_9_clients_are_taken_as_0_9_1() -> None:
    talk = Talk()
    talk.client_bytes(b"AMQP\x01\x01\x00\x09")
    assert talk.dialed


def test_start_ok_pipelined_before_start_waits_for_its_turn() -> None:
    talk = Talk()
    start_ok = commands.Connection.StartOk(
        client_properties={}, response="\x00guest\x00guest", locale="en_US"
    )
    talk.client_bytes(HEADER + on(0, start_ok))
    talk.give(UpstreamConnected())
    assert talk.to_broker == HEADER
    talk.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
    assert talk.to_broker == HEADER + on(0, start_ok)


def test_gateway_announces_its_challenge_and_changes_nothing_else() -> None:
    talk = Talk()
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    talk.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
    (start,) = talk.heard_by_client()
    challenge = start.server_properties.pop("sealgate")["challenge"]
    assert bytes(challenge) == CHALLENGE
    assert start.server_properties == SERVER_PROPERTIES


def test_challenge_of_another_gate_is_not_passed_on() -> None:
    for role, expected in ((Role.SIGN, None), (Role.PASS, b"x" * 16)):
        talk = Talk(role)
        talk.client_bytes(HEADER)
        talk.give(UpstreamConnected())
        properties = {**SERVER_PROPERTIES, "sealgate": {"challenge": bytearray(b"x" * 16)}}
        talk.broker(0, commands.Connection.Start(server_properties=properties))
        (start,) = talk.heard_by_client()
        offered = start.server_properties.get("sealgate")
        assert (bytes(offered["challenge"]) if offered else None) == expected


def test_signer_keeps_room_for_its_header_in_the_tuned_frame_size() -> None:
    talk = Talk(Role.SIGN)
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    talk.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
    talk.client(0, commands.Connection.StartOk(client_properties={}, response="x", locale="en_US"))
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    assert talk.heard_by_client()[-1].frame_max == 131072 - 1024
    talk.heard_by_broker()
    talk.client(0, commands.Connection.TuneOk(2047, 8192, 60))
    assert talk.heard_by_broker()[-1].frame_max == 8192 + 1024


def test_verifier_leaves_tune_as_it_is() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 60))
    conversation = talk.session.conversation
    assert conversation.client_frame_max == conversation.upstream_frame_max == 131072


@pytest.mark.parametrize(
    ("body_bytes", "kind"),
    [(0, "Deliver"), (1, "Deliver"), (7160, "Deliver"), (7161, "Deliver"), (8184, "Deliver"),
     (50_000, "Deliver"), (50_000, "Return")],
)  # fmt: skip
def test_bodies_are_cut_anew_for_a_client_with_smaller_frames(body_bytes: int, kind: str) -> None:
    """All frames but the last are full: a client for Node.js counts them by the size of the body."""
    talk = Talk(Role.SIGN).shake_hands(tune=(2047, 8192, 60)).open_channel()
    theirs, ours = 8192 - 8, 8192 - 1024 - 8
    content = bytes(number % 251 for number in range(body_bytes))
    method = commands.Basic.Return(312, "NO_ROUTE", "", "q")
    if kind == "Deliver":
        method = commands.Basic.Deliver("tag", 1, False, "", "q")
    for _ in range(2):
        talk.broker(1, method, header.ContentHeader(body_size=body_bytes))
        for start in range(0, body_bytes, theirs):
            talk.broker(1, body.ContentBody(content[start : start + theirs]))
        told, _, *parts = talk.heard_by_client()
        assert told.name == f"Basic.{kind}"
        assert b"".join(part.value for part in parts) == content
        assert [len(part.value) for part in parts[:-1]] == [ours] * (max(body_bytes - 1, 0) // ours)
        assert all(0 < len(part.value) <= ours for part in parts)


def test_handshake_frame_out_of_turn_closes_the_connection() -> None:
    talk = Talk()
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    talk.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
    talk.heard_by_client()
    talk.client(0, commands.Connection.Open("/"))
    assert methods_of(talk.heard_by_client()) == ["Connection.Close"]
    assert Side.UPSTREAM in talk.closed


def test_refused_login_reaches_the_client_as_the_broker_said_it() -> None:
    talk = Talk()
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    talk.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
    talk.client(0, commands.Connection.StartOk(client_properties={}, response="bad", locale="en_US"))
    talk.heard_by_client()
    talk.broker(0, commands.Connection.Close(403, "ACCESS_REFUSED - Login was refused", 0, 0))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text) == (403, "ACCESS_REFUSED - Login was refused")


def test_handshake_that_takes_too_long_is_cut() -> None:
    talk = Talk()
    talk.wait(9)
    talk.give(Ticked())
    assert talk.closed == []
    talk.wait(2)
    talk.give(Ticked())
    assert Side.CLIENT in talk.closed
    assert talk.tally.messages == {("publish", "refused", "conn.handshake"): 1}


def test_unreachable_broker_closes_the_client_before_start() -> None:
    talk = Talk()
    talk.client_bytes(HEADER)
    talk.give(UpstreamFailed())
    assert talk.to_client == b""
    assert Side.CLIENT in talk.closed
    assert talk.session.conversation.state is State.CLOSED


# Order and content


def test_later_methods_wait_for_the_verdict_of_an_earlier_publish() -> None:
    talk = Talk(answer_claims=False).shake_hands().open_channel().open_channel(2)
    talk.client(1, *talk.sealed(), commands.Queue.Delete(queue="q"), commands.Channel.Close(200, "", 0, 0))
    talk.client(2, commands.Queue.Declare(queue="other"))
    assert methods_of(talk.heard_by_broker()) == ["Queue.Declare"]
    talk.client(0, commands.Connection.Close(200, "", 0, 0))
    assert talk.heard_by_broker() == []
    talk.answer_claims()
    assert methods_of(talk.heard_by_broker()) == [
        "Basic.Publish", "ContentHeader", "ContentBody", "Queue.Delete", "Channel.Close", "Connection.Close",
    ]  # fmt: skip


def test_content_of_two_channels_may_interleave() -> None:
    talk = Talk().shake_hands().open_channel().open_channel(2)
    one, two = talk.sealed(b"one"), talk.sealed(b"two")
    for part, other in zip(one, two, strict=True):
        talk.client(1, part)
        talk.client(2, other)
    heard = decode(talk.to_broker)
    assert [channel for channel, _ in heard] == [1, 1, 1, 2, 2, 2]
    assert [part.value for _, part in heard if part.name == "ContentBody"] == [b"one", b"two"]


def test_accepted_publish_is_forwarded_byte_for_byte() -> None:
    talk = Talk().shake_hands().open_channel()
    data = on(1, *talk.sealed(b"x" * 1000))
    for octet in data:
        talk.client_bytes(bytes([octet]))
    assert talk.to_broker == data


def test_ticket_is_forwarded_as_zero() -> None:
    talk = Talk().shake_hands().open_channel()
    data = bytearray(on(1, *talk.sealed()))
    data[11:13] = b"\xff\xff"
    talk.client_bytes(bytes(data))
    assert talk.to_broker[11:13] == b"\x00\x00"
    assert talk.to_broker[13:] == data[13:]


@pytest.mark.parametrize(
    ("parts", "code", "reason", "method"),
    [
        ([PUBLISH, commands.Channel.Close(200, "", 0, 0)], 505, "frame.order", (60, 40)),
        ([PUBLISH, body.ContentBody(b"x")], 505, "frame.order", (0, 0)),
        ([body.ContentBody(b"x")], 505, "frame.order", (0, 0)),
        ([header.ContentHeader(body_size=1)], 505, "frame.order", (0, 0)),
        (
            [PUBLISH, header.ContentHeader(body_size=1), body.ContentBody(b"xy")],
            505, "frame.body_overflow", (60, 40),
        ),
        ([commands.Basic.Publish(routing_key="q", immediate=True)], 540, "method.immediate", (60, 40)),
        ([commands.Tx.Select()], 540, "method.denied", (90, 10)),
    ],
)  # fmt: skip
def test_wrong_state_is_a_connection_error_of_the_method_at_fault(
    parts: list[object], code: int, reason: str, method: tuple[int, int]
) -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client(1, *parts)
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Connection.Close", code)
    assert (close.class_id, close.method_id) == method
    assert f"sealgate: {reason}" in close.reply_text
    assert methods_of(talk.heard_by_broker()) == ["Connection.Close"]


def test_heartbeat_on_a_channel_is_a_connection_error() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client_bytes(b"\x08\x00\x01\x00\x00\x00\x00\xce")
    assert [close.reply_code for close in talk.heard_by_client()] == [505]


def test_heartbeat_with_a_payload_is_a_connection_error() -> None:
    talk = Talk().shake_hands()
    talk.client_bytes(b"\x08\x00\x00\x00\x00\x00\x01x\xce")
    assert [close.reply_code for close in talk.heard_by_client()] == [501]


def test_too_many_empty_body_frames_close_the_connection() -> None:
    talk = Talk().shake_hands().open_channel()
    method, head, content = talk.sealed()
    talk.client(1, method, head, *[body.ContentBody(b"")] * 16, content)
    assert talk.heard_by_client() == []
    talk.client(1, method, head, *[body.ContentBody(b"")] * 17)
    assert "frame.empty_bodies" in talk.heard_by_client()[0].reply_text


def test_frames_on_a_channel_that_is_not_open_close_the_connection() -> None:
    talk = Talk().shake_hands()
    talk.client(3, *talk.sealed())
    (close,) = talk.heard_by_client()
    assert (close.reply_code, "frame.channel" in close.reply_text) == (504, True)


def test_channel_above_the_limit_closes_the_connection() -> None:
    talk = Talk(limits=Limits(channel_max=8)).shake_hands()
    talk.open_channel(8)
    talk.client(9, commands.Channel.Open())
    (close,) = talk.heard_by_client()
    assert (close.reply_code, "conn.channels" in close.reply_text) == (530, True)


def test_unfinished_content_is_bounded_per_connection_and_for_the_process() -> None:
    for limits in (Limits(connection_bytes_max=2500), Limits(process_bytes_max=2500)):
        talk = Talk(limits=limits).shake_hands().open_channel().open_channel(2)
        method, _, content = unsealed(b"x" * 1400)
        big = header.ContentHeader(body_size=1401)
        talk.client(1, method, big, content)
        assert talk.heard_by_client() == []
        talk.client(2, method, big, content)
        assert "conn.memory" in talk.heard_by_client()[0].reply_text
        talk.give(Disconnected(Side.CLIENT))
        assert talk.tally.buffered_bytes == 0


def test_message_that_is_not_whole_in_time_closes_the_connection() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 0)).open_channel()
    method, head, _ = unsealed(b"x" * 10)
    talk.client(1, method, head)
    for _ in range(7):
        talk.wait(5)
        talk.client(1, body.ContentBody(b"x"))
        talk.give(Ticked())
    assert "conn.stall" in talk.heard_by_client()[0].reply_text


# Headers


def test_broker_written_headers_are_stripped_and_counted() -> None:
    talk = Talk().shake_hands().open_channel()
    data = on(1, *_with_headers({"x-death": [], "x-delivery-count": 3, "x-countersign": "forged"}, talk))
    talk.client_bytes(data)
    sent = talk.heard_by_broker()[1]
    assert set(sent.properties.headers) == {"n", "x-seal"}
    assert talk.tally.stripped_headers == 3


def _with_headers(more: dict[str, object], talk: Talk) -> list[object]:
    """A sealed publish to which someone added headers that no seal covers."""
    from pamqp import encode

    from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL
    from sealgate.wire.properties import scan_content_header, splice
    from support.talk import RawHeader

    method, head, content = talk.sealed()
    scanned = scan_content_header(head.payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, "x-seal")
    return [method, RawHeader(splice(scanned, frozenset(), encode.field_table(more)[4:])), content]


def test_countersigning_gateway_adds_its_own_signature() -> None:
    talk = Talk(countersign=True).shake_hands().open_channel()
    talk.client(1, *_with_headers({"x-countersign": "forged"}, talk))
    headers = talk.heard_by_broker()[1].properties.headers
    assert headers["x-countersign"].startswith("seal1.k1.")
    assert headers["x-seal"].startswith("seal1.k1.")


def test_signer_replaces_an_old_seal_and_takes_its_own_out_of_returns() -> None:
    talk = Talk(Role.SIGN).shake_hands().open_channel()
    old = talk.sealed(mandatory=True)
    talk.client(1, *old)
    _, head, content = talk.heard_by_broker()
    token = head.properties.headers["x-seal"]
    assert token not in old[1].payload.decode(errors="replace")
    assert talk.tally.messages == {("publish", "signed", "ok"): 1}
    talk.broker(1, commands.Basic.Return(312, "NO_ROUTE", "", "q"), head, content)
    returned = talk.heard_by_client()
    assert set(returned[1].properties.headers) == {"n"}


def test_header_that_outgrows_frame_max_with_its_seal_is_refused_alone() -> None:
    talk = Talk(Role.SIGN).shake_hands(tune=(2047, 4096, 60)).open_channel(confirms=True)
    properties = commands.Basic.Properties(headers={"big": "x" * 3950})
    talk.client(
        1, commands.Basic.Publish(routing_key="q"), header.ContentHeader(body_size=0, properties=properties)
    )
    assert methods_of(talk.heard_by_client()) == ["Basic.Nack"]
    assert [record.reason for record in talk.records] == [Reason.HEADER_SIZE]


def test_undecodable_header_is_refused_even_where_rules_only_observe() -> None:
    from support.talk import RawHeader, generic_policy

    talk = Talk(policy=generic_policy(observe_default=True)).shake_hands().open_channel(confirms=True)
    flags = RawHeader(b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x01")
    talk.client(1, commands.Basic.Publish(routing_key="q"), flags)
    assert methods_of(talk.heard_by_client()) == ["Basic.Nack"]
    assert talk.heard_by_broker() == []


def test_observed_message_is_forwarded_counted_and_kept() -> None:
    from support.talk import generic_policy

    talk = Talk(policy=generic_policy(observe_default=True)).shake_hands().open_channel(confirms=True)
    talk.client(1, *unsealed())
    assert methods_of(talk.heard_by_broker()) == ["Basic.Publish", "ContentHeader", "ContentBody"]
    assert talk.tally.messages == {("publish", "observed", "sig.missing"): 1}
    assert [(record.reason, record.observed) for record in talk.records] == [(Reason.SIG_MISSING, True)]
    talk.broker(1, commands.Basic.Ack(1))
    assert methods_of(talk.heard_by_client()) == ["Basic.Ack"]


# Closing and loss


def test_close_of_the_client_reaches_the_broker_and_is_answered_by_it() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.client(0, commands.Connection.Close(200, "bye", 0, 0))
    assert methods_of(talk.heard_by_broker()) == ["Connection.Close"]
    assert talk.heard_by_client() == []
    talk.broker(0, commands.Connection.CloseOk())
    assert methods_of(talk.heard_by_client()) == ["Connection.CloseOk"]
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert talk.session.conversation.state is State.CLOSED


def test_close_of_the_broker_reaches_the_client_unchanged() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - broker shutdown", 0, 0))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - broker shutdown")
    assert methods_of(talk.heard_by_broker()) == ["Connection.CloseOk"]
    talk.client(1, *talk.sealed())
    talk.client(0, commands.Connection.CloseOk())
    assert talk.heard_by_broker() == []
    assert talk.session.conversation.state is State.CLOSED


def closing_gateway(confirms: bool = False) -> Talk:
    """A signing sidecar whose gateway has sent its client away; the client does not know yet."""
    signer = Talk(Role.SIGN).shake_hands().open_channel(confirms=confirms)
    signer.session.conversation.signer.challenge = CHALLENGE
    signer.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - please reconnect", 0, 0))
    assert methods_of(signer.heard_by_client()) == ["Connection.Close"]
    return signer


def test_gateway_that_drains_still_gets_what_was_sent_before_its_close_was_heard() -> None:
    """Without confirms nobody would send it again."""
    signer = closing_gateway()
    publish, header, body = unsealed()
    signer.client(1, publish, header)
    assert signer.heard_by_broker() == []
    signer.client(1, body)
    assert methods_of(signer.heard_by_broker()) == ["Basic.Publish", "ContentHeader", "ContentBody"]
    signer.client(0, commands.Connection.CloseOk())
    assert methods_of(signer.heard_by_broker()) == ["Connection.CloseOk"]
    assert set(signer.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert signer.session.conversation.state is State.CLOSED


def test_gateway_that_drains_gets_nothing_more_where_there_are_confirms() -> None:
    """The client was not told that it arrived, and sends it again elsewhere."""
    signer = closing_gateway(confirms=True)
    signer.client(1, *unsealed())
    signer.client(0, commands.Connection.CloseOk())
    assert methods_of(signer.heard_by_broker()) == ["Connection.CloseOk"]
    assert signer.session.conversation.state is State.CLOSED


@pytest.mark.parametrize("end", ["vanishes", "is silent", "loses its gateway"])
def test_gateway_that_drains_is_answered_when_the_client_does_not(end: str) -> None:
    signer = closing_gateway()
    if end == "vanishes":
        signer.give(Disconnected(Side.CLIENT))
    elif end == "is silent":
        signer.wait(signer.terms.limits.close_s)
        signer.give(Ticked(False, False))
    else:
        signer.give(Disconnected(Side.UPSTREAM))
        signer.client(1, *unsealed())
        signer.client(0, commands.Connection.CloseOk())
    told = [] if end == "loses its gateway" else ["Connection.CloseOk"]
    assert methods_of(signer.heard_by_broker()) == told
    assert set(signer.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert signer.session.conversation.state is State.CLOSED
    assert signer.terms.tally.buffered_bytes == 0


def test_lost_broker_is_told_as_320() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.give(Disconnected(Side.UPSTREAM))
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Connection.Close", 320)
    talk.client(0, commands.Connection.CloseOk())
    assert talk.session.conversation.state is State.CLOSED


def test_channel_error_of_the_broker_drops_what_waits_and_gives_its_claims_back() -> None:
    talk = Talk(answer_claims=False).shake_hands().open_channel()
    talk.client(1, *talk.sealed())
    talk.broker(1, commands.Channel.Close(404, "NOT_FOUND", 60, 40))
    talk.answer_claims()
    assert methods_of(talk.heard_by_client()) == ["Channel.Close"]
    assert talk.heard_by_broker() == []
    assert len(talk.releases) == 1
    talk.client(1, *talk.sealed(), commands.Channel.CloseOk(), commands.Channel.Open())
    assert methods_of(talk.heard_by_broker()) == ["Channel.CloseOk", "Channel.Open"]


def test_client_that_vanishes_has_its_whole_publishes_carried_out() -> None:
    talk = Talk(answer_claims=False).shake_hands().open_channel()
    method, head, _ = talk.sealed()
    talk.client(1, *talk.sealed(), method, head)
    talk.give(Disconnected(Side.CLIENT))
    assert talk.heard_by_broker() == []
    talk.answer_claims()
    assert methods_of(talk.heard_by_broker()) == [
        "Basic.Publish", "ContentHeader", "ContentBody", "Connection.Close",
    ]  # fmt: skip
    talk.broker(0, commands.Connection.CloseOk())
    assert talk.session.conversation.state is State.CLOSED
    assert talk.tally.buffered_bytes == 0


def test_close_waits_for_the_confirms_that_settle_claims() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed(), commands.Channel.Close(200, "", 0, 0))
    assert "Channel.Close" not in methods_of(talk.heard_by_broker())
    talk.broker(1, commands.Basic.Ack(1))
    assert len(talk.commits) == 1
    assert methods_of(talk.heard_by_broker()) == ["Channel.Close"]


def test_close_does_not_wait_for_ever_for_a_confirm() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    talk.client(0, commands.Connection.Close(200, "", 0, 0))
    assert "Connection.Close" not in methods_of(talk.heard_by_broker())
    for _ in range(8):
        talk.wait(2)
        talk.give(Ticked())
    assert "Connection.Close" in methods_of(talk.heard_by_broker())
    assert talk.session.conversation.state is State.CLOSED


def test_any_bug_ends_the_session_for_good() -> None:
    def no_dice(size: int) -> bytes:
        raise AttributeError("a bug, or a system without randomness")

    talk = Talk(Role.SIGN).shake_hands().open_channel()
    talk.terms.sealer = Sealer(KEYRING, "k1", DEPLOYMENT, no_dice, "x-seal")
    with pytest.raises(AttributeError):
        talk.client(1, *unsealed())
    assert talk.session.conversation.state is State.ERROR
    talk.client(1, commands.Queue.Declare(queue="q"))
    talk.broker(1, commands.Queue.DeclareOk("q", 0, 0))
    assert (talk.to_broker, talk.to_client) == (b"", b"")


# Draining


def test_drain_waits_for_confirms_and_then_sends_the_client_away() -> None:
    talk = Talk().shake_hands().open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    talk.heard_by_broker()
    talk.give(DrainAsked())
    talk.client(1, *talk.sealed())
    assert (talk.heard_by_client(), talk.heard_by_broker()) == ([], [])
    talk.broker(1, commands.Basic.Ack(1))
    heard = talk.heard_by_client()
    assert methods_of(heard) == ["Basic.Ack", "Connection.Close"]
    assert heard[1].reply_code == 320
    assert talk.heard_by_broker() == []
    talk.client(0, commands.Connection.CloseOk())
    assert methods_of(talk.heard_by_broker()) == ["Connection.Close"]


def test_drain_still_forwards_what_no_confirm_would_tell() -> None:
    talk = Talk().shake_hands().open_channel()
    talk.give(DrainAsked())
    talk.client(1, *talk.sealed())
    assert methods_of(talk.heard_by_broker()) == ["Basic.Publish", "ContentHeader", "ContentBody"]
    talk.client(0, commands.Connection.CloseOk())
    assert methods_of(talk.heard_by_broker()) == ["Connection.Close"]


def test_handshake_goes_on_during_a_drain_and_ends_in_320_instead_of_open_ok() -> None:
    """A client that is cut takes its password for wrong; one that is in already takes 320 for an error."""
    talk = Talk()
    talk.give(DrainAsked())
    talk.client_bytes(HEADER)
    assert talk.dialed
    talk.give(UpstreamConnected())
    talk.broker(0, commands.Connection.Start())
    talk.client(0, commands.Connection.StartOk(response="\x00guest\x00guest", locale="en_US"))
    talk.give(DrainAsked())
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    talk.client(0, commands.Connection.TuneOk(2047, 131072, 60), commands.Connection.Open("/"))
    talk.heard_by_client()
    talk.broker(0, commands.Connection.OpenOk())
    (close,) = talk.heard_by_client()
    assert (close.name, close.reply_code) == ("Connection.Close", 320)
    talk.client(0, commands.Connection.CloseOk())
    talk.heard_by_broker()
    talk.give(Ticked())
    talk.broker(0, commands.Connection.CloseOk())
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}


@pytest.mark.parametrize("said", [b"", HEADER], ids=["silent", "dialing"])
def test_handshake_that_goes_on_during_a_drain_is_cut_without_a_word(said: bytes) -> None:
    talk = Talk(limits=Limits(handshake_s=10, close_s=5))
    talk.client_bytes(said)
    talk.wait(2)
    talk.give(DrainAsked())
    talk.wait(4.9)
    talk.give(Ticked())
    assert talk.closed == []
    talk.wait(0.1)
    talk.give(Ticked())
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert talk.heard_by_client() == []
    assert talk.tally.messages == {}


# Time


def test_heartbeats_are_sent_on_both_legs_and_not_passed_on() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 4))
    talk.wait(2)
    talk.give(Ticked())
    assert methods_of(talk.heard_by_client()) == ["Heartbeat"]
    assert methods_of(talk.heard_by_broker()) == ["Heartbeat"]
    talk.client(0, heartbeat.Heartbeat())
    talk.broker(0, heartbeat.Heartbeat())
    assert (talk.heard_by_client(), talk.heard_by_broker()) == ([], [])


def test_silent_peers_are_dead_after_two_intervals_unless_we_do_not_read_them() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 2))
    for _ in range(10):
        talk.wait(1)
        talk.give(Ticked(client_paused=True, upstream_paused=True))
    assert talk.closed == []
    for _ in range(6):
        talk.wait(1)
        talk.give(Ticked())
    assert Side.CLIENT in talk.closed


def test_peers_are_not_judged_by_what_lies_unread_while_the_process_was_held_up() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 2))
    for _ in range(4):
        talk.wait(1)
        talk.give(Ticked())
    talk.wait(60)
    talk.give(Ticked(late_s=59.0))
    assert talk.closed == []
    talk.wait(1)
    talk.give(Ticked())
    assert Side.CLIENT in talk.closed


def test_silent_broker_is_told_as_320() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 2))
    for _ in range(6):
        talk.wait(1)
        talk.client(0, heartbeat.Heartbeat())
        talk.give(Ticked())
    closes = [part for part in talk.heard_by_client() if part.name == "Connection.Close"]
    assert [close.reply_code for close in closes] == [320]


def test_no_heartbeats_when_none_were_negotiated() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 0))
    talk.wait(3600)
    talk.give(Ticked())
    assert (talk.to_client, talk.to_broker, talk.closed) == (b"", b"", [])


def test_leases_are_renewed_while_the_broker_owes_an_answer() -> None:
    talk = Talk().shake_hands(tune=(2047, 131072, 0)).open_channel(confirms=True)
    talk.client(1, *talk.sealed())
    for _ in range(7):
        talk.wait(1)
        talk.give(Ticked())
    assert len(talk.renewed) == 2
    talk.broker(1, commands.Basic.Ack(1))
    talk.wait(10)
    talk.give(Ticked())
    assert len(talk.renewed) == 2


def test_client_is_not_read_while_too_much_waits_for_the_store() -> None:
    talk = Talk(limits=Limits(claims_inflight_max=2), answer_claims=False).shake_hands().open_channel()
    talk.client(1, *talk.sealed(), *talk.sealed())
    assert not talk.reading
    talk.answer_claims()
    assert talk.reading


def test_held_bytes_stop_the_reading_too() -> None:
    talk = Talk(limits=Limits(held_bytes_max=500), answer_claims=False).shake_hands().open_channel()
    talk.client(1, *talk.sealed(b"x" * 600))
    assert not talk.reading
    talk.answer_claims()
    assert talk.reading
    assert talk.session.conversation.held_bytes == 0


def test_session_nonces_need_no_store() -> None:
    signer = Talk(Role.SIGN)
    gateway = Talk(outcomes=lambda claim: ClaimOutcome(ClaimStatus.UNAVAILABLE))
    gateway.shake_hands().open_channel()
    signer.shake_hands().open_channel()
    signer.session.conversation.signer.challenge = CHALLENGE
    for _ in range(3):
        signer.client(1, *unsealed())
    captured, signer.to_broker = signer.to_broker, b""
    gateway.client_bytes(captured)
    assert gateway.to_broker == captured
    assert gateway.asked == []
    gateway.client_bytes(captured)
    assert gateway.tally.messages["publish", "refused", "replay.session"] == 3


def test_sealed_helper_makes_fresh_nonces() -> None:
    assert sealed()[1].payload != sealed()[1].payload
