"""Deliberate mistakes in the core, by name. The simulation must find each, or its oracle is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from sealgate.reason import Reason
from sealgate.session.broker import BrokerFrames
from sealgate.session.channel import Channel, Publication
from sealgate.session.client import ClientFrames
from sealgate.session.closing import Closing
from sealgate.session.confirms import ConfirmLedger
from sealgate.session.conversation import Conversation, Role
from sealgate.session.detours import Detours
from sealgate.session.holding import ReadyQueues, Waits
from sealgate.session.outbox import Outbox
from sealgate.session.publishing import Publishing
from sealgate.session.refuse import Refuser
from sealgate.session.sealing import Sealing
from sealgate.session.states import ChannelState
from sealgate.session.timers import Timers
from sealgate.signing.algorithms import HmacSha256
from sealgate.verify import checks, seals
from sealgate.verify.checks import Verifier
from sealgate.verify.message import Message
from sealgate.verify.sealer import Sealer
from sealgate.verify.verdict import GRANTED, Accepted, Refused
from sealgate.wire import methods
from sealgate.wire.pieces import Pieces

Replacement = Callable[..., Any]
#: name -> (the object, its attribute, what makes the mistaken one of the right one)
MUTANTS: Final[dict[str, tuple[Any, str, Callable[[Any], Replacement]]]] = {}


def _mutant(owner: Any, attribute: str) -> Callable[[Callable[[Any], Replacement]], None]:
    def register(make: Callable[[Any], Replacement]) -> None:
        MUTANTS[make.__name__.strip("_")] = (owner, attribute, make)

    return register


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The core with this mistake in it."""
    owner, attribute, make = MUTANTS[name]
    right = owner.__dict__[attribute]
    setattr(owner, attribute, make(right))
    try:
        yield
    finally:
        setattr(owner, attribute, right)


# Delivery tags


@_mutant(ConfirmLedger, "_settle_up_to")
def _multiple_spans_a_tag_that_was_answered_here(right: Any) -> Replacement:
    def settle_up_to(self: ConfirmLedger, tag: int, answered: Any) -> None:
        self._gaps.clear()
        right(self, tag, answered)

    return settle_up_to


@_mutant(ConfirmLedger, "answered_here")
def _refused_publishes_use_up_no_tag(right: Any) -> Replacement:
    def answered_here(self: ConfirmLedger) -> int:
        return self._next_client

    return answered_here


@_mutant(Refuser, "_answer")
def _refusals_are_answered_twice(right: Any) -> Replacement:
    def answer(self: Refuser, channel: Channel, publication: Publication, refused: Refused) -> str:
        told: str = right(self, channel, publication, refused)
        if told == "basic.nack" and channel.ledger is not None:
            tag = channel.ledger._next_client - 1
            self._conversation.out.client_method(channel.number, methods.encode_nack(tag, False, False))
        return told

    return answer


@_mutant(Refuser, "_return")
def _refused_mandatory_publishes_do_not_come_back(right: Any) -> Replacement:
    return lambda self, channel, publication, text: False


@_mutant(methods, "encode_nack")
def _refusals_are_told_with_multiple(right: Any) -> Replacement:
    return lambda tag, multiple, requeue: right(tag, True, requeue)


# What reaches the broker


@_mutant(Conversation, "hold")
def _a_held_frame_is_dropped(right: Any) -> Replacement:
    def hold(self: Conversation, channel: Channel, item: Any) -> None:
        if isinstance(item, Publication):
            right(self, channel, item)

    return hold


@_mutant(Conversation, "take")
def _what_is_held_is_carried_out_last_first(right: Any) -> Replacement:
    def take(self: Conversation, channel: Channel) -> Any:
        channel.held.reverse()
        item = right(self, channel)
        channel.held.reverse()
        return item

    return take


@_mutant(Publishing, "_line_up")
def _publishes_are_forwarded_before_the_store_has_answered(right: Any) -> Replacement:
    def line_up(self: Publishing, channel: Channel, publication: Publication) -> None:
        if publication.verdict is None and publication.asked is not None:
            self._forward(channel, publication, publication.asked)
        right(self, channel, publication)

    return line_up


@_mutant(Publishing, "_claim")
def _what_the_store_refuses_at_once_is_forwarded(right: Any) -> Replacement:
    return lambda self, claim: None if right(self, claim) is None else GRANTED


@_mutant(ConfirmLedger, "confirmed")
def _acks_passed_on_at_once_settle_nothing(right: Any) -> Replacement:
    return lambda self, tag, multiple: None if right(self, tag, multiple) is None else []


@_mutant(Publishing, "_forward")
def _bodies_are_sent_last_frame_first(right: Any) -> Replacement:
    def forward(self: Publishing, channel: Channel, publication: Publication, accepted: Accepted) -> None:
        publication.bodies.reverse()
        right(self, channel, publication, accepted)

    return forward


@_mutant(Sealing, "header")
def _headers_of_the_broker_are_not_stripped(right: Any) -> Replacement:
    def header(self: Sealing, message: Any, accepted: Accepted) -> bytes | None:
        verify = self._conversation.terms.role is Role.VERIFY
        return None if verify else right(self, message, accepted)

    return header


@_mutant(checks, "check_snapshot")
def _the_target_is_not_checked(right: Any) -> Replacement:
    return lambda message, token: None


@_mutant(seals, "_advance")
def _session_nonces_need_not_rise_and_are_never_refused(right: Any) -> Replacement:
    def advance(peer: Any, nonce: bytes) -> None:
        peer.last_sequence += 2
        right(peer, nonce)

    return advance


@_mutant(Verifier, "observes")
def _rules_observe_everything(right: Any) -> Replacement:
    return lambda self, peer, exchange, task=None: True


@_mutant(HmacSha256, "verify")
def _signatures_are_not_checked(right: Any) -> Replacement:
    return lambda self, data, signature: True


@_mutant(Sealer, "seal")
def _something_else_is_signed(right: Any) -> Replacement:
    def seal(self: Sealer, message: Any, peer: Any, session: Any, now: float) -> bytes:
        changed = Message(
            message.exchange,
            message.routing_key + "!",
            not message.mandatory,
            message.header,
            message.body,
            message.body_sha256,
        )
        return bytes(right(self, changed, peer, session, now))

    return seal


@_mutant(Pieces, "_available")
def _pieces_are_joined_in_the_wrong_order(right: Any) -> Replacement:
    def available(self: Pieces, needed: int) -> bool:
        if len(self._data) - self._at < needed <= self.buffered:
            self._end_dribble()
            self._data = b"".join([*self._pending, self._data[self._at :]])
            self._at = self._pending_bytes = self._pending_at = 0
            self._pending.clear()
        return bool(right(self, needed))

    return available


# Claims


@_mutant(Outbox, "commit")
def _a_commit_is_skipped(right: Any) -> Replacement:
    return lambda self, claim: None


@_mutant(Outbox, "release")
def _a_release_is_skipped(right: Any) -> Replacement:
    return lambda self, claim: None


@_mutant(ConfirmLedger, "returned")
def _a_returned_publish_is_committed(right: Any) -> Replacement:
    return lambda self, seal: None


@_mutant(BrokerFrames, "_settle")
def _a_nacked_publish_is_committed(right: Any) -> Replacement:
    return lambda self, entry, arrived: right(self, entry, True)


@_mutant(Timers, "_renew")
def _leases_are_not_renewed(right: Any) -> Replacement:
    return lambda self: None


# Counts, records, memory


@_mutant(Refuser, "keep")
def _nothing_is_kept_of_what_is_refused(right: Any) -> Replacement:
    def keep(
        self: Refuser, publication: Publication, refused: Refused, answer: str, observed: bool = False
    ) -> None:
        if observed:
            right(self, publication, refused, answer, observed)

    return keep


@_mutant(Refuser, "_count")
def _refusals_count_twice(right: Any) -> Replacement:
    def count(self: Refuser, refused: Refused) -> None:
        right(self, refused)
        right(self, refused)

    return count


@_mutant(Refuser, "refuse")
def _refusals_have_another_reason(right: Any) -> Replacement:
    def refuse(self: Refuser, channel: Channel, publication: Publication, refused: Refused) -> None:
        wrong = Refused(Reason.SIG_VERSION, authenticated=refused.authenticated)
        right(self, channel, publication, wrong)

    return refuse


@_mutant(ClientFrames, "abandon")
def _unfinished_content_stays_in_memory(right: Any) -> Replacement:
    def abandon(self: ClientFrames, channel: Channel) -> None:
        channel.content = None

    return abandon


# Ends


@_mutant(ClientFrames, "drop_held")
def _closes_that_cross_are_forgotten(right: Any) -> Replacement:
    return lambda self, channel: self.discard(channel)


@_mutant(Refuser, "close_when_answered")
def _a_channel_is_closed_before_the_broker_has_answered(right: Any) -> Replacement:
    return lambda self, channel, force=False: right(self, channel, True)


@_mutant(Closing, "expire")
def _closes_have_no_deadline(right: Any) -> Replacement:
    return lambda self: None


@_mutant(Closing, "_answer_client_close")
def _the_clients_close_is_not_answered(right: Any) -> Replacement:
    return lambda self: None


@_mutant(Timers, "_heartbeat")
def _no_heartbeats_are_sent_and_none_are_missed(right: Any) -> Replacement:
    return lambda self, side, leg, paused: None


@_mutant(BrokerFrames, "_body")
def _deliveries_are_cut_short(right: Any) -> Replacement:
    def body(self: BrokerFrames, channel: Channel, frame: Any) -> None:
        frame.raw = frame.raw[:-9] + frame.raw[-1:] if len(frame.payload) > 8000 else frame.raw
        right(self, channel, frame)

    return body


@_mutant(Channel, "spoken_for")
def _refusals_are_told_in_the_middle_of_a_delivery(right: Any) -> Any:
    return property(lambda self: self.state is ChannelState.OPENING or self.selecting)


@_mutant(Outbox, "mute_client")
def _the_client_is_told_more_after_its_end(right: Any) -> Replacement:
    return lambda self: None


# Messages that wait


@_mutant(Detours, "hold")
def _messages_over_their_rate_go_on_at_once(right: Any) -> Replacement:
    return lambda self, publication, accepted, detour: accepted


@_mutant(ReadyQueues, "fresh")
def _queues_are_used_before_they_are_there(right: Any) -> Replacement:
    return lambda self, broker, vhost, name, now: True


@_mutant(Detours, "_not_held")
def _a_nonce_stays_taken_when_there_is_no_queue_to_wait_in(right: Any) -> Replacement:
    def not_held(self: Detours, publication: Publication, accepted: Accepted, trouble: str) -> Refused:
        publication.granted = False
        refused: Refused = right(self, publication, accepted, trouble)
        return refused

    return not_held


@_mutant(Waits, "detour")
def _messages_wait_from_when_they_are_sent_and_not_until_their_slot(right: Any) -> Replacement:
    def detour(self: Waits, *args: Any) -> Any:
        found = right(self, *args)
        return replace(found, until=None if found.until is None else found.until + 0.5)

    return detour


@_mutant(Detours, "queue_declared")
def _what_waited_for_a_queue_waits_on(right: Any) -> Replacement:
    def queue_declared(self: Detours, event: Any) -> list[Publication]:
        waiting: list[Publication] = right(self, event)
        return waiting[:1]

    return queue_declared
