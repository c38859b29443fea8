"""Publications on a detour: each goes to a queue that holds it (`holding`) instead of to its target.

Called by `Publishing`, once the claim of one is granted. The warning: until its queue is there nothing of it
is sent, and what follows it on its channel waits.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from sealgate.session.channel import Publication
from sealgate.session.conversation import Conversation
from sealgate.session.events import QueueDeclared
from sealgate.session.holding import Detour
from sealgate.verify.verdict import Accepted, ClaimOutcome, Refused, Verdict
from sealgate.wire.constants import FRAME_HEADER
from sealgate.wire.frames import encode_frame
from sealgate.wire.methods import encode_publish
from sealgate.wire.properties import with_expiration

_MILLISECONDS: Final = 1000


class Detours:
    """Those of one conversation."""

    __slots__ = ("_conversation",)

    def __init__(self, conversation: Conversation) -> None:
        self._conversation: Final = conversation

    def wait(self, publication: Publication, accepted: Accepted, outcome: ClaimOutcome) -> Verdict | None:
        """What `accepted` becomes where its tokens are not there yet: as `hold`."""
        assert accepted.claim is not None  # it was granted tokens
        conversation = self._conversation
        detour = conversation.terms.waits.detour(
            conversation.peer.vhost, publication.publish, accepted.claim, outcome, conversation.now.mono
        )
        return self.hold(publication, accepted, detour)

    def park(self, publication: Publication, verdict: Verdict) -> Verdict | None:
        """What `verdict` becomes where an operator has paused the task; None while its queue is declared."""
        if isinstance(verdict, Refused) or not verdict.parked:
            return verdict
        conversation = self._conversation
        detour = conversation.terms.waits.park(conversation.peer.vhost, publication.publish, verdict.parked)
        return self.hold(publication, verdict, detour)

    def hold(self, publication: Publication, accepted: Accepted, detour: Detour) -> Verdict | None:
        """What `accepted` becomes for a publication that goes on a detour; None while its queue is declared.

        To be called once its claim, if any, is granted, and before it is carried out.
        """
        conversation = self._conversation
        queues = conversation.terms.queues
        now = conversation.now.mono
        vhost, name = conversation.peer.vhost, detour.queue.name
        publication.detour = detour
        publication.asked = accepted
        if queues.fresh(conversation.broker, vhost, name, now):
            return accepted
        waiting = conversation.undeclared.get(name)
        if waiting is not None:
            waiting.append(publication)
            return None
        if not queues.has_room(conversation.broker, vhost, name, now):
            conversation.terms.tally.limits_hit["holding_queues_max"] += 1
            return self._not_held(publication, accepted, f"over {queues.count_max} queues hold messages")
        conversation.undeclared[name] = [publication]
        conversation.out.declare(detour.queue)
        return None

    def queue_declared(self, event: QueueDeclared) -> list[Publication]:
        """A queue is there, or can not be had: the publications that waited for it are decided."""
        conversation = self._conversation
        if not event.trouble:
            conversation.terms.queues.note(
                conversation.broker, conversation.peer.vhost, event.queue, conversation.now.mono
            )
        waiting = conversation.undeclared.pop(event.queue.name, [])
        for publication in waiting:
            accepted = publication.asked
            if publication.dropped or accepted is None:
                continue
            publication.verdict = (
                self._not_held(publication, accepted, event.trouble) if event.trouble else accepted
            )
        return waiting

    def _not_held(self, publication: Publication, accepted: Accepted, trouble: str) -> Refused:
        """Nothing of it was sent anywhere, so its nonce is free again."""
        self.let_go(publication)
        publication.dropped = publication.granted = False
        detour = publication.detour
        assert detour is not None  # it was to be held
        return Refused(
            detour.refusal,
            trouble,
            accepted.kid,
            accepted.task,
            authenticated=True,
            expires=accepted.expires,
        )

    def let_go(self, publication: Publication) -> None:
        """Nothing of it goes upstream: what it was granted is given back."""
        publication.dropped = True
        accepted = publication.asked
        if accepted is not None and accepted.claim is not None and publication.granted:
            self._conversation.out.release(accepted.claim)

    def send(self, publication: Publication, detour: Detour) -> None:
        """Send it to the queue that holds it, for as long as it has to stay there."""
        out = self._conversation.out
        header = publication.header
        assert header is not None  # only what is whole is held
        payload = header.payload if publication.sealed is None else publication.sealed
        if detour.until is not None:
            ttl_ms = max(ceil((detour.until - self._conversation.now.mono) * _MILLISECONDS), 0)
            payload = with_expiration(payload, b"%d" % ttl_ms)
            self._conversation.terms.tally.delayed_by(detour.bucket, detour.wait_s)
        else:
            self._conversation.terms.tally.parked += 1
        out.upstream_method(publication.channel, encode_publish("", detour.queue.name, True))
        out.upstream(encode_frame(FRAME_HEADER, publication.channel, payload))
        for body in publication.bodies:
            out.upstream(body.raw)
