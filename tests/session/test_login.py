"""Logins: what of them passes, what Sealgate judges itself, and how it says no."""

from __future__ import annotations

import pytest
from pamqp import commands, header

from sealgate.accounts.login import Attempt, Caller, Grant, LoginResult, Outcome
from sealgate.accounts.users import BrokerLogin
from sealgate.session.conversation import Role
from sealgate.session.events import (
    BytesReceived,
    Disconnected,
    DrainAsked,
    LoginChecked,
    Ticked,
    UpstreamConnected,
    UpstreamFailed,
)
from sealgate.session.states import Side, State
from sealgate.wire.entries import entry_longstr
from support.talk import SERVER_PROPERTIES, Talk, methods_of, on, sealed

HEADER = b"AMQP\x00\x00\x09\x01"
TELLS = {"capabilities": {"authentication_failure_close": True}}
GRANT = Grant("alice", ("/", "team-*"), BrokerLogin("gateway", "broker-secret"))
GRANTED = LoginChecked(Outcome(LoginResult.OK, GRANT))
REFUSED_TEXT = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism {}. "
    "For details see the broker logfile."
)


def started(mechanisms: str = "PLAIN AMQPLAIN", loopback: bool = False, **options: object) -> Talk:
    """A conversation in which the broker has said `start`."""
    talk = Talk(**options)  # type: ignore[arg-type]
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected(loopback))
    talk.broker(
        0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES), mechanisms=mechanisms)
    )
    talk.to_broker = b""
    return talk


def replacing(**options: object) -> Talk:
    talk = started(replace=True, **options)  # type: ignore[arg-type]
    talk.to_client = b""
    return talk


def start_ok(
    response: str = "\x00alice\x00wonder",
    mechanism: str = "PLAIN",
    properties: dict[str, object] | None = None,
) -> commands.Connection.StartOk:
    chosen = TELLS if properties is None else properties
    return commands.Connection.StartOk(chosen, mechanism, response, "en_US")


def offered(talk: Talk) -> str:
    (start,) = talk.heard_by_client()
    return str(start.mechanisms)


# Passed through


def test_mechanisms_of_the_broker_are_offered_as_they_are() -> None:
    assert offered(started("RABBIT-CR-DEMO PLAIN  AMQPLAIN")) == "RABBIT-CR-DEMO PLAIN  AMQPLAIN"


@pytest.mark.parametrize("role", list(Role))
def test_external_is_the_gateways_own_certificate_and_not_offered(role: Role) -> None:
    assert offered(started("PLAIN EXTERNAL AMQPLAIN", role=role)) == "PLAIN AMQPLAIN"


def test_client_that_asks_for_external_all_the_same_does_not_get_the_gateways_identity() -> None:
    talk = started("PLAIN EXTERNAL")
    talk.heard_by_client()
    talk.client(0, start_ok("", "EXTERNAL"))
    assert (talk.to_broker, talk.to_client) == (b"", b"")
    assert talk.closed == [Side.UPSTREAM]
    assert [record.result for record in talk.told] == [LoginResult.MALFORMED]


def test_any_number_of_challenges_passes() -> None:
    talk = started("RABBIT-CR-DEMO")
    talk.heard_by_client()
    talk.client(0, start_ok("guest", "RABBIT-CR-DEMO"))
    for number in range(5):
        talk.broker(0, commands.Connection.Secure(f"question {number}"))
        talk.client(0, commands.Connection.SecureOk(f"answer {number}"))
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    assert methods_of(talk.heard_by_client()) == [*["Connection.Secure"] * 5, "Connection.Tune"]
    assert methods_of(talk.heard_by_broker()) == ["Connection.StartOk", *["Connection.SecureOk"] * 5]
    assert talk.session.conversation.peer.user == "guest"


@pytest.mark.parametrize("size", [5_000, 8_000, 20_000, 100_000])
def test_long_response_passes_byte_for_byte(size: int) -> None:
    talk = started()
    data = on(0, start_ok("authzid\x00alice\x00" + "x" * size))
    talk.client_bytes(data)
    assert talk.to_broker == data


def test_response_that_is_not_utf_8_passes_byte_for_byte() -> None:
    talk = started()
    data = on(0, start_ok("\x00al@@\x00p@@")).replace(b"@@", b"\xff\xfe")
    talk.client_bytes(data)
    assert talk.to_broker == data
    assert talk.session.conversation.peer.user == "al\ufffd\ufffd"


def refused(talk: Talk) -> None:
    """The broker refuses the login, in its words."""
    talk.broker(0, commands.Connection.Close(403, REFUSED_TEXT.format("PLAIN"), 0, 0))


def test_refusal_of_the_broker_is_followed_by_its_silence() -> None:
    talk = started()
    talk.heard_by_client()
    talk.client(0, start_ok())
    refused(talk)
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text) == (403, REFUSED_TEXT.format("PLAIN"))
    assert talk.tally.logins == {"refused": 1}
    assert [(record.user, record.client) for record in talk.told] == [("alice", "127.0.0.1:5")]
    talk.wait(2.9)
    talk.give(Ticked())
    assert Side.CLIENT not in talk.closed
    talk.wait(0.2)
    talk.give(Ticked())
    assert Side.CLIENT in talk.closed
    assert talk.session.conversation.state is State.CLOSED


def test_broker_that_hangs_up_on_a_login_is_counted_as_refusing_it() -> None:
    talk = started()
    talk.heard_by_client()
    talk.client(0, start_ok(properties={}))
    talk.give(Disconnected(Side.UPSTREAM))
    assert (talk.to_client, Side.CLIENT in talk.closed) == (b"", True)
    assert talk.tally.logins == {"refused": 1}


def test_right_login_is_counted_when_the_broker_goes_on() -> None:
    assert Talk().shake_hands().tally.logins == {"ok": 1}


def test_refused_client_that_speaks_is_cut_as_the_broker_cuts_it() -> None:
    talk = started()
    talk.heard_by_client()
    talk.client(0, start_ok())
    refused(talk)
    talk.client(0, commands.Connection.CloseOk())
    assert Side.CLIENT in talk.closed


def test_what_comes_in_one_segment_with_a_refused_login_counts_as_said_after_it() -> None:
    """Octet by octet the client was cut for it, in one piece it was not: found by fuzzing."""
    talk = started()
    talk.client_bytes(on(0, start_ok()) + b"\1")
    refused(talk)
    assert Side.CLIENT in talk.closed


def test_close_of_the_broker_for_another_reason_is_answered_as_ever() -> None:
    talk = started()
    talk.client(0, start_ok())
    talk.heard_by_client()
    talk.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0))
    assert [close.reply_code for close in talk.heard_by_client()] == [320]
    assert talk.session.conversation.state is State.CLOSING


# Users that may only come from the broker's own host (protocol.md A4)

GUESTS = frozenset({"guest"})


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", "\x00guest\x00guest"),
        ("AMQPLAIN", (entry_longstr("LOGIN", b"guest") + entry_longstr("PASSWORD", b"x")).decode()),
    ],
)
def test_guest_from_elsewhere_is_no_local_guest(mechanism: str, response: str) -> None:
    talk = started(loopback=True, loopback_users=GUESTS)
    talk.heard_by_client()
    talk.client(0, start_ok(response, mechanism))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text) == (403, REFUSED_TEXT.format(mechanism))
    assert talk.to_broker == b""
    assert talk.tally.logins == {"loopback": 1}
    assert talk.told[0].user == "guest"


#: RabbitMQ takes a table with a name twice, and the first of the two.
HIDING = b"".join(
    [entry_longstr("LOGIN", b"guest"), entry_longstr("PASSWORD", b"guest"), entry_longstr("LOGIN", b"alice")]
)


def test_login_that_hides_its_user_from_us_is_no_way_around() -> None:
    talk = started(loopback=True, loopback_users=GUESTS)
    talk.heard_by_client()
    talk.client(0, start_ok(HIDING.decode(), "AMQPLAIN"))
    assert (talk.to_broker, talk.to_client) == (b"", b"")
    assert talk.tally.logins == {"malformed": 1}


@pytest.mark.parametrize("role", list(Role))
def test_login_that_hides_its_user_from_the_rules_goes_no_further_than_they_do(role: Role) -> None:
    """A rule that enforces for one user did not hold for it, where all others are only observed."""
    talk = started(role=role)
    talk.heard_by_client()
    talk.to_broker = b""
    talk.client(0, start_ok(HIDING.decode(), "AMQPLAIN"))
    assert bool(talk.to_broker) is (role is Role.PASS)
    assert talk.tally.logins == ({} if role is Role.PASS else {"malformed": 1})


@pytest.mark.parametrize(
    ("caller", "upstream", "users", "user"),
    [
        (Caller(loopback=True), True, GUESTS, "guest"),
        (Caller(), False, GUESTS, "guest"),
        (Caller(), True, frozenset(), "guest"),
        (Caller(), True, GUESTS, "alice"),
    ],
)
def test_all_others_are_the_brokers_to_judge(
    caller: Caller, upstream: bool, users: frozenset[str], user: str
) -> None:
    talk = started(loopback=upstream, loopback_users=users, caller=caller)
    data = on(0, start_ok(f"\x00{user}\x00guest"))
    talk.client_bytes(data)
    assert talk.to_broker == data


# Replaced: the client logs in here


def test_gateway_offers_what_it_can_judge() -> None:
    assert offered(started("RABBIT-CR-DEMO PLAIN EXTERNAL", replace=True)) == "PLAIN AMQPLAIN"
    known = Caller(certificate=("bob.example",), external=True)
    assert offered(started("PLAIN", replace=True, caller=known)) == "PLAIN AMQPLAIN EXTERNAL"
    stranger = Caller(certificate=("eve.example",))
    assert offered(started("PLAIN", replace=True, caller=stranger)) == "PLAIN AMQPLAIN"


def test_broker_without_plain_is_as_good_as_away() -> None:
    talk = started("EXTERNAL", replace=True)
    assert (talk.to_client, talk.dials) == (b"", 2)
    talk.give(UpstreamFailed())
    assert set(talk.closed) == {Side.CLIENT, Side.UPSTREAM}
    assert talk.tally.logins == {"broker": 1}


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", "\x00alice\x00wonder"),
        ("AMQPLAIN", (entry_longstr("LOGIN", b"alice") + entry_longstr("PASSWORD", b"wonder")).decode()),
    ],
)
def test_broker_hears_our_login_in_the_clients_start_ok(mechanism: str, response: str) -> None:
    talk = replacing()
    properties = {"product": "py-amqp", "connection_name": "web-1", "n": [1, {"deep": True}]}
    talk.client(0, start_ok(response, mechanism, properties))
    (attempt,) = talk.logins
    assert (attempt.user, attempt.password, attempt.external) == ("alice", b"wonder", False)
    assert (talk.to_broker, talk.to_client) == (b"", b"")
    talk.give(GRANTED)
    expected = start_ok("\x00gateway\x00broker-secret", "PLAIN", properties)
    assert talk.to_broker == on(0, expected)
    talk.to_broker = b""
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    assert methods_of(talk.heard_by_client()) == ["Connection.Tune"]
    assert talk.session.conversation.peer.user == "alice"
    assert talk.session.conversation.product == "py-amqp"
    assert talk.tally.logins == {"ok": 1}


def test_login_may_come_a_byte_at_a_time() -> None:
    talk = Talk(replace=True)
    talk.client_bytes(HEADER)
    talk.give(UpstreamConnected())
    start = on(0, commands.Connection.Start(server_properties=dict(SERVER_PROPERTIES), mechanisms="PLAIN"))
    for octet in start:
        talk.give(BytesReceived(Side.UPSTREAM, bytes([octet])))
    talk.to_broker = b""
    for octet in on(0, start_ok()):
        assert talk.logins == []
        talk.client_bytes(bytes([octet]))
    talk.give(GRANTED)
    assert talk.to_broker == on(0, start_ok("\x00gateway\x00broker-secret"))


def test_certificate_is_checked_again_when_it_is_used() -> None:
    known = Caller(certificate=("bob.example",), external=True)
    talk = replacing(caller=known)
    talk.client(0, start_ok("", "EXTERNAL"))
    (attempt,) = talk.logins
    assert attempt == Attempt("", external=True, certificate=("bob.example",))
    talk.give(LoginChecked(Outcome(LoginResult.CERTIFICATE)))
    (close,) = talk.heard_by_client()
    assert close.reply_text == REFUSED_TEXT.format("EXTERNAL")


def open_as_alice() -> Talk:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(GRANTED)
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    talk.client(0, commands.Connection.TuneOk(2047, 131072, 60), commands.Connection.Open("/"))
    talk.broker(0, commands.Connection.OpenOk())
    talk.heard_by_client()
    talk.heard_by_broker()
    return talk


@pytest.mark.parametrize(
    "result", [LoginResult.PASSWORD, LoginResult.UNKNOWN, LoginResult.DISABLED, LoginResult.LOCKED]
)
def test_every_wrong_login_is_refused_with_the_same_bytes(result: LoginResult) -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(LoginChecked(Outcome(result)))
    expected = commands.Connection.Close(403, REFUSED_TEXT.format("PLAIN"), 0, 0)
    assert talk.to_client == on(0, expected)
    assert talk.to_broker == b""
    assert talk.closed == [Side.UPSTREAM]
    assert talk.tally.logins == {result.value: 1}
    (record,) = talk.told
    assert (record.user, record.mechanism, record.client) == ("alice", "PLAIN", "127.0.0.1:5")
    talk.wait(3)
    talk.give(Ticked())
    assert talk.closed == [Side.UPSTREAM, Side.CLIENT]


def test_client_without_the_capability_hears_nothing_for_three_seconds() -> None:
    talk = replacing()
    talk.client(0, start_ok(properties={}))
    talk.give(LoginChecked(Outcome(LoginResult.PASSWORD)))
    talk.wait(2.9)
    talk.give(Ticked())
    assert (talk.to_client, talk.closed) == (b"", [Side.UPSTREAM])
    talk.wait(0.1)
    talk.give(Ticked())
    assert (talk.to_client, talk.closed) == (b"", [Side.UPSTREAM, Side.CLIENT])


def test_refused_login_outlasts_the_deadline_of_the_handshake() -> None:
    talk = replacing()
    talk.wait(9.5)
    talk.client(0, start_ok())
    talk.give(LoginChecked(Outcome(LoginResult.PASSWORD)))
    talk.heard_by_client()
    talk.wait(2)
    talk.give(Ticked())
    assert (talk.to_client, talk.closed) == (b"", [Side.UPSTREAM])


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", "garbage"),
        ("PLAIN", "authzid\x00alice\x00wonder"),
        ("AMQPLAIN", "\x05LOGIN"),
        ("EXTERNAL", ""),
        ("RABBIT-CR-DEMO", "alice"),
    ],
)
def test_response_that_is_none_is_met_with_silence(mechanism: str, response: str) -> None:
    talk = replacing()
    talk.client(0, start_ok(response, mechanism))
    talk.client_bytes(b"anything")
    assert (talk.logins, talk.to_client, talk.to_broker) == ([], b"", b"")
    assert talk.closed == [Side.UPSTREAM]
    talk.wait(3)
    talk.give(Ticked())
    assert talk.closed == [Side.UPSTREAM, Side.CLIENT]
    assert talk.tally.logins == {"malformed": 1}


def test_nobody_with_time_for_a_login_says_nothing_of_its_password() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(LoginChecked(Outcome(LoginResult.BUSY)))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, "conn.limit" in close.reply_text) == (506, True)


def test_check_that_takes_too_long_ends_with_the_handshake() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.wait(10.1)
    talk.give(Ticked())
    (close,) = talk.heard_by_client()
    assert "conn.handshake" in close.reply_text
    talk.give(GRANTED)
    assert talk.to_broker == b""


def test_answer_for_a_client_that_left_goes_nowhere() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(Disconnected(Side.CLIENT))
    talk.give(GRANTED)
    assert (talk.to_broker, talk.session.conversation.state) == (b"", State.CLOSED)


def test_answer_when_the_broker_has_left_goes_nowhere() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - bye", 0, 0))
    assert [close.reply_code for close in talk.heard_by_client()] == [320]
    talk.heard_by_broker()
    talk.give(GRANTED)
    assert talk.to_broker == b""


def test_broker_that_hangs_up_while_we_check_says_nothing_of_the_password() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(Disconnected(Side.UPSTREAM))
    (close,) = talk.heard_by_client()
    assert close.reply_code == 320
    assert talk.told == []
    talk.give(GRANTED)
    talk.client(0, commands.Connection.CloseOk())
    assert (talk.to_broker, talk.session.conversation.state) == (b"", State.CLOSED)


def test_what_the_client_pipelines_waits_for_its_login() -> None:
    talk = replacing()
    talk.client(0, start_ok(), commands.Connection.TuneOk(2047, 131072, 0), commands.Connection.Open("/"))
    talk.give(GRANTED)
    assert methods_of(talk.heard_by_broker()) == ["Connection.StartOk"]
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    assert methods_of(talk.heard_by_broker()) == ["Connection.TuneOk", "Connection.Open"]


@pytest.mark.parametrize("answer", ["close", "secure", "hang up"])
def test_broker_that_refuses_our_own_login_is_away_to_the_client(answer: str) -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(GRANTED)
    talk.heard_by_broker()
    if answer == "close":
        refused(talk)
    elif answer == "secure":
        talk.broker(0, commands.Connection.Secure("?"))
    else:
        talk.give(Disconnected(Side.UPSTREAM))
    (close,) = talk.heard_by_client()
    assert close.reply_code == 320
    assert "login" not in close.reply_text.lower()
    assert talk.to_broker == b""
    assert talk.tally.logins == {"ok": 1, "broker": 1}
    (record,) = talk.told
    assert (record.result, "own login" in record.detail) == (LoginResult.BROKER, True)
    talk.client(0, commands.Connection.CloseOk())
    assert talk.session.conversation.state is State.CLOSED


def test_broker_in_maintenance_does_not_refuse_our_own_login() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(GRANTED)
    talk.heard_by_client()
    talk.broker(0, commands.Connection.Close(320, "CONNECTION_FORCED - maintenance", 0, 0))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text) == (320, "CONNECTION_FORCED - maintenance")
    assert talk.session.conversation.upstream_failure == "320 in the handshake"
    assert (talk.tally.logins, talk.told) == ({"ok": 1}, [])


def test_missing_vhost_is_the_brokers_to_tell() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(GRANTED)
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    talk.client(0, commands.Connection.TuneOk(2047, 131072, 60), commands.Connection.Open("team-x"))
    talk.heard_by_client()
    talk.broker(0, commands.Connection.Close(530, "NOT_ALLOWED - vhost team-x not found", 10, 40))
    (close,) = talk.heard_by_client()
    assert close.reply_text == "NOT_ALLOWED - vhost team-x not found"


def test_vhost_the_user_may_not_open_is_refused_as_a_broker_would() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(GRANTED)
    talk.broker(0, commands.Connection.Tune(2047, 131072, 60))
    talk.heard_by_client()
    talk.heard_by_broker()
    talk.client(0, commands.Connection.TuneOk(2047, 131072, 60), commands.Connection.Open("secret"))
    assert methods_of(talk.heard_by_broker()) == ["Connection.TuneOk"]
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text, close.class_id, close.method_id) == (
        530, "NOT_ALLOWED - access to vhost 'secret' refused for user 'alice'", 10, 40,
    )  # fmt: skip
    assert talk.closed == [Side.UPSTREAM]
    talk.client(0, commands.Connection.CloseOk())
    assert talk.closed == [Side.UPSTREAM, Side.CLIENT]


def test_drain_cuts_no_refused_login_short() -> None:
    talk = replacing()
    talk.client(0, start_ok())
    talk.give(LoginChecked(Outcome(LoginResult.PASSWORD)))
    talk.wait(2)
    talk.give(DrainAsked())
    assert talk.closed == [Side.UPSTREAM]
    talk.wait(1)
    talk.give(Ticked())
    assert talk.closed == [Side.UPSTREAM, Side.CLIENT]


# The user of the connection


def test_user_id_is_compared_with_who_logged_in_here() -> None:
    for user_id, passes in (("alice", True), ("gateway", False), ("bob", False)):
        talk = open_as_alice().open_channel()
        publish, _, content = sealed()
        properties = commands.Basic.Properties(user_id=user_id)
        talk.client(1, publish, header.ContentHeader(body_size=5, properties=properties), content)
        reason = "sig.missing" if passes else "props.user_id"
        assert talk.tally.messages == {("publish", "refused", reason): 1}
        assert talk.records[0].user == "alice"


# A new secret


def test_update_secret_passes_where_the_login_did() -> None:
    talk = Talk().shake_hands()
    data = on(0, commands.Connection.UpdateSecret("new", "expired"))
    talk.client_bytes(data)
    assert talk.to_broker == data
    talk.broker(0, commands.Connection.UpdateSecretOk())
    assert methods_of(talk.heard_by_client()) == ["Connection.UpdateSecretOk"]


def test_update_secret_is_checked_as_the_users_password_and_answered_here() -> None:
    talk = open_as_alice().open_channel()
    talk.client(0, commands.Connection.UpdateSecret("new", "expired"))
    assert talk.logins[-1] == Attempt("alice", b"new", secret=True)
    talk.client(1, commands.Queue.Declare(queue="q"))
    assert methods_of(talk.heard_by_broker()) == ["Queue.Declare"]
    talk.give(GRANTED)
    assert methods_of(talk.heard_by_client()) == ["Connection.UpdateSecretOk"]
    assert talk.to_broker == b""


def test_wrong_new_secret_closes_the_connection_as_a_broker_would() -> None:
    talk = open_as_alice()
    talk.client(0, commands.Connection.UpdateSecret("wrong", "expired"))
    talk.give(LoginChecked(Outcome(LoginResult.PASSWORD)))
    (close,) = talk.heard_by_client()
    assert (close.reply_code, close.reply_text, close.class_id, close.method_id) == (
        530, "NOT_ALLOWED - New secret was refused by one of the backends", 10, 70,
    )  # fmt: skip
    assert [record.detail for record in talk.told] == ["update-secret"]


def test_second_secret_while_the_first_is_looked_at_is_out_of_order() -> None:
    talk = open_as_alice()
    talk.client(0, *[commands.Connection.UpdateSecret("new", "expired")] * 2)
    (close,) = talk.heard_by_client()
    assert "frame.order" in close.reply_text
    assert len(talk.logins) == 2


def test_secret_of_a_client_that_is_leaving_is_not_looked_at() -> None:
    talk = open_as_alice()
    talk.client(0, commands.Connection.UpdateSecret("new", "expired"))
    talk.client(0, commands.Connection.Close(200, "", 0, 0))
    talk.give(GRANTED)
    assert methods_of(talk.heard_by_client()) == []


def test_no_command_or_event_shows_a_password() -> None:
    talk = replacing()
    data = on(0, start_ok())
    shown = []
    for event in (BytesReceived(Side.CLIENT, data), GRANTED):
        shown += [repr(event), *map(repr, talk.session.handle(event, talk.now))]
    assert len(shown) >= 4
    for text in shown:
        assert "wonder" not in text
        assert "broker-secret" not in text


def test_replaced_publishes_are_forwarded_like_any_other() -> None:
    talk = open_as_alice().open_channel()
    data = on(1, *talk.sealed(b"x" * 100))
    talk.client_bytes(data)
    assert talk.to_broker == data
