"""Publishes that bounds change: the changed header, the count, and what a client gets back of one."""

from __future__ import annotations

from typing import Final

from sealgate.session.channel import Publication, token_of
from sealgate.session.confirms import Seal
from sealgate.session.conversation import Conversation
from sealgate.session.originals import Originals
from sealgate.session.records import ClampRecord
from sealgate.signing.canonical import ABSOLUTE_NAMES, OMITTED_FOR_SEAL, TOKEN_NAME
from sealgate.verify.bounds import Edits
from sealgate.verify.message import Message
from sealgate.verify.verdict import Accepted
from sealgate.wire.properties import edit, scan_content_header


def edited(message: Message, edits: Edits) -> Message:
    """The message with `edits` made and every other octet kept.

    Raises `GateError` header.* when its header table outgrows a limit.
    """
    payload = edit(message.header, edits.entries, edits.fields)
    return Message(
        message.exchange,
        message.routing_key,
        message.mandatory,
        scan_content_header(payload, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME),
        message.body,
        message.body_sha256,
    )


class Clamping:
    """Keeps account of the changed publishes of one conversation."""

    __slots__ = ("_conversation",)

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation

    def note(self, publication: Publication, accepted: Accepted, edits: Edits) -> None:
        """`publication` goes upstream, changed, or as it came where rules only observe."""
        conversation = self._conversation
        tally = conversation.terms.tally
        counts = tally.would_clamp if edits.observed else tally.clamped
        for bound in edits.bounds:
            counts[bound] += 1
        peer = conversation.peer
        conversation.out.tell_clamp(
            ClampRecord(
                tuple(edits.bounds),
                edits.observed,
                accepted.kid,
                conversation.terms.verifier.task_label(accepted.task),
                peer.vhost,
                peer.user,
                peer.address,
            )
        )
        if publication.publish.mandatory and not edits.observed:
            self._keep(publication)

    def _keep(self, publication: Publication) -> None:
        """Keep what the client sent until the broker has answered it."""
        conversation = self._conversation
        header = publication.header
        assert header is not None and publication.sealed is not None  # it was changed
        sent = scan_content_header(publication.sealed, OMITTED_FOR_SEAL, ABSOLUTE_NAMES, TOKEN_NAME)
        publish = publication.publish
        seal = publication.kept = Seal(token_of(sent), publish.exchange, publish.routing_key)
        if conversation.originals is None:
            conversation.originals = Originals(conversation.terms.tally)
        conversation.originals.keep(publication.channel, seal, header.payload)
