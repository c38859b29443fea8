"""Who the client is: its login, passed on to the broker or (`credentials.mode = "replace"`) judged here.

Where Sealgate judges, the broker hears of a client only when its login was right, and then Sealgate's own
credentials in the client's `start-ok`. Refusals are RabbitMQ's: its words, its silence and its brake
(measured with 3.10.8). What the broker says to our own credentials is between us and the operator.
"""

from __future__ import annotations

from typing import Final

from sealgate.accounts.login import Attempt, Grant, LoginRecord, LoginResult, Outcome
from sealgate.reason import GateError, Reason
from sealgate.session.conversation import Conversation, Role
from sealgate.session.legs import BROKERS_OWN, Legs
from sealgate.session.states import Leg, State
from sealgate.verify.globs import permits
from sealgate.wire import methods
from sealgate.wire.constants import (
    ACCESS_REFUSED,
    CONNECTION_CLOSE,
    CONNECTION_OPEN,
    CONNECTION_SECURE,
    CONNECTION_TUNE,
    CONNECTION_UPDATE_SECRET,
    FRAME_METHOD,
    NOT_ALLOWED,
    REPLY_NAMES,
)
from sealgate.wire.frames import Frame, encode_frame
from sealgate.wire.sasl import AMQPLAIN, EXTERNAL, PLAIN, encode_plain, read_login, sasl_user, shown

#: A client that can do this is told of a refused login before the silence (protocol.md H6).
_TOLD_CAPABILITY: Final = "authentication_failure_close"
_BROKER_AWAY: Final = "the broker is not available"
_OPEN: Final = (CONNECTION_OPEN >> 16, CONNECTION_OPEN & 0xFFFF)
_UPDATE_SECRET: Final = (CONNECTION_UPDATE_SECRET >> 16, CONNECTION_UPDATE_SECRET & 0xFFFF)


class Login:
    """Follows the login of one client; `Handshake` asks it about each method that has to do with it."""

    __slots__ = (
        "_attempt",
        "_conversation",
        "_grant",
        "_legs",
        "_mechanism",
        "_start_ok",
        "_told",
    )

    def __init__(self, conversation: Conversation, legs: Legs) -> None:
        self._conversation: Final = conversation
        self._legs: Final = legs
        self._mechanism = ""
        self._told = False
        #: What is being checked, and the start-ok it came in.
        self._attempt: Attempt | None = None
        self._start_ok: Frame | None = None
        self._grant: Grant | None = None

    def start(self, payload: bytes) -> bytes:
        """The broker's `connection.start` as the client gets it: with the mechanisms that it may use.

        EXTERNAL is about who speaks TLS with the broker: that is never the client (protocol.md A2). Raises
        GateError conn.upstream when the broker has none for our own login.
        """
        conversation = self._conversation
        offered = methods.read_mechanisms(payload)
        if conversation.terms.replace_credentials:
            self._need_plain(offered)
            wanted = [PLAIN, AMQPLAIN, EXTERNAL] if conversation.caller.external else [PLAIN, AMQPLAIN]
        else:
            wanted = [name for name in offered if name != EXTERNAL]
        return payload if wanted == offered else methods.with_mechanisms(payload, wanted)

    def start_ok(self, frame: Frame) -> bool:
        """Whether the client's `start-ok` goes to the broker as it is; if not, the rest is seen to."""
        conversation = self._conversation
        start_ok = methods.read_start_ok(frame.payload)
        conversation.product = start_ok.product
        self._told = start_ok.capabilities.get(_TOLD_CAPABILITY) is True
        self._mechanism = start_ok.mechanism
        if conversation.terms.replace_credentials:
            self._check(frame, start_ok)
            return False
        user = conversation.peer.user = sasl_user(start_ok.mechanism, start_ok.response)
        if start_ok.mechanism == EXTERNAL:
            # Not offered. The broker would take it for Sealgate, whose certificate it sees.
            self._refuse(LoginResult.MALFORMED, user)
            return False
        local = bool(conversation.terms.loopback_users) and self._looks_local()
        if local and user in conversation.terms.loopback_users:
            self._refuse(LoginResult.LOOPBACK, user)
            return False
        if self._hides_user(start_ok, local):
            self._refuse(LoginResult.MALFORMED, "")
            return False
        return True

    def _looks_local(self) -> bool:
        """Whether the broker would take this client for one on its own host (protocol.md A4)."""
        return self._conversation.upstream_loopback and not self._conversation.caller.loopback

    def _hides_user(self, start_ok: methods.StartOk, local: bool) -> bool:
        """Whether only the broker can read who this is, where it matters: rules may be about a user.

        RabbitMQ takes tables that we do not, with a name twice for one (measured).
        """
        mechanism = start_ok.mechanism
        if mechanism not in (PLAIN, AMQPLAIN) or read_login(mechanism, start_ok.response) is not None:
            return False
        return local or (mechanism == AMQPLAIN and self._conversation.terms.role is not Role.PASS)

    def _check(self, frame: Frame, start_ok: methods.StartOk) -> None:
        conversation = self._conversation
        if start_ok.mechanism == EXTERNAL and conversation.caller.external:
            name = shown(start_ok.response)
            attempt = Attempt(name, external=True, certificate=conversation.caller.certificate)
        else:
            login = read_login(start_ok.mechanism, start_ok.response)
            if login is None:
                self._refuse(LoginResult.MALFORMED, "")
                return
            attempt = Attempt(shown(login[0]), login[1])
        self._attempt, self._start_ok = attempt, frame
        conversation.state = State.CHECKING
        conversation.out.check_login(attempt)

    def checked(self, outcome: Outcome) -> None:
        """The answer to a `CheckLogin`. Raises GateError conn.limit when nobody had the time for it."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if outcome.result is LoginResult.BUSY:
            self._count(outcome.result)
            raise GateError(Reason.CONN_LIMIT, "too many logins wait")
        if attempt.secret:
            self._secret_checked(outcome)
        elif self._conversation.state is not State.CHECKING:
            self._start_ok = None  # The broker left meanwhile.
        elif outcome.grant is None:
            self._start_ok = None
            self._refuse(outcome.result, attempt.user)
        else:
            self._grant = outcome.grant
            self._log_in(outcome.grant)

    def _log_in(self, grant: Grant) -> None:
        """Send the client's `start-ok` with our credentials in it, and every other byte as it was."""
        conversation = self._conversation
        frame, self._start_ok = self._start_ok, None
        assert frame is not None
        self._count(LoginResult.OK)
        conversation.peer.user = grant.user
        response = encode_plain(grant.broker.user, grant.broker.password)
        payload = methods.with_response(frame.payload, methods.read_start_ok(frame.payload), PLAIN, response)
        conversation.out.upstream(encode_frame(FRAME_METHOD, 0, payload))
        conversation.state = State.AUTHENTICATE

    def broker_answers(self, frame: Frame) -> bool:
        """Whether the broker's frame was its no to a login, and is seen to."""
        conversation = self._conversation
        if conversation.state is not State.AUTHENTICATE or frame.type != FRAME_METHOD or frame.channel:
            return False
        method = methods.method_id(frame.payload)
        if method == CONNECTION_CLOSE and methods.read_close(frame.payload)[0] in BROKERS_OWN:
            return False
        if conversation.terms.replace_credentials:
            if method in (CONNECTION_CLOSE, CONNECTION_SECURE):
                self._broker_refused("the broker refused Sealgate's own login")
                return True
            return False
        if method == CONNECTION_TUNE:
            self._count(LoginResult.OK)
        elif method == CONNECTION_CLOSE and methods.read_close(frame.payload)[0] == ACCESS_REFUSED:
            self._refused_by_broker("")
            self._legs.turn_away(frame.payload)
            return True
        return False

    def _refused_by_broker(self, detail: str) -> None:
        """A login that passed through failed: the broker's log has Sealgate's address for the client's."""
        self._count(LoginResult.REFUSED)
        self._tell(LoginResult.REFUSED, self._conversation.peer.user, detail)

    def broker_left(self) -> bool:
        """Whether the broker hung up while the client waits for its login, and the client is told so.

        A client that is cut there would take its password for wrong.
        """
        conversation = self._conversation
        if conversation.upstream_leg is Leg.CLOSED:
            return False
        if not conversation.terms.replace_credentials:
            if conversation.state is State.AUTHENTICATE:
                self._refused_by_broker("the broker hung up")
            return False
        if conversation.state is State.AUTHENTICATE:
            # To a client without the capability that is how it refuses.
            self._broker_refused("the broker hung up on Sealgate's own login")
        elif conversation.state is State.CHECKING:
            self._legs.forsake(_BROKER_AWAY)
        else:
            return False
        return True

    def _need_plain(self, offered: list[str]) -> None:
        if PLAIN in offered:
            return
        self._count(LoginResult.BROKER)
        self._tell(LoginResult.BROKER, "", "the broker does not offer PLAIN")
        raise GateError(Reason.CONN_UPSTREAM, "no mechanism in common with the broker")

    def _broker_refused(self, detail: str) -> None:
        """Our configuration's fault: the client is told the broker is away, and nothing of credentials."""
        self._count(LoginResult.BROKER)
        self._tell(LoginResult.BROKER, self._conversation.peer.user, detail)
        self._legs.forsake(_BROKER_AWAY)

    def admits(self, vhost: str) -> bool:
        """Whether the user may open `vhost`. If not, the client is told so as a broker would."""
        grant = self._grant
        if grant is None or permits(grant.vhosts, vhost):
            return True
        self._count(LoginResult.VHOST)
        self._tell(LoginResult.VHOST, grant.user, "vhost not permitted")
        text = f"access to vhost '{vhost}' refused for user '{grant.user}'"
        self._legs.dismiss(_close(NOT_ALLOWED, text, _OPEN))
        return False

    def takes(self, frame: Frame) -> bool:
        """Whether a frame on channel 0 of the running connection is answered here: a new secret."""
        conversation = self._conversation
        if not conversation.terms.replace_credentials or frame.type != FRAME_METHOD:
            return False
        if methods.method_id(frame.payload) != CONNECTION_UPDATE_SECRET:
            return False
        if conversation.client_leg is Leg.OPEN:
            secret = methods.read_update_secret(frame.payload)
            if self._attempt is not None:
                raise GateError(Reason.FRAME_ORDER, "the last secret is still being looked at")
            self._attempt = Attempt(conversation.peer.user, secret, secret=True)
            conversation.out.check_login(self._attempt)
        return True

    def _secret_checked(self, outcome: Outcome) -> None:
        conversation = self._conversation
        if conversation.client_leg is not Leg.OPEN:
            return
        self._count(outcome.result)
        if outcome.grant is not None:
            conversation.out.client_method(0, methods.encode_update_secret_ok())
            return
        self._tell(outcome.result, conversation.peer.user, "update-secret")
        text = "New secret was refused by one of the backends"
        self._legs.close_client(_close(NOT_ALLOWED, text, _UPDATE_SECRET))

    def _refuse(self, result: LoginResult, user: str) -> None:
        """As RabbitMQ: a response that is none is met with silence, whatever the client can do."""
        self._count(result)
        self._tell(result, user, "")
        malformed = result is LoginResult.MALFORMED
        text = (
            f"Login was refused using authentication mechanism {self._mechanism}. "
            "For details see the broker logfile."
        )
        close = _close(ACCESS_REFUSED, text, (0, 0)) if self._told and not malformed else b""
        self._legs.turn_away(close, patient=malformed)

    def _count(self, result: LoginResult) -> None:
        self._conversation.terms.tally.logins[result.value] += 1

    def _tell(self, result: LoginResult, user: str, detail: str) -> None:
        conversation = self._conversation
        mechanism = self._mechanism if self._mechanism in (PLAIN, AMQPLAIN, EXTERNAL) else "other"
        record = LoginRecord(result, user, mechanism, conversation.peer.address, detail)
        conversation.out.tell_login(record)


def _close(code: int, text: str, cause: tuple[int, int]) -> bytes:
    return methods.encode_connection_close(code, f"{REPLY_NAMES[code]} - {text}", *cause)
