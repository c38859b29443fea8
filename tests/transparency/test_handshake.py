"""Protocol header, login and tuning (protocol.md H, A, N, L)."""

from __future__ import annotations

import pytest
from pamqp import commands, encode

from support.conversation import Instead, Refused, conversation
from support.raw_client import frame, method
from support.speaker import GUEST, HEARTBEAT_FRAME, PROTOCOL_HEADER, Message, Speaker

pytestmark = pytest.mark.system

Basic, Channel, Connection, Queue = commands.Basic, commands.Channel, commands.Connection, commands.Queue
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))


# The first eight octets


@conversation()
def test_H1_http(c: Speaker) -> None:
    c.say(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    c.wait_for_end()


@conversation()
def test_H1_tls_client_hello_on_the_plain_port(c: Speaker) -> None:
    c.say(CLIENT_HELLO)
    c.wait_for_end()


@conversation()
def test_H1_amqp_1_0(c: Speaker) -> None:
    c.say(b"AMQP\x00\x01\x00\x00")
    c.wait_for_end()


@conversation()
def test_H1_amqp_1_0_with_sasl(c: Speaker) -> None:
    c.say(b"AMQP\x03\x01\x00\x00")
    c.wait_for_end()


@conversation()
def test_H1_amqp_0_10(c: Speaker) -> None:
    c.say(b"AMQP\x01\x01\x00\x0a")
    c.wait_for_end()


@conversation()
def test_H1_wrong_before_it_is_whole(c: Speaker) -> None:
    c.say(b"AMQX")
    c.say(b"\x00\x00\x09\x01")
    c.wait_for_end()


@conversation()
def test_H2_0_9(c: Speaker) -> None:
    c.say(b"AMQP\x01\x01\x00\x09")
    c.wait(Connection.Start)
    c.say(c.start_ok())
    tune = c.wait(Connection.Tune)
    c.tell(0, Connection.TuneOk(tune.channel_max, tune.frame_max, 60), Connection.Open(c.vhost))
    c.wait(Connection.OpenOk)
    c.open()


#: RabbitMQ 3.10 still speaks 0-8; Sealgate reads 0-9-1 alone.
ONLY_0_9_1 = Instead(("protocol header b'AMQP\\x00\\x00\\t\\x01'",), "protocol.md H2")


@conversation(ONLY_0_9_1, **{"pass": ONLY_0_9_1})
def test_H2_0_8(c: Speaker) -> None:
    c.say(b"AMQP\x01\x01\x08\x00")
    c.wait(Connection.Start)


@conversation(ONLY_0_9_1, **{"pass": ONLY_0_9_1})
def test_H2_0_8_as_qpid_says_it(c: Speaker) -> None:
    c.say(b"AMQP\x01\x01\x09\x01")
    c.wait(Connection.Start)


@conversation()
def test_H3_octet_by_octet(c: Speaker) -> None:
    c.dribble(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.dribble(c.start_ok())
    tune = c.wait(Connection.Tune)
    c.dribble(method(0, Connection.TuneOk(tune.channel_max, tune.frame_max, 60)))
    c.dribble(method(0, Connection.Open(c.vhost)))
    c.wait(Connection.OpenOk)


@conversation()
def test_H3_pipelined_in_one_segment(c: Speaker) -> None:
    c.say(
        PROTOCOL_HEADER,
        c.start_ok(),
        method(0, Connection.TuneOk(2047, 65_536, 60)),
        method(0, Connection.Open(c.vhost)),
        method(1, Channel.Open()),
        method(1, Queue.Declare(queue="H3")),
        method(1, Queue.Delete(queue="H3")),
    )
    c.wait(Queue.DeleteOk)


@conversation()
def test_L7_opens_and_closes(c: Speaker) -> None:
    c.hang_up_half()
    c.wait_for_end()


@conversation()
def test_L7_header_and_away(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.hang_up_half()
    c.wait_for_end()


# Who may come in


@conversation()
def test_H5_missing_vhost(c: Speaker) -> None:
    c.log_in()
    c.tell(0, Connection.TuneOk(2047, 65_536, 60), Connection.Open("nowhere"))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H5_missing_vhost_and_no_close_ok(c: Speaker) -> None:
    c.log_in()
    c.tell(0, Connection.TuneOk(2047, 65_536, 60), Connection.Open("nowhere"))
    c.wait(Connection.Close)
    c.hang_up_half()
    c.wait_for_end()


@conversation()
def test_H6_wrong_password_with_the_capability(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok("\x00guest\x00wrong"))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H6_wrong_password_without_the_capability(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok("\x00guest\x00wrong", authentication_failure_close=None))
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_H6_unknown_user(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok("\x00nobody\x00wrong"))
    c.wait(Connection.Close)
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_H6_unknown_mechanism(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok(mechanism="NONSENSE"))
    c.wait_for_end()


@conversation()
def test_H5_vhost_that_takes_no_connections(c: Speaker) -> None:
    c.log_in()
    c.tell(0, Connection.TuneOk(2047, 65_536, 60), Connection.Open("full"))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H5_user_who_may_have_no_connections(c: Speaker) -> None:
    c.log_in(response="\x00limited\x00limited")
    c.tell(0, Connection.TuneOk(2047, 65_536, 60), Connection.Open(c.vhost))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H5_user_without_access(c: Speaker) -> None:
    c.log_in(response="\x00stranger\x00stranger")
    c.tell(0, Connection.TuneOk(2047, 65_536, 60), Connection.Open(c.vhost))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H7_consumer_cancelled_with_the_capability(c: Speaker) -> None:
    c.open().queue("H7")
    c.ask(1, Basic.Consume(queue="H7", consumer_tag="tag"), Basic.ConsumeOk)
    c.ask(1, Queue.Delete(queue="H7"), Queue.DeleteOk)
    c.sync()


@conversation()
def test_H7_consumer_cancelled_without_the_capability(c: Speaker) -> None:
    c.shake_hands(consumer_cancel_notify=None).open().queue("H7n")
    c.ask(1, Basic.Consume(queue="H7n", consumer_tag="tag"), Basic.ConsumeOk)
    c.ask(1, Queue.Delete(queue="H7n"), Queue.DeleteOk)
    c.sync()


@conversation()
def test_H9_challenge_and_response(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok("guest", "RABBIT-CR-DEMO"))
    c.wait(Connection.Secure)
    c.tell(0, Connection.SecureOk("My password is guest"))
    tune = c.wait(Connection.Tune)
    c.tell(0, Connection.TuneOk(tune.channel_max, tune.frame_max, 60), Connection.Open(c.vhost))
    c.wait(Connection.OpenOk)


@conversation()
def test_H10_start_ok_of_3_kilobytes(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok(padding="x" * 3000))
    tune = c.wait(Connection.Tune)
    c.tell(0, Connection.TuneOk(tune.channel_max, tune.frame_max, 60), Connection.Open(c.vhost))
    c.wait(Connection.OpenOk)


@conversation()
def test_H10_start_ok_of_5_kilobytes(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok(padding="x" * 5000))
    c.wait_for_end()


@conversation()
def test_A1_amqplain(c: Speaker) -> None:
    login = encode.field_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:]
    c.shake_hands(response=login.decode("latin-1"), mechanism="AMQPLAIN").open()


@conversation()
def test_A1_authorization_identity(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok("someone" + GUEST))
    c.wait_for_end()


#: A message is refused alone: the channel lives.
PROPS_USER_ID = Instead(("confirm nack 1",), "hostile.jsonl PR11")


@conversation(verify=PROPS_USER_ID, chain=PROPS_USER_ID)
def test_A3_user_id_of_somebody_else(c: Speaker) -> None:
    c.open(confirms=True)
    c.say(Message(1, "A3", b"body", properties=Basic.Properties(user_id="root")))
    if isinstance(c.wait((Channel.Close, Basic.Nack)), Channel.Close):
        c.tell(1, Channel.CloseOk())
        c.open(2)


@conversation()
def test_A6_update_secret(c: Speaker) -> None:
    c.open()
    secret = encode.long_string("guest") + encode.short_string("renewed")
    c.say(frame(1, 0, b"\x00\x0a\x00\x46" + secret))
    c.wait(Connection.UpdateSecretOk)
    c.open(2)


# Tuning

#: Sealgate bounds channel numbers, not only how many there are.
CHANNEL_NUMBERS = Refused(530, "conn.channels", "hostile.jsonl FR16")


def _tuned(c: Speaker, channel_max: int, frame_max: int, heartbeat: int = 60) -> None:
    c.log_in()
    c.tell(0, Connection.TuneOk(channel_max, frame_max, heartbeat), Connection.Open(c.vhost))


@conversation()
def test_N1_channel_max_above_the_brokers(c: Speaker) -> None:
    _tuned(c, 4000, 65_536)
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_N1_no_channel_max(c: Speaker) -> None:
    _tuned(c, 0, 65_536)
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_N1_frame_max_above_the_brokers(c: Speaker) -> None:
    _tuned(c, 2047, 200_000)
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_N1_no_frame_max(c: Speaker) -> None:
    _tuned(c, 2047, 0)
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_N1_frame_max_below_the_least(c: Speaker) -> None:
    _tuned(c, 2047, 4095)
    c.wait_for_end(not_before_s=2.5)


@conversation()
def test_N1_heartbeat_above_the_brokers(c: Speaker) -> None:
    _tuned(c, 2047, 65_536, 600)
    c.wait(Connection.OpenOk)
    c.open()


@conversation()
def test_N1_few_channels_and_small_frames(c: Speaker) -> None:
    _tuned(c, 10, 4096)
    c.wait(Connection.OpenOk)
    c.open(10, confirms=True).queue("N1", 10)
    c.say(Message(10, "N1", bytes(range(256)) * 100, body_frame_bytes_max=4088))
    c.wait_for_confirms(1, 10)
    c.ask(10, Basic.Get(queue="N1", no_ack=True), Basic.GetOk)
    c.wait_for_content(10)
    c.ask(10, Queue.Delete(queue="N1"), Queue.DeleteOk)


@conversation()
def test_N2_large_delivery_to_small_frames(c: Speaker) -> None:
    c.open(confirms=True).queue("N2")
    c.say(Message(1, "N2", b"0123456789" * 30_000))
    c.wait_for_confirms(1)
    small = c.another("small")
    small.shake_hands(frame_max=4096).open()
    small.ask(1, Basic.Get(queue="N2", no_ack=True), Basic.GetOk)
    small.wait_for_content()
    c.ask(1, Queue.Delete(queue="N2"), Queue.DeleteOk)


@conversation()
def test_N4_long_header_frame_to_small_frames(c: Speaker) -> None:
    c.open(confirms=True).queue("N4")
    c.say(Message(1, "N4", b"body", properties=Basic.Properties(headers={"long": "x" * 10_000})))
    c.wait_for_confirms(1)
    small = c.another("small")
    small.shake_hands(frame_max=4096).open()
    small.ask(1, Basic.Get(queue="N4", no_ack=True), Basic.GetOk)
    small.wait_for_content()
    c.ask(1, Queue.Delete(queue="N4"), Queue.DeleteOk)


@conversation(gates=CHANNEL_NUMBERS)
def test_N5_channel_number_above_channel_max(c: Speaker) -> None:
    c.shake_hands(channel_max=10)
    c.open(11)
    c.queue("N5", 11)
    c.ask(11, Queue.Delete(queue="N5"), Queue.DeleteOk)


@conversation()
def test_N5_as_many_channels_as_allowed(c: Speaker) -> None:
    c.shake_hands(channel_max=200)
    c.say(*[method(number, Channel.Open()) for number in range(1, 201)])
    for _ in range(200):
        c.wait(Channel.OpenOk)
    c.ask(77, Channel.Close(200, "bye", 0, 0), Channel.CloseOk)
    c.open(77)


@conversation(gates=CHANNEL_NUMBERS)
def test_N5_one_channel_too_many(c: Speaker) -> None:
    c.shake_hands(channel_max=2)
    c.open(1).open(2)
    c.tell(3, Channel.Open())
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_N6_no_heartbeat(c: Speaker) -> None:
    c.shake_hands(heartbeat=0).open()
    c.listen_for(3)
    c.sync()


# In the wrong order. RabbitMQ just hangs up; a gate that judges says why.

WRONG_ORDER = Refused(505, "frame.order", "DESIGN.md, how a refusal is told: wrong state")


@conversation(gates=WRONG_ORDER)
def test_H3_open_before_tune_ok(c: Speaker) -> None:
    c.log_in()
    c.tell(0, Connection.Open(c.vhost))
    c.wait_for_end()


@conversation(gates=WRONG_ORDER)
def test_H3_channel_before_login(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.tell(1, Channel.Open())
    c.wait_for_end()


@conversation()
def test_H3_heartbeat_before_login(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(HEARTBEAT_FRAME, c.start_ok())
    tune = c.wait(Connection.Tune)
    c.tell(0, Connection.TuneOk(tune.channel_max, tune.frame_max, 60), Connection.Open(c.vhost))
    c.wait(Connection.OpenOk)


@conversation()
def test_H3_open_once_more(c: Speaker) -> None:
    c.open()
    c.tell(0, Connection.Open(c.vhost))
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H3_login_once_more(c: Speaker) -> None:
    c.open()
    c.say(c.start_ok())
    c.wait(Connection.Close)
    c.tell(0, Connection.CloseOk())
    c.wait_for_end()


@conversation()
def test_H3_close_before_tune_ok(c: Speaker) -> None:
    c.log_in()
    c.tell(0, Connection.Close(200, "never mind", 0, 0))
    c.wait_for_end()


@conversation(gates=Refused(501, "frame.end", "hostile.jsonl FR01"))
def test_H3_wrong_end_octet_before_login(c: Speaker) -> None:
    c.say(PROTOCOL_HEADER)
    c.wait(Connection.Start)
    c.say(c.start_ok()[:-1] + b"\xcd")
    c.wait_for_end()
