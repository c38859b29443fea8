"""Methods against pamqp's own encoding, cut short, with a tail, and with what must not be in them."""

from __future__ import annotations

from collections.abc import Callable

import pamqp.commands as amqp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.base import Frame as PamqpFrame

from sealgate.reason import GateError, Reason
from sealgate.wire import constants, methods
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.methods import Publish, StartOk, Tune
from sealgate.wire.splitter import FrameSplitter
from support.wire_bytes import entry, long, short

NO_NAMES: frozenset[str] = frozenset()
CHALLENGE = bytes(range(16))


def payload_of(method: PamqpFrame) -> bytes:
    """The payload pamqp would send."""
    return method.index.to_bytes(4, "big") + method.marshal()


def decoded(method: type[PamqpFrame], payload: bytes) -> PamqpFrame:
    """What pamqp reads in `payload`."""
    assert int.from_bytes(payload[:4], "big") == method.index
    found = method()
    found.unmarshal(payload[4:])
    return found


def refusal(read: Callable[[bytes], object], payload: bytes) -> Reason:
    with pytest.raises(GateError) as refused:
        read(payload)
    return refused.value.reason


START = payload_of(
    amqp.Connection.Start(
        0, 9, {"product": "RabbitMQ", "capabilities": {"basic.nack": True}}, "PLAIN AMQPLAIN"
    )
)
START_OK = payload_of(
    amqp.Connection.StartOk(
        {"product": "py-amqp", "platform": "Python", "capabilities": {"basic.nack": True}},
        "PLAIN",
        "\x00guest\x00secret",
    )
)
READS: list[tuple[Callable[[bytes], object], bytes]] = [
    (methods.method_id, b"\x00\x3c\x00\x28"),
    (methods.read_publish, payload_of(amqp.Basic.Publish(0, "ex", "rk", True, False))),
    (methods.read_ack, payload_of(amqp.Basic.Ack(7, True))),
    (methods.read_nack, payload_of(amqp.Basic.Nack(7, True, False))),
    (methods.read_return, payload_of(amqp.Basic.Return(312, "NO_ROUTE", "ex", "rk"))),
    (methods.read_close, payload_of(amqp.Channel.Close(404, "NOT_FOUND", 60, 40))),
    (methods.read_start, START),
    (methods.read_start_ok, START_OK),
    (methods.read_tune, payload_of(amqp.Connection.Tune(2047, 131072, 60))),
    (methods.read_tune_ok, payload_of(amqp.Connection.TuneOk(2047, 131072, 60))),
    (methods.read_open, payload_of(amqp.Connection.Open("/"))),
]


@pytest.mark.parametrize(("read", "payload"), READS)
def test_a_method_cut_short_anywhere_is_refused(read: Callable[[bytes], object], payload: bytes) -> None:
    for end in range(len(payload)):
        assert refusal(read, payload[:end]) is Reason.FRAME_TRUNCATED


@pytest.mark.parametrize(("read", "payload"), READS[1:])
def test_bytes_after_the_arguments_are_refused(read: Callable[[bytes], object], payload: bytes) -> None:
    assert refusal(read, payload + b"\x00") is Reason.FRAME_TRAILING


@given(st.sampled_from([read for read, _ in READS]), st.binary(max_size=80))
def test_random_bytes_raise_nothing_but_gate_error(read: Callable[[bytes], object], noise: bytes) -> None:
    try:
        read(noise)
    except GateError as error:
        assert error.reason.family in ("frame", "props", "conn")


def test_method_id_is_class_and_method_whatever_follows() -> None:
    assert methods.method_id(b"\x00\x3c\x00\x28 anything") == constants.BASIC_PUBLISH


METHOD_IDS = {
    "CONNECTION_SECURE_OK": amqp.Connection.SecureOk,
    "CONNECTION_OPEN_OK": amqp.Connection.OpenOk,
    "CHANNEL_OPEN": amqp.Channel.Open,
    "CHANNEL_OPEN_OK": amqp.Channel.OpenOk,
    "BASIC_PUBLISH": amqp.Basic.Publish,
    "CONFIRM_SELECT": amqp.Confirm.Select,
    "TX_SELECT": amqp.Tx.Select,
}


@pytest.mark.parametrize("name", METHOD_IDS)
def test_method_numbers_are_those_of_the_protocol(name: str) -> None:
    assert getattr(constants, name) == METHOD_IDS[name].index


@given(st.text(max_size=60), st.text(max_size=60), st.booleans(), st.booleans())
def test_publish_is_read_as_pamqp_writes_it(
    exchange: str, routing_key: str, mandatory: bool, immediate: bool
) -> None:
    payload = b"".join(
        (
            b"\x00\x3c\x00\x28\xff\xff",
            short(exchange.encode()),
            short(routing_key.encode()),
            bytes((mandatory | immediate << 1,)),
        )
    )
    if "\x00" in exchange + routing_key:
        assert refusal(methods.read_publish, payload) is Reason.PROPS_UTF8
        return
    assert methods.read_publish(payload) == Publish(exchange, routing_key, mandatory, immediate)


@pytest.mark.parametrize("name", [b"\xff", b"a\x00b", b"\xed\xa0\x80"])
def test_publish_to_a_name_that_is_not_utf8_or_has_a_nul_is_refused(name: bytes) -> None:
    for exchange, routing_key in ((name, b"rk"), (b"ex", name)):
        payload = b"\x00\x3c\x00\x28\x00\x00" + short(exchange) + short(routing_key) + b"\x00"
        assert refusal(methods.read_publish, payload) is Reason.PROPS_UTF8


def frame_of(raw: bytes) -> Frame:
    splitter = FrameSplitter(4088)
    splitter.feed(raw)
    frame = splitter.next()
    assert frame is not None
    return frame


def test_ticket_of_a_publish_is_forwarded_as_zero() -> None:
    plain = encode_frame(1, 5, b"\x00\x3c\x00\x28\x00\x00" + short(b"ex") + short(b"rk") + b"\x01")
    ticket = encode_frame(1, 5, b"\x00\x3c\x00\x28\xff\xff" + short(b"ex") + short(b"rk") + b"\x01")
    assert methods.with_ticket_zero(frame_of(ticket)) == plain
    frame = frame_of(plain)
    assert methods.with_ticket_zero(frame) is frame.raw


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("tag", [1, 2**63, 2**64 - 1])
def test_acknowledgements_are_read_back(tag: int, multiple: bool) -> None:
    assert methods.read_ack(methods.encode_ack(tag, multiple)) == (tag, multiple)
    for requeue in (False, True):
        assert methods.read_nack(methods.encode_nack(tag, multiple, requeue)) == (tag, multiple, requeue)


def test_acknowledgements_are_those_of_pamqp() -> None:
    assert methods.encode_ack(7, True) == payload_of(amqp.Basic.Ack(7, True))
    assert methods.encode_nack(7, False, True) == payload_of(amqp.Basic.Nack(7, False, True))
    assert methods.encode_nack(7, True, False) == payload_of(amqp.Basic.Nack(7, True, False))


def test_return_is_that_of_pamqp_and_read_back() -> None:
    payload = methods.encode_return(403, "ACCESS_REFUSED - no", "ex", "rk")
    assert payload == payload_of(amqp.Basic.Return(403, "ACCESS_REFUSED - no", "ex", "rk"))
    assert methods.read_return(payload) == (403, "ACCESS_REFUSED - no", "ex", "rk")


def test_closes_are_those_of_pamqp_and_read_back() -> None:
    channel = methods.encode_channel_close(403, "no", 60, 40)
    connection = methods.encode_connection_close(501, "no", 0, 0)
    assert channel == payload_of(amqp.Channel.Close(403, "no", 60, 40))
    assert connection == payload_of(amqp.Connection.Close(501, "no", 0, 0))
    assert methods.read_close(channel) == (403, "no", 60, 40)
    assert methods.read_close(connection) == (501, "no", 0, 0)
    assert methods.encode_channel_close_ok() == payload_of(amqp.Channel.CloseOk())
    assert methods.encode_connection_close_ok() == payload_of(amqp.Connection.CloseOk())


def test_long_reply_text_is_cut_to_a_short_string() -> None:
    for payload in (
        methods.encode_channel_close(403, "é" * 200, 60, 40),
        methods.encode_connection_close(403, "é" * 200, 60, 40),
    ):
        assert methods.read_close(payload) == (403, "é" * 127, 60, 40)
    assert methods.read_return(methods.encode_return(403, "a" * 300, "", "q"))[1] == "a" * 255


def test_start_is_read_as_pamqp_writes_it() -> None:
    start = methods.read_start(START)
    assert start.server_properties.values == {"product": "RabbitMQ", "capabilities": {"basic.nack": True}}
    assert start.mechanisms == "PLAIN AMQPLAIN"
    begin, end = start.span
    assert START[begin:end] == start.server_properties.raw


def test_challenge_travels_in_server_properties_and_leaves_the_rest_alone() -> None:
    added = methods.encode_challenge_entry(CHALLENGE)
    offered = methods.splice_start(START, NO_NAMES, added)
    start = methods.read_start(offered)
    assert methods.read_challenge(start.server_properties.values) == CHALLENGE
    pamqp_start = decoded(amqp.Connection.Start, offered)
    assert pamqp_start.server_properties["sealgate"] == {"challenge": CHALLENGE}
    assert methods.splice_start(offered, frozenset({"sealgate"}), b"") == START


def test_challenge_of_another_gateway_is_replaced_not_doubled() -> None:
    offered = methods.splice_start(START, NO_NAMES, methods.encode_challenge_entry(bytes(16)))
    again = methods.splice_start(offered, frozenset({"sealgate"}), methods.encode_challenge_entry(CHALLENGE))
    assert methods.read_challenge(methods.read_start(again).server_properties.values) == CHALLENGE


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"sealgate": 1},
        {"sealgate": {}},
        {"sealgate": {"challenge": 5}},
        {"sealgate": {"challenge": b"short"}},
    ],
)
def test_an_upstream_without_a_whole_challenge_offers_none(properties: dict[str, methods.Value]) -> None:
    assert methods.read_challenge(properties) == b""


def test_challenge_may_be_a_long_string() -> None:
    assert methods.read_challenge({"sealgate": {"challenge": "sixteen letters!"}}) == b"sixteen letters!"
    assert methods.read_challenge({"sealgate": {"challenge": b"\xff" * 16}}) == b"\xff" * 16


def test_start_ok_tells_the_client_and_its_response() -> None:
    assert methods.read_start_ok(START_OK) == StartOk(
        "py-amqp", "Python", {"basic.nack": True}, "PLAIN", b"\x00guest\x00secret"
    )


def test_mechanisms_are_exchanged_and_every_other_byte_kept() -> None:
    assert methods.read_mechanisms(START) == ["PLAIN", "AMQPLAIN"]
    changed = methods.with_mechanisms(START, ["PLAIN"])
    start = decoded(amqp.Connection.Start, changed)
    assert (start.mechanisms, start.locales) == ("PLAIN", decoded(amqp.Connection.Start, START).locales)
    assert methods.with_mechanisms(changed, ["PLAIN", "AMQPLAIN"]) == START


def test_response_is_exchanged_and_every_other_byte_kept() -> None:
    changed = methods.with_response(START_OK, methods.read_start_ok(START_OK), "EXTERNAL", b"x" * 300)
    read = methods.read_start_ok(changed)
    assert (read.mechanism, read.response) == ("EXTERNAL", b"x" * 300)
    assert methods.with_response(changed, read, "PLAIN", b"\x00guest\x00secret") == START_OK


def test_update_secret_is_read_and_answered() -> None:
    payload = payload_of(amqp.Connection.UpdateSecret("secret", "expired"))
    assert methods.read_update_secret(payload) == b"secret"
    assert methods.encode_update_secret_ok() == payload_of(amqp.Connection.UpdateSecretOk())
    assert refusal(methods.read_update_secret, payload[:-1]) is Reason.FRAME_TRUNCATED
    assert refusal(methods.read_update_secret, payload + b"x") is Reason.FRAME_TRAILING


def test_start_ok_without_the_usual_properties_is_read() -> None:
    properties = entry("product", "I", bytes(4)) + entry("capabilities", "V")
    payload = b"\x00\x0a\x00\x0b" + long(properties) + short(b"EXTERNAL") + long(b"") + short(b"en_US")
    assert methods.read_start_ok(payload) == StartOk("", "", {}, "EXTERNAL", b"")


def test_peer_properties_that_are_no_clean_table_end_the_handshake() -> None:
    twice = long(entry("product", "V") * 2)
    start_ok = b"\x00\x0a\x00\x0b" + twice + short(b"PLAIN") + long(b"") + short(b"en_US")
    start = b"\x00\x0a\x00\x0a\x00\x09" + twice + long(b"PLAIN") + long(b"en_US")
    assert refusal(methods.read_start_ok, start_ok) is Reason.CONN_HANDSHAKE
    assert refusal(methods.read_start, start) is Reason.CONN_HANDSHAKE


def test_repr_of_start_ok_shows_no_password() -> None:
    assert "secret" not in repr(methods.read_start_ok(START_OK))


def test_tune_is_that_of_pamqp_and_read_back() -> None:
    tune = Tune(2047, 131_072, 60)
    assert methods.encode_tune(tune) == payload_of(amqp.Connection.Tune(2047, 131_072, 60))
    assert methods.encode_tune_ok(tune) == payload_of(amqp.Connection.TuneOk(2047, 131_072, 60))
    assert methods.read_tune(methods.encode_tune(tune)) == tune
    assert methods.read_tune_ok(methods.encode_tune_ok(tune)) == tune


def test_open_gives_the_vhost() -> None:
    assert methods.read_open(payload_of(amqp.Connection.Open("tenant-a"))) == "tenant-a"
    assert methods.read_open(b"\x00\x0a\x00\x28" + short(b"/") + short(b"old") + b"\x01") == "/"


@pytest.mark.parametrize("vhost", [b"\xff", b"\x00"])
def test_open_of_a_vhost_that_is_not_text_is_refused(vhost: bytes) -> None:
    payload = b"\x00\x0a\x00\x28" + short(vhost) + short(b"") + b"\x00"
    assert refusal(methods.read_open, payload) is Reason.PROPS_UTF8


@pytest.mark.parametrize("mandatory", [False, True])
def test_a_publish_is_written_as_it_is_read(mandatory: bool) -> None:
    payload = methods.encode_publish("events", "sealgate.wait.x", mandatory)
    assert methods.read_publish(payload) == Publish("events", "sealgate.wait.x", mandatory, False)
    wanted = amqp.Basic.Publish(exchange="events", routing_key="sealgate.wait.x", mandatory=mandatory)
    assert payload == payload_of(wanted)
