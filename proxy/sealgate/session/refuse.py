"""How a refusal is told (DESIGN.md, "How a refusal is told")."""

from __future__ import annotations

from typing import Final

from sealgate.reason import CONNECTION_FAMILIES, Reason
from sealgate.session.channel import Channel, Publication
from sealgate.session.conversation import Confirmed, Conversation, Unconfirmed
from sealgate.session.records import RefusalRecord
from sealgate.session.states import ChannelState
from sealgate.verify.verdict import Refused
from sealgate.wire import methods
from sealgate.wire.constants import (
    ACCESS_REFUSED,
    BASIC_PUBLISH,
    CHANNEL_ERROR,
    CONNECTION_FORCED,
    FRAME_ERROR,
    NOT_ALLOWED,
    NOT_IMPLEMENTED,
    REPLY_NAMES,
    RESOURCE_ERROR,
    UNEXPECTED_FRAME,
)

#: Reply code of a connection refused for a reason; the rest of the connection's families is 501.
CONNECTION_CODES: Final = {
    Reason.FRAME_CLASS: UNEXPECTED_FRAME,
    Reason.FRAME_ORDER: UNEXPECTED_FRAME,
    Reason.FRAME_BODY_OVERFLOW: UNEXPECTED_FRAME,
    Reason.FRAME_EMPTY_BODIES: UNEXPECTED_FRAME,
    Reason.FRAME_CHANNEL: CHANNEL_ERROR,
    Reason.CONN_CHANNELS: NOT_ALLOWED,
    Reason.CONN_LIMIT: RESOURCE_ERROR,
    Reason.CONN_MEMORY: RESOURCE_ERROR,
    Reason.CONN_FAILURES: ACCESS_REFUSED,
    Reason.CONN_UPSTREAM: CONNECTION_FORCED,
    Reason.CONN_SHUTDOWN: CONNECTION_FORCED,
    Reason.METHOD_DENIED: NOT_IMPLEMENTED,
    Reason.METHOD_IMMEDIATE: NOT_IMPLEMENTED,
}


def closes_connection(reason: Reason) -> bool:
    """Whether a refusal for this reason ends the whole connection."""
    return reason.family in CONNECTION_FAMILIES


def connection_code(reason: Reason) -> int:
    """The AMQP reply code that goes with closing the connection for `reason`."""
    return CONNECTION_CODES.get(reason, FRAME_ERROR)


def reply_text(code: int, reason: Reason, detail: str = "") -> str:
    """The reply text: the code's name as RabbitMQ prints it, then our reason first."""
    text = f"{REPLY_NAMES[code]} - sealgate: {reason.value}"
    return f"{text} {detail}" if detail else text


class Refuser:
    """Counts a refused publication, keeps it, and answers it on its channel."""

    __slots__ = ("_conversation",)

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation

    def refuse(self, channel: Channel, publication: Publication, refused: Refused) -> None:
        """Tell the client, in the way its channel allows. Call in channel order, once per publication."""
        answer = self._answer(channel, publication, refused)
        self._count(refused)
        self.keep(publication, refused, answer)

    def _answer(self, channel: Channel, publication: Publication, refused: Refused) -> str:
        conversation = self._conversation
        out = conversation.out
        text = reply_text(ACCESS_REFUSED, refused.reason, refused.detail)
        if refused.reason is Reason.REPLAY_DUPLICATE:
            # It did arrive, once: the client that asks again is told so, where it can be told.
            if channel.ledger is None:
                return "none"
            out.client_method(channel.number, methods.encode_ack(channel.ledger.answered_here(), False))
            return "basic.ack"
        if channel.ledger is None:
            conversation.terms.tally.unconfirmed_refusals += 1
            if conversation.terms.unconfirmed is Unconfirmed.CLOSE:
                self._close(channel, text)
                return "channel.close"
            return "basic.return" if self._return(channel, publication, text) else "none"
        closes = conversation.terms.confirmed is Confirmed.CLOSE or (
            conversation.terms.confirmed is Confirmed.AUTO and conversation.is_py_amqp
        )
        if closes:
            self._close(channel, text)
            return "channel.close"
        self._return(channel, publication, text)
        out.client_method(channel.number, methods.encode_nack(channel.ledger.answered_here(), False, False))
        return "basic.nack"

    def _return(self, channel: Channel, publication: Publication, text: str) -> bool:
        """The client's own publish back, with its own properties (protocol.md O5), when it is mandatory.

        False when nothing is returned: also for one too large to be kept, or not readable.
        """
        if not publication.publish.mandatory or publication.header is None or publication.message is None:
            return False
        out = self._conversation.out
        publish = publication.publish
        out.client_method(
            channel.number,
            methods.encode_return(ACCESS_REFUSED, text, publish.exchange, publish.routing_key),
        )
        out.client(publication.header.raw)
        for body in publication.bodies:
            out.client(body.raw)
        return True

    def _close(self, channel: Channel, text: str) -> None:
        self.close_channel(channel, ACCESS_REFUSED, text, BASIC_PUBLISH)

    def close_channel(self, channel: Channel, code: int, text: str, method: int) -> None:
        """Close the channel on both sides, once the broker has answered what went before."""
        channel.refusal = methods.encode_channel_close(code, text, method >> 16, method & 0xFFFF)
        channel.closing_since = self._conversation.now.mono
        self.close_when_answered(channel)

    def close_when_answered(self, channel: Channel, force: bool = False) -> bool:
        """Send the close that waits on the channel, if what went before is answered; or on `force`.

        Every publish is answered before a refusal closes its channel, and every claim is settled before the
        client's own close goes upstream: a channel that is closed gives no more confirms. Not even `force`
        puts a refusal's close in the middle of what the broker is saying.
        """
        ledger = channel.ledger
        if channel.refusal is not None:
            if channel.spoken_for or (ledger is not None and len(ledger) and not force):
                return False
            self._send_refusal(channel, channel.refusal)
            return True
        if channel.client_close is not None:
            if ledger is not None and ledger.owes_claims() and not force:
                return False
            self._conversation.out.upstream(channel.client_close.raw)
            channel.client_close = None
            channel.state = ChannelState.CLIENT_CLOSING
            return True
        return False

    def _send_refusal(self, channel: Channel, payload: bytes) -> None:
        out = self._conversation.out
        out.client_method(channel.number, payload)
        out.upstream_method(channel.number, methods.encode_channel_close(200, "sealgate refused", 0, 0))
        channel.refusal = None
        channel.state = ChannelState.REFUSED

    def _count(self, refused: Refused) -> None:
        tally = self._conversation.terms.tally
        tally.messages["publish", "refused", refused.reason.value] += 1
        if refused.kid:
            tally.key_messages[refused.kid, "refused"] += 1
        if refused.expires:
            tally.use_of(refused.kid).seen(refused.expires)
        if refused.authenticated:
            tally.task_messages[self._conversation.terms.verifier.task_label(refused.task), "refused"] += 1
        if refused.wait_us:
            tally.waited(refused.bucket, refused.wait_us / 1e6)

    def keep(self, publication: Publication, refused: Refused, answer: str, observed: bool = False) -> None:
        """Hand the raw publication to quarantine and audit."""
        conversation = self._conversation
        header = publication.header
        bodies = publication.bodies
        conversation.out.keep(
            RefusalRecord(
                reason=refused.reason,
                detail=refused.detail,
                kid=refused.kid,
                task=refused.task,
                exchange=publication.publish.exchange,
                routing_key=publication.publish.routing_key,
                vhost=conversation.peer.vhost,
                user=conversation.peer.user,
                client=conversation.peer.address,
                channel=publication.channel,
                at=conversation.now.wall,
                observed=observed,
                answer=answer,
                body_size=publication.body_size,
                complete=sum([body.payload_size for body in bodies]) == publication.body_size,
                method=publication.method.payload,
                header=header.payload if header is not None else b"",
                body=b"".join([body.view for body in bodies]),
            )
        )
