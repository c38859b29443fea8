"""Rows FR of hostile.jsonl: frames, channels and connections that no client may send, or that look so."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from pamqp import commands

from support.hostile_catalogue import FILE, Rows
from support.hostile_play import check_arrived, check_kept, hear_ack, hear_refusal, is_told
from support.hostile_publish import Draft, Publish, a_task, publish, scanned
from support.hostile_rows import task_body
from support.hostile_stage import Stage
from support.raw_client import (
    BODY,
    HEADER,
    METHOD,
    PROTOCOL_HEADER,
    PY_AMQP,
    RawClient,
    frame,
    method,
)
from support.wire_bytes import entry

ROWS = Rows()
REPLY_NAMES = {
    501: "FRAME_ERROR",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
}


def breaks(
    row: str, text: str, code: int, channel_max: int = 0
) -> Callable[[Callable[[RawClient], bytes]], Callable[[RawClient], bytes]]:
    """Bytes after which the gateway closes the connection with `code`; nothing of them gets further."""
    reason = FILE[row]["code"]

    def register(octets: Callable[[RawClient], bytes]) -> Callable[[RawClient], bytes]:
        @ROWS.script(row, text)
        def play(stage: Stage) -> None:
            gate = stage.gate("plain")
            with (
                gate.counting({f"refused {reason}": 1}),
                stage.client("plain", channel_max=channel_max) as client,
            ):
                client.open_channel(confirms=True)
                client.send(octets(client))
                hear_close(client, code, reason)
            gate.wait_for_no_upstream()
            stage.broker.check_nothing_arrived()

        return octets

    return register


def hear_close(client: RawClient, code: int, reason: str) -> None:
    """`connection.close`, answered; then the end of the connection."""
    close = client.expect(0, commands.Connection.Close)
    assert close.reply_code == code
    is_told(close.reply_text, code, REPLY_NAMES[code], reason)
    client.say(0, commands.Connection.CloseOk())
    assert client.wait_for_end() == b""


def parts(client: RawClient) -> tuple[bytes, bytes, Publish]:
    """The method frame, the header frame and the payloads of an ordinary sealed publish."""
    sent = publish(a_task(), client)
    return frame(METHOD, 1, sent.method()), frame(HEADER, 1, sent.header), sent


@breaks("FR01", "frame-end octet 0xCF instead of 0xCE", 501)
def wrong_end(client: RawClient) -> bytes:
    announced, header, sent = parts(client)
    return announced + header + frame(BODY, 1, sent.body, end=b"\xcf")


@breaks("FR02", "frame type 4", 501)
def wrong_type(client: RawClient) -> bytes:
    announced, header, sent = parts(client)
    return announced + header + frame(4, 1, sent.body)


@breaks("FR03", "frame payload larger than negotiated frame_max", 501)
def too_large(client: RawClient) -> bytes:
    """Only the frame's first seven octets: the gateway does not wait for the payload."""
    announced, header, _ = parts(client)
    return announced + header + struct.pack(">BHI", BODY, 1, client.frame_max + 1)


@breaks("FR04", "content header class 61 after basic.publish", 505)
def wrong_class(client: RawClient) -> bytes:
    announced, _, sent = parts(client)
    return announced + frame(HEADER, 1, b"\x00\x3d" + sent.header[2:]) + frame(BODY, 1, sent.body)


@breaks("FR06", "method frame between content header and body", 505)
def method_in_content(client: RawClient) -> bytes:
    announced, header, sent = parts(client)
    return announced + header + method(1, commands.Basic.Qos(prefetch_count=1)) + frame(BODY, 1, sent.body)


@breaks("FR07", "body frame longer than declared body size", 505)
def body_overflow(client: RawClient) -> bytes:
    announced, header, sent = parts(client)
    return announced + header + frame(BODY, 1, sent.body + b" ")


def declare_a_tebibyte(stage: Stage, product: str, way: str) -> None:
    gate = stage.gate("plain")
    with stage.client("plain", product=product) as client:
        client.open_channel(confirms=True)
        announced, _, sent = parts(client)
        huge = Publish(
            sent.exchange,
            sent.routing_key,
            sent.header[:4] + struct.pack(">Q", 1 << 40) + sent.header[12:],
            b"",
            b"",
        )
        with gate.counting({"refused body.size": 1}):
            client.send(announced + frame(HEADER, 1, huge.header))
            answer = hear_refusal(client, way, huge, "body.size", returned=False)
        assert gate.process.metric("sealgate_buffered_bytes") < 10_000
    gate.wait_for_no_upstream()
    stage.broker.check_nothing_arrived()
    check_kept(gate, huge, "body.size", answer, body=b"")


ONE_TEBIBYTE = "declared body 1 TiB, no body frames"


@ROWS.script("FR08", ONE_TEBIBYTE, "nack")
def tebibyte_told_by_nack(stage: Stage) -> None:
    declare_a_tebibyte(stage, "raw client", "nack")


@ROWS.script("FR08", ONE_TEBIBYTE, "close")
def tebibyte_told_by_close(stage: Stage) -> None:
    declare_a_tebibyte(stage, PY_AMQP, "close")


@ROWS.script("FR10", "1-byte body frames, one per 5 s")
def dribble(stage: Stage) -> None:
    """Scaled with the deadline, which is 1 s here: an octet each fifth of a second is never idle."""
    gate = stage.gate("hasty")
    with gate.counting({"refused conn.stall": 1}), stage.client("hasty") as client:
        client.open_channel(confirms=True)
        announced, header, sent = parts(client)
        client.send(announced + header)
        heard = None
        for octet in sent.body[:50]:
            client.send(frame(BODY, 1, bytes((octet,))))
            try:
                heard = client.read(0.2)
                break
            except TimeoutError:
                continue
        assert heard is not None, "the dribble was suffered for ten deadlines"
        assert heard.said.reply_code == 501
        is_told(heard.said.reply_text, 501, "FRAME_ERROR", "conn.stall")
        client.say(0, commands.Connection.CloseOk())
        assert client.wait_for_end() == b""
    gate.wait_for_no_upstream()
    stage.broker.check_nothing_arrived()


@breaks("FR12", "trailing bytes after basic.publish arguments", 501)
def trailing(client: RawClient) -> bytes:
    _, header, sent = parts(client)
    return frame(METHOD, 1, sent.method() + b"\x00") + header + frame(BODY, 1, sent.body)


def second_flags_word(way: str) -> None:
    @ROWS.script("FR13", "property flags bit 0 (second flags word follows)", way)
    def play(stage: Stage) -> None:
        gate = stage.gate("plain")
        silent = way == "silent"
        expected = {"refused props.flags": 1} | ({"unconfirmed": 1} if silent else {})
        with stage.client("plain", product=PY_AMQP if way == "close" else "raw client") as client:
            client.open_channel(confirms=not silent)
            _, _, sent = parts(client)
            flags = struct.unpack_from(">H", sent.header, 12)[0]
            header = sent.header[:12] + struct.pack(">HH", flags | 1, 0) + sent.header[14:]
            flagged = Publish(sent.exchange, sent.routing_key, header, b"", sent.body)
            with gate.counting(expected):
                client.send(flagged.frames(client))
                answer = hear_refusal(client, way, flagged, "props.flags", returned=False)
        gate.wait_for_no_upstream()
        stage.broker.check_nothing_arrived()
        check_kept(gate, flagged, "props.flags", answer)


for each in ("nack", "close", "silent"):
    second_flags_word(each)


@breaks("FR15", "basic.publish on a channel that was never opened", 504)
def unopened_channel(client: RawClient) -> bytes:
    return publish(a_task(), client).frames(client, channel=7)


@breaks("FR16", "channel.open for channel number above channel_max", 530, channel_max=10)
def channel_above_max(client: RawClient) -> bytes:
    return method(11, commands.Channel.Open())


@ROWS.script("FR17", "no bytes after TCP accept for 10 s")
def silence(stage: Stage) -> None:
    """The deadline is 1 s here. The broker never hears of it."""
    gate = stage.gate("hasty")
    with (
        gate.counting({"refused conn.handshake": 1}),
        socket.create_connection(("127.0.0.1", gate.port), timeout=10) as silent,
    ):
        assert gate.process.metric("sealgate_upstream_connections") == 0
        assert silent.recv(100) == b""


@ROWS.script("FR18", "protocol header AMQP 0 1 0 0 (AMQP 1.0)")
def another_protocol(stage: Stage) -> None:
    gate = stage.gate("plain")
    with (
        gate.counting({"refused conn.protocol": 1}),
        socket.create_connection(("127.0.0.1", gate.port), timeout=10) as client,
    ):
        client.sendall(b"AMQP\x00\x01\x00\x00")
        heard = b""
        while data := client.recv(100):
            heard += data
        assert heard == PROTOCOL_HEADER


@breaks("FR19", "tx.select", 540)
def transaction(client: RawClient) -> bytes:
    client.open_channel(2)
    return method(2, commands.Tx.Select())


@breaks("FR20", "basic.publish immediate=1", 540)
def immediate(client: RawClient) -> bytes:
    _, header, sent = parts(client)
    return frame(METHOD, 1, sent.method()[:-1] + b"\x02") + header + frame(BODY, 1, sent.body)


@ROWS.script("FR21", "basic.publish ticket=0xFFFF")
def ticket(stage: Stage) -> None:
    gate = stage.gate("plain")
    with stage.client("plain") as client, gate.counting({"accepted ok": 1}):
        client.open_channel(confirms=True)
        _, header, sent = parts(client)
        ticketed = sent.method()[:4] + b"\xff\xff" + sent.method()[6:]
        passed = len(stage.valves["plain"].passed)
        client.send(frame(METHOD, 1, ticketed) + header + frame(BODY, 1, sent.body))
        hear_ack(client)
    upstream = bytes(stage.valves["plain"].passed[passed:])
    assert upstream.startswith(frame(METHOD, 1, sent.method()) + header + frame(BODY, 1, sent.body))
    check_arrived(stage, sent)


@ROWS.script("FR22", "two messages interleaved frame by frame on two channels")
def interleaved(stage: Stage) -> None:
    gate = stage.gate("plain")
    with stage.client("plain") as client, gate.counting({"accepted ok": 2}):
        client.open_channel(1, confirms=True)
        client.open_channel(2, confirms=True)
        pair = [publish(a_task(routing_key=queue), client) for queue in ("celery", "other")]
        for part in range(4):
            for channel, sent in enumerate(pair, 1):
                half = len(sent.body) // 2
                client.send(
                    [
                        frame(METHOD, channel, sent.method()),
                        frame(HEADER, channel, sent.header),
                        frame(BODY, channel, sent.body[:half]),
                        frame(BODY, channel, sent.body[half:]),
                    ][part]
                )
        answers = [client.read() for _ in pair]
        assert {heard.channel for heard in answers} == {1, 2}
        assert [heard.said.delivery_tag for heard in answers] == [1, 1]
        assert {heard.said.name for heard in answers} == {"Basic.Ack"}
    check_arrived(stage, *pair)


@ROWS.script("FR24", "1 MiB body in 4,096-byte frames")
def many_frames(stage: Stage) -> None:
    gate = stage.gate("plain")
    draft = Draft(task_body(["x"]).ljust(1 << 20))
    with stage.client("plain", frame_max=4096) as client, gate.counting({"accepted ok": 1}):
        client.open_channel(confirms=True)
        sent = publish(draft, client)
        client.send(sent.frames(client))
        hear_ack(client)
    check_arrived(stage, sent)


@ROWS.script(
    "FR25",
    "content header that fits client frame_max but not upstream frame_max after the token is added",
)
def outgrown(stage: Stage) -> None:
    """A client that keeps to the frame_max it is offered has room for the token; another has not."""
    gate = stage.gate("countersign")
    with stage.client("countersign") as modest:
        assert modest.frame_max == 8192 - 1024
        modest.open_channel(confirms=True)
        fitting = publish(filling(modest), modest)
        assert len(fitting.header) == modest.frame_max - 8
        with gate.counting({"accepted ok": 1}):
            modest.send(fitting.frames(modest))
            hear_ack(modest)
    [arrived] = stage.broker.take_arrived(1)
    assert arrived.body == fitting.body
    with stage.client("countersign", frame_max=8192) as client:
        client.open_channel(confirms=True)
        sent = publish(filling(modest), client)
        with gate.counting({"refused header.size": 1}):
            client.send(sent.frames(client, mandatory=True))
            answer = hear_refusal(client, "nack", sent, "header.size", returned=True)
    gate.wait_for_no_upstream()
    stage.broker.check_nothing_arrived()
    check_kept(gate, sent, "header.size", answer, mandatory=True)


def filling(client: RawClient) -> Draft:
    """A task whose sealed content header is as long as a frame of `client` can be."""
    draft = a_task()
    header = publish(draft, client).header
    assert scanned(header) is not None
    room = client.frame_max - 8 - len(header) - len(entry("filler", "S", struct.pack(">I", 0)))
    return a_task(entries=entry("filler", "S", struct.pack(">I", room) + b"x" * room))
