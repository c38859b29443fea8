"""A broker that is lost before the client has heard of it is replaced by the next one."""

from __future__ import annotations

import pytest
from pamqp import commands

from sealgate.session.events import Disconnected, DrainAsked, Ticked, UpstreamConnected, UpstreamFailed
from sealgate.session.limits import Limits
from sealgate.session.states import Side, State
from support.talk import SERVER_PROPERTIES, Talk, methods_of

HEADER = b"AMQP\x00\x00\x09\x01"
START_OK = commands.Connection.StartOk(response="\x00guest\x00guest", locale="en_US")


def awaiting_start() -> Talk:
    talk = Talk()
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    assert talk.to_broker == HEADER
    talk.to_broker = b""
    return talk


def lose(talk: Talk) -> None:
    talk.give(Disconnected(Side.UPSTREAM))


def close_with_320(talk: Talk) -> None:
    talk.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0))


def speak_another_protocol(talk: Talk) -> None:
    talk.broker_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def start_in_the_middle(talk: Talk) -> None:
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))


@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (lose, "lost in the handshake"),
        (close_with_320, "320 instead of connection.start"),
        (speak_another_protocol, "speaks no AMQP 0-9-1"),
        (start_in_the_middle, "speaks no AMQP 0-9-1"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_next_broker_is_dialed_and_the_client_hears_nothing_of_it(fail: object, told: str) -> None:
    assert callable(fail)
    talk = awaiting_start()
    fail(talk)
    assert (talk.dials, talk.closed, talk.to_client) == (2, [], b"")
    assert talk.session.conversation.state is State.DIALING
    assert talk.session.conversation.upstream_failure == told
    talk.to_broker = b""
    # What the first one still says belongs to nobody.
    talk.broker_bytes(b"\x01\x00\x00\x00\x00")
    talk.give(UpstreamConnected())
    assert talk.to_broker == HEADER
    talk.to_broker = b""
    talk.broker(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES)))
    assert methods_of(talk.heard_by_client()) == ["Connection.Start"]
    talk.client(0, START_OK)
    assert methods_of(talk.heard_by_broker()) == ["Connection.StartOk"]


def test_half_a_frame_of_the_broker_before_is_not_mixed_with_what_the_next_one_says() -> None:
    talk = awaiting_start()
    talk.broker_bytes(b"\x01\x00\x00\x00\x00\x01")
    lose(talk)
    talk.give(UpstreamConnected())
    talk.broker(0, commands.Connection.Start(server_properties={}))
    assert methods_of(talk.heard_by_client()) == ["Connection.Start"]


def test_client_that_spoke_ahead_is_not_asked_again() -> None:
    """Everything it sent waits for the broker that serves (protocol.md H3)."""
    talk = Talk()
    talk.client_bytes(HEADER)
    talk.client(0, START_OK)
    talk.give(UpstreamConnected())
    lose(talk)
    talk.give(UpstreamConnected())
    talk.to_broker = b""
    talk.broker(0, commands.Connection.Start(server_properties={}))
    assert methods_of(talk.heard_by_broker()) == ["Connection.StartOk"]


def test_client_is_closed_before_start_when_no_broker_is_left() -> None:
    talk = awaiting_start()
    lose(talk)
    talk.give(UpstreamFailed())
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert talk.to_client == b""
    cause = talk.session.conversation.cause
    assert cause is not None
    assert cause.reason.value == "conn.upstream"


def test_no_broker_is_dialed_for_a_client_that_has_left() -> None:
    talk = awaiting_start()
    talk.give(Disconnected(Side.CLIENT))
    lose(talk)
    assert (talk.dials, talk.session.conversation.upstream_failure) == (1, "")


def test_next_broker_is_dialed_during_a_drain_too() -> None:
    talk = awaiting_start()
    talk.give(DrainAsked())
    lose(talk)
    assert talk.dials == 2


def test_brokers_together_have_the_time_of_one_handshake() -> None:
    talk = Talk(limits=Limits(handshake_s=10))
    talk.client_bytes(HEADER)
    for _ in range(3):
        talk.wait(3.5)
        talk.give(UpstreamConnected())
        lose(talk)
    talk.give(Ticked())
    assert Side.CLIENT in talk.closed


def test_broker_that_never_speaks_is_to_blame() -> None:
    talk = awaiting_start()
    talk.wait(10.1)
    talk.give(Ticked())
    assert talk.session.conversation.upstream_failure == "silent"


def test_broker_that_a_late_client_left_no_time_to_speak_is_not() -> None:
    """Without a login, a client that began just before its deadline made any broker look silent."""
    talk = Talk(limits=Limits(handshake_s=10))
    talk.wait(9.9)
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    talk.wait(0.2)
    talk.give(Ticked())
    assert Side.CLIENT in talk.closed
    assert talk.session.conversation.upstream_failure == ""


# After start the client has heard of its broker


def handshake_up_to(last: type[object]) -> Talk:
    """Stops after the client has sent `last`."""
    talk = awaiting_start()
    talk.broker(0, commands.Connection.Start(server_properties={}))
    steps = [
        (START_OK, commands.Connection.Tune(2047, 131072, 60)),
        (commands.Connection.TuneOk(2047, 131072, 60), None),
        (commands.Connection.Open("/"), None),
    ]
    for said, answer in steps:
        talk.client(0, said)
        if isinstance(said, last):
            break
        if answer is not None:
            talk.broker(0, answer)
    talk.heard_by_client()
    return talk


@pytest.mark.parametrize("code", [320, 541])
@pytest.mark.parametrize("last", [commands.Connection.StartOk, commands.Connection.Open])
def test_close_for_the_brokers_own_reasons_passes_and_counts(last: type[object], code: int) -> None:
    talk = handshake_up_to(last)
    talk.broker(0, commands.Connection.Close(code, "not now", 0, 0))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text, talk.dials) == (code, "not now", 1)
    assert talk.session.conversation.upstream_failure == f"{code} in the handshake"


@pytest.mark.parametrize("code", [403, 530])
def test_close_for_the_clients_sake_does_not_count(code: int) -> None:
    talk = handshake_up_to(commands.Connection.Open)
    talk.broker(0, commands.Connection.Close(code, "no", 0, 0))
    assert talk.session.conversation.upstream_failure == ""


@pytest.mark.parametrize(
    ("last", "counts"),
    [
        (commands.Connection.StartOk, False),  # as RabbitMQ ends a wrong password
        (commands.Connection.TuneOk, False),  # as it ends a silent client
        (commands.Connection.Open, True),
    ],
)
def test_loss_counts_where_no_client_can_bring_it_about(last: type[object], counts: bool) -> None:
    talk = handshake_up_to(last)
    lose(talk)
    assert bool(talk.session.conversation.upstream_failure) is counts
    assert talk.dials == 1
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}


def test_loss_of_a_running_connection_does_not_count() -> None:
    """A broker that is gone does not answer the next dial either."""
    talk = Talk().shake_hands()
    lose(talk)
    (close,) = talk.heard_by_client()
    assert (close.reply_code, talk.dials) == (320, 1)
    assert talk.session.conversation.upstream_failure == ""


CLOSE = commands.Connection.Close(200, "bye", 0, 0)
#: What RabbitMQ hangs up for without a word, when the client's `open` has been passed on already.
STRAYING = [
    (commands.Connection.TuneOk(2047, 131073, 60),),
    (commands.Connection.TuneOk(2047, 4095, 60),),
    (commands.Connection.TuneOk(2047, 0, 60),),
    (commands.Connection.TuneOk(2048, 131072, 60),),
    (commands.Connection.TuneOk(0, 131072, 60),),
    (CLOSE, commands.Connection.TuneOk(2047, 131072, 60)),
    (commands.Connection.TuneOk(2047, 131072, 60), CLOSE),
]


@pytest.mark.parametrize("said", STRAYING)
@pytest.mark.parametrize("fail", [lose, close_with_320])
def test_loss_after_what_no_broker_takes_does_not_count(fail: object, said: tuple[object, ...]) -> None:
    """Any client with a login made every broker look broken, and the gateway unready, whenever it liked."""
    assert callable(fail)
    talk = handshake_up_to(commands.Connection.StartOk)
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    talk.client(0, *said, commands.Connection.Open("/"))
    assert talk.session.conversation.state is State.OPEN_OK
    fail(talk)
    assert talk.session.conversation.upstream_failure == ""
