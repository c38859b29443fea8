"""The oracle of one gate: it sees every byte on all four wires, every claim and every record.

It knows what must become of each publish from how it was made and what the store said, and looks after each
event whether exactly that has happened: nothing unaccepted at the broker, everything accepted there
once, in order and unchanged; one count, one answer and one record for each refusal; delivery tags as on a
direct connection; claims settled once; memory within its limits; and nothing left when all is over.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from operator import itemgetter
from typing import Final

from sealgate.session.channel import Publication, held_size
from sealgate.session.commands import RequestClaims
from sealgate.session.conversation import Role
from sealgate.session.holding import HoldingQueue
from sealgate.session.records import RefusalRecord
from sealgate.session.session import Session
from sealgate.session.states import State
from sealgate.verify.verdict import Claim, ClaimOutcome, ClaimStatus
from sim import octets
from sim.expect import answer_to, decide, is_guess, needs_store, returned_header
from sim.libraries import results
from sim.messages import text64
from sim.script import Life, Method, Publish
from sim.shared import Marks, Run, Said, is_awaited
from sim.watch_broker import BrokerWatch
from sim.watch_client import ClientWatch
from sim.world import READ_BYTES_MAX

#: A frame that waits counts for its objects too: eight octets for up to this many times as much.
_HELD_PER_READ_BYTE: Final = 34
_GRANTS: Final = (ClaimStatus.GRANTED, ClaimStatus.DEGRADED)
#: How long a queue that was declared is used as it is, seconds.
FRESH_S: Final = 300.0


class Oracle:
    """Raises AssertionError for the first thing that is not as it must be."""

    def __init__(self, run: Run, name: str) -> None:
        self.run: Final = run
        self.name: Final = name
        self.lives: Final[dict[int, list[Life]]] = defaultdict(list)
        self.client: Final = ClientWatch(run, name, self.lives)
        self.broker: Final = BrokerWatch(run, name, self.lives)
        self.client_marks: Final[Marks[tuple[Method | Publish | str, int]]] = Marks()
        self.broker_marks: Final[Marks[Said]] = Marks()
        #: A leg is over for the gate: it was told so, or has asked for it.
        self.client_over = False
        self.broker_over = False
        #: The client broke the protocol, or closed the connection: nothing it said after that counts.
        self.poisoned = False
        self.bye = False
        #: The client was gone, or as good as gone, before the gate closed its socket.
        self.client_left = False
        self._claims: Final[dict[int, Publish]] = {}
        #: Those that the session asked about while it read them, by their claims.
        self._read: Final[dict[int, Publish]] = {}
        self._asked: Final[deque[Publish]] = deque()
        #: By target: publishes that wait for a queue, and the queues that are being declared for them.
        self._undeclared: Final[dict[tuple[str, str], list[Publish]]] = {}
        self._declaring: Final[set[tuple[str, str]]] = set()
        self._claim_cursor: Final[dict[int, tuple[int, int]]] = {}
        self._record_cursor: Final[dict[int, tuple[int, int]]] = {}
        self._inflight = 0
        self._arrivals = 0
        self._guesses: Final[deque[float]] = deque()
        # Since the last look.
        self._recorded: list[Publish] = []
        self._given_back: list[Publish] = []
        self._verdicts: list[Publish] = []
        self._heard: list[Life] = []

    # What the gate is given

    def fed_by_client(self, data: bytes) -> None:
        for item, part in self.client_marks.delivered(len(data)):
            if isinstance(item, str):
                self.run.world.say(f"{self.name}: client > gate", item)
                self.poisoned = self.poisoned or item == "poison"
                self.bye = self.bye or item == "bye"
                continue
            if self.poisoned:
                continue
            if isinstance(item, Method):
                self.run.world.say(f"{self.name}: client > gate", item)
                item.arrived = True
                continue
            item.announced = item.announced or part >= 1
            if part == len(item.frames) - 1:
                self.run.world.say(f"{self.name}: client > gate", item)
                self._arrivals += 1
                item.arrived = self._arrivals

    def fed_by_broker(self, data: bytes) -> None:
        for frame, what, life, publishes in self.broker_marks.delivered(len(data)):
            self.run.world.say(f"{self.name}: broker > gate", frame)
            if life is not None:
                self._broker_said(life, frame, what, publishes)

    def _broker_said(self, life: Life, frame: octets.Frame, what: str, publishes: list[Publish]) -> None:
        if what in ("ack", "nack"):
            for publish in publishes:
                publish.verdict = what
            self._verdicts += publishes
            tag, multiple = octets.tag_of(frame.payload)
            if not life.told_closed:
                for reader in life.direct:
                    reader.answered(what, tag, multiple)
            return
        if what == "return":
            for publish in publishes:
                publish.returned = True
        elif what == "returned header":
            frame = frame._replace(payload=returned_header(frame.payload, self.run.settings))
        elif what == "close":
            life.broker_closed = True
        elif what == "close-ok":
            life.close_ok_heard = True
        if not life.told_closed and not self.client_over and not self.client.over:
            life.expect(frame, self.run.settings.apart)
            self._heard.append(life)

    def lost_broker(self) -> None:
        """The broker's side is over for the gate: what it did not answer by now is in doubt."""
        self.broker_over = True
        for lives in self.lives.values():
            for life in lives:
                life.upstream_lost = True

    # What the gate does

    def asks(self, request: RequestClaims) -> None:
        for publication in request.publications:
            publish = self._asked_about(publication)
            publish.asked = True
            self._inflight += 1

    def asks_itself(self, claim: Claim, outcome: ClaimOutcome | None, listens: Callable[[int], bool]) -> None:
        """The session asks while it reads a publish. Without an outcome it asks once more, or later.

        `listens` says whether it still takes what was published on a channel.
        """
        publish = self._read.get(id(claim)) or self._read_now(claim, listens)
        self._read[id(claim)] = publish
        if outcome is not None:
            self._note_claim(publish, claim)
            publish.asked = True
            self._inflight += 1
            self.answered([claim], [outcome])

    def _read_now(self, claim: Claim, listens: Callable[[int], bool]) -> Publish:
        """The one that arrived first of those that `claim` may be of.

        One message may be on its way on several channels; it is not read on one that was just closed.
        """
        read = {id(publish) for publish in self._read.values()}
        found = [
            (not listens(number), publish.arrived, publish)
            for number in self.lives
            for _, publish in self._publishes(number, self._claim_cursor.get(number, (0, 0)))
            if publish.message.digest == claim.digest
            and publish.arrived
            and id(publish) not in read
            and not publish.life.dead
            and needs_store(publish, self.run.settings)
        ]
        assert found, "the store was asked about what the client did not publish"
        return min(found, key=itemgetter(0, 1))[2]

    def _asked_about(self, publication: Publication) -> Publish:
        """The next publish on this channel that needs the store: whatever lies between must have ended."""
        number = publication.channel
        start = self._claim_cursor.get(number, (0, 0))
        for place, publish in self._publishes(number, start):
            if publish.life.dead or not publish.arrived or not needs_store(publish, self.run.settings):
                continue
            if publish.asked:
                continue
            if _is(publish, publication.method.payload, publication.header, publication.bodies):
                self._claim_cursor[number] = (place[0], place[1] + 1)
                self._check_claim(publish, publication)
                return publish
            assert publish.life.ending, f"the store was not asked about {publish}"
        raise AssertionError("the store was asked about what the client did not publish")

    def _check_claim(self, publish: Publish, publication: Publication) -> None:
        assert publication.asked is not None
        assert publication.asked.claim is not None
        self._note_claim(publish, publication.asked.claim)

    def _note_claim(self, publish: Publish, claim: Claim) -> None:
        assert claim.digest == publish.message.digest, "the digest of a claim"
        assert claim.nonce_key.endswith(text64(publish.message.nonce)), "the nonce of a claim"
        assert bool(claim.nonce_key) == bool(publish.message.nonce)
        self._claims[id(claim)] = publish
        publish.claim = claim

    def _publishes(self, number: int, start: tuple[int, int]) -> list[tuple[tuple[int, int], Publish]]:
        """Publishes on a channel number from a place on, with their places: (life, item)."""
        found: list[tuple[tuple[int, int], Publish]] = []
        lives = self.lives[number]
        for index in range(start[0], len(lives)):
            script = lives[index].script
            first = start[1] if index == start[0] else 0
            for at in range(first, len(script)):
                item = script[at]
                if isinstance(item, Publish):
                    found.append(((index, at), item))
        return found

    def answered(self, claims: list[Claim], outcomes: list[ClaimOutcome]) -> None:
        """The store's answer is about to be given to the gate."""
        for claim, outcome in zip(claims, outcomes, strict=True):
            publish = self._claims[id(claim)]
            publish.outcome = outcome.status
            self._inflight -= 1
            if outcome.held:
                self._held(publish, outcome.wait_us)
            self.run.world.say(f"{self.name}: store > gate", f"{publish}: {outcome.status.value}")

    def _held(self, publish: Publish, wait_us: int) -> None:
        """It is to go through a queue, which is there or has to be declared."""
        world = self.run.world
        publish.held = True
        publish.slot = world.now + wait_us / 1_000_000
        target = publish.message.exchange.decode(), publish.message.routing_key.decode()
        known = self.run.queues.get(target)
        if known is not None and world.now - known[1] < FRESH_S:
            publish.way = ""
        else:
            self._undeclared.setdefault(target, []).append(publish)

    def declares(self, queue: HoldingQueue) -> None:
        """It is asked for once, and by who needs it."""
        target = queue.exchange, queue.routing_key
        assert self._undeclared.get(target), f"nobody needs {queue}"
        assert target not in self._declaring, f"{queue} is declared twice at once"
        assert queue.name == self.run.queues.get(target, (queue.name, 0.0))[0], "another queue for the same"
        self._declaring.add(target)

    def declared(self, queue: HoldingQueue, trouble: str) -> None:
        """The answer is about to be given to the gate."""
        target = queue.exchange, queue.routing_key
        self._declaring.discard(target)
        if not trouble:
            self.run.queues[target] = queue.name, self.run.world.now
        for publish in self._undeclared.pop(target, []):
            publish.way = trouble

    def settles(self, commits: list[Claim], releases: list[Claim]) -> None:
        for claim in commits:
            publish = self._settled(claim, "commit")
            assert publish.forwarded, f"{publish} was committed and not forwarded"
            arrived = publish.verdict == "ack" and not publish.returned
            assert arrived or not publish.tag, f"{publish} was committed and did not arrive"
        for claim in releases:
            publish = self._settled(claim, "release")
            if not publish.forwarded:
                publish.released = True
                self._given_back.append(publish)
            else:
                failed = publish.verdict == "nack" or publish.returned
                assert failed and publish.tag, f"{publish} was given back and may have arrived"

    def _settled(self, claim: Claim, how: str) -> Publish:
        publish = self._claims[id(claim)]
        assert publish.outcome in _GRANTS, f"{publish} was settled and not granted"
        publish.settled = how
        self.run.world.say(f"{self.name}: gate > store", f"{how} {publish}")
        return publish

    def keeps(self, record: RefusalRecord) -> None:
        """A record belongs to the next publish on its channel that is refused (or observed) like it."""
        settings = self.run.settings
        start = self._record_cursor.get(record.channel, (0, 0))
        skipped: list[Publish] = []
        for place, publish in self._publishes(record.channel, start):
            looked_at = publish.announced and not publish.life.dead
            decision = decide(publish, settings) if looked_at else None
            if decision is None or not decision.reason:
                continue
            if decision.reason != record.reason.value or not _is_record_of(publish, record):
                skipped.append(publish)
                continue
            for other in skipped:
                assert other.life is not publish.life, f"{publish} was refused before {other}"
                assert other.life.ending, f"nothing is kept of {other}"
            self._record_cursor[record.channel] = (place[0], place[1] + 1)
            self._kept(publish, record, decision.passes)
            return
        raise AssertionError(f"a record of nothing the client sent: {record.reason.value}")

    def _kept(self, publish: Publish, record: RefusalRecord, passes: bool) -> None:
        self.run.world.say(
            f"{self.name}: gate > quarantine", f"{publish}: {record.reason.value}, {record.answer}"
        )
        assert not publish.recorded, f"{publish} was kept twice"
        publish.recorded = True
        publish.reason = record.reason.value
        publish.answer = record.answer
        assert record.observed == passes, "observed or not"
        assert publish.life.refused is None, (
            f"{publish} was looked at after a refusal that closes its channel"
        )
        if passes:
            assert publish.forwarded, f"{publish} was observed and not forwarded"
            assert record.answer == "forwarded"
            return
        assert not publish.forwarded, f"{publish} was refused and forwarded"
        self._check_place(publish)
        due = answer_to(publish, publish.reason, self.run.settings)
        assert record.answer == due, f"{publish}: answered by {record.answer}, not by {due}"
        self.run.counts["refused", publish.reason] += 1
        self.run.totals["refused"] += 1
        if not publish.tag and publish.reason != "replay.duplicate":
            self.run.unconfirmed_refusals += 1
        if due == "channel.close":
            publish.life.refused = publish
            publish.life.refused_at = self.run.world.now
        if self.run.settings.role is Role.VERIFY and is_guess(publish, publish.reason):
            self._guesses.append(self.run.world.now)
        self._recorded.append(publish)

    def _check_place(self, publish: Publish) -> None:
        """A refusal is told in its turn: all that went before on its channel has been carried out."""
        life = publish.life
        at = life.script.index(publish)
        for item in life.script[life.cursor : at]:
            done = isinstance(item, Publish) and item.recorded
            assert done, f"{publish} was refused before {item} was carried out"
        for item in life.script[at : life.cursor]:
            assert (
                answer_to(publish, publish.reason, self.run.settings) != "channel.close" or item is publish
            ), f"{item} was forwarded although {publish} closes the channel"

    # Looking

    def look(self, session: Session, quiet: bool) -> None:
        """After every event, when everything it led to is carried out; `quiet` when that was nothing."""
        self._look_at_memory(session)
        if quiet and not self._heard and not self._verdicts:
            return
        for publish in self.broker.forwarded:
            self._look_at_forwarded(publish)
        for life in self.broker.own_closes:
            refused = life.refused is not None or life.broker_closed
            assert refused, "the gate closed a channel at the broker without a refusal"
        for life, text in self.client.closes:
            assert life.refused is not None, "the gate closed a channel without a refusal"
            waited_s = self.run.world.now - life.refused_at
            owed = [one for one in life.forwarded if not one.verdict and not life.broker_closed]
            patient = not owed or waited_s >= self.run.settings.limits.close_s
            assert patient, f"the channel was closed before the broker had answered {owed[0]}"
            due = f"ACCESS_REFUSED - sealgate: {life.refused.reason}"
            assert text.startswith(due), f"{text} for {life.refused}"
        for publish in self._recorded:
            self._look_at_refused(publish)
        assert not self.client.returns, "something was returned that was not refused"
        for publish in self._verdicts:
            self._look_at_verdict(publish)
        for publish in self._given_back:
            ended = (
                publish.life.ending or self.broker_over or self.client.over or self.bye or self.client_over
            )
            # What has no queue to wait in is refused, as soon as that can be told.
            assert ended or publish.way, f"{publish} was given back and can still be forwarded"
        for life in self._heard:
            deaf = life.told_closed or self.client.over or self.client_over or self.broker_over
            size_max = self.client.frame_max - octets.FRAME_OVERHEAD if self.run.settings.apart else 0
            assert deaf or life.may_wait(size_max), f"the client was not told {life.expected[0]}"
        self._forget()
        self.run.check_counts()

    def _forget(self) -> None:
        for life in self.client.ended:
            life.dead = True
        self.client.ended.clear()
        for each in (self.broker.forwarded, self.broker.own_closes, self.client.closes):
            each.clear()
        for since in (self._recorded, self._verdicts, self._given_back, self._heard):
            since.clear()

    def _look_at_forwarded(self, publish: Publish) -> None:
        decision = decide(publish, self.run.settings)
        assert decision is not None
        if self.run.settings.role is Role.SIGN:
            self.run.counts["signed", "ok"] += 1
        elif self.run.settings.role is Role.VERIFY:
            verdict = "observed" if decision.reason else "accepted"
            degraded = publish.outcome is ClaimStatus.DEGRADED
            reason = decision.reason or ("rate.degraded" if degraded else "ok")
            self.run.counts[verdict, reason] += 1
        assert not decision.reason or publish.recorded, f"nothing is kept of {publish}, which is observed"
        self.run.totals["accepted"] += 1
        if publish.held:
            self.run.delayed += 1
            self.run.totals["held"] += 1
        if publish.claim is not None and publish.outcome in _GRANTS and not publish.tag:
            assert publish.settled == "commit", f"{publish} was not committed"

    def _look_at_refused(self, publish: Publish) -> None:
        """Exactly one answer, at once, but for a close that waits for the broker."""
        comes_back = publish.mandatory and publish.message.readable
        can_hear = not self.client.over and not self.client_over
        if publish.answer in ("basic.nack", "basic.ack") and can_hear:
            assert publish.told, f"{publish} was not answered"
        expects_return = publish.answer == "basic.return" or (publish.answer == "basic.nack" and comes_back)
        if expects_return and (can_hear or self.client.returns):
            assert self.client.returns, f"{publish} was not returned"
            returned = self.client.returns.pop(0)
            came = [part.payload for part in returned.content[1:]]
            sent = [frame.payload for frame in publish.frames[1:] if frame.payload]
            assert came == sent, f"{publish} came back changed"
            if publish.tag:
                assert returned.follower is publish, f"the nack of {publish} is not right behind its return"

    def _look_at_verdict(self, publish: Publish) -> None:
        self.run.totals[publish.verdict] += 1
        if publish.returned:
            self.run.totals["returned"] += 1
        can_hear = not self.client.over and not self.client_over and not publish.life.told_closed
        if can_hear:
            assert publish.told, f"the client was not told the {publish.verdict} of {publish}"
        if publish.claim is not None and publish.outcome in _GRANTS:
            due = "commit" if publish.verdict == "ack" and not publish.returned else "release"
            assert publish.settled == due, f"{publish}: {publish.settled or 'no'} settlement, not {due}"

    def _look_at_memory(self, session: Session) -> None:
        conversation = session.conversation
        limits = self.run.settings.limits
        assert conversation.state is not State.ERROR, "a bug of the session's own"
        assert conversation.inflight == self._inflight, "claims in flight"
        assert self._inflight <= limits.claims_inflight_max + READ_BYTES_MAX // 50
        assert 0 <= conversation.partial_bytes <= limits.connection_bytes_max + limits.frame_bytes_max
        held_max = limits.held_bytes_max + READ_BYTES_MAX * _HELD_PER_READ_BYTE
        assert 0 <= conversation.held_bytes <= held_max, "held bytes"
        partial, held = conversation.partial_bytes, conversation.held_bytes
        for channel in conversation.channels.values():
            if channel.content is not None:
                partial -= channel.content.publication.size
            if channel.held:
                held -= sum(held_size(item) for item in channel.held)
        assert not partial, "unfinished content is counted wrong"
        assert not held, "what is held is counted wrong"

    def look_at_leases(self) -> None:
        """Nobody else may be granted what still waits for the broker's answer."""
        if self.broker_over:
            return
        for publish in self._claims.values():
            if is_awaited(publish) and publish.claim is not None and publish.outcome in _GRANTS:
                assert self.run.store.lease_runs(publish.claim), (
                    f"the lease of {publish} ran out while it waits"
                )

    # When nothing moves any more

    def at_rest(self) -> None:
        """Peers and store have done all they owe: what waits now, nobody would ever let go on."""
        assert not self._inflight
        assert not self.broker.half_sent, "half a message at the broker"
        assert not self.client.half_sent, "half a frame at the client"
        for lives in self.lives.values():
            for life in lives:
                self._life_at_rest(life)

    def _life_at_rest(self, life: Life) -> None:
        assert life.state in ("open", "closed"), f"channel {life.number} is still {life.state}"
        if life.state == "closed":
            assert life.told_closed, "closed without a word"
            return
        for item in life.script[life.cursor :]:
            assert isinstance(item, Publish) and item.recorded, f"{item} was never carried out"
        for publish in life.tags:
            assert publish.told, f"{publish} was never answered"
        self._compare(life, whole=True)

    def _compare(self, life: Life, whole: bool) -> None:
        """Every library says of every forwarded publish what it says on a direct connection."""
        for reader, direct in zip(life.readers, life.direct, strict=True):
            said, expected = results(reader), results(direct)
            for tag, publish in enumerate(life.forwarded, 1):
                here, there = said.get(publish.tag), expected.get(tag)
                # A library that is wrong on a direct connection may be right here.
                same = here in (there, publish.verdict) or (not whole and None in (here, there))
                assert same, f"{type(reader).__name__}: {publish} {here}, on a direct connection {there}"
                self.run.totals["compared"] += here is not None
            for publish in life.tags:
                if publish.recorded and not publish.forwarded and publish.told:
                    assert said.get(publish.tag) == publish.told, f"{type(reader).__name__}: {publish}"

    def at_the_end(self, session: Session) -> None:
        """Both legs are gone: nothing is left, and everything is accounted for."""
        conversation = session.conversation
        assert conversation.state is State.CLOSED, f"the session is still {conversation.state.value}"
        assert not conversation.partial_bytes and not conversation.held_bytes, "memory is left"
        assert not conversation.inflight
        told = self.client.over or self.client_left or not self.bye
        assert told, "the client asked for the end of the connection and was not answered"
        self.run.check_counts()
        for lives in self.lives.values():
            for life in lives:
                self._life_at_the_end(life)

    def _life_at_the_end(self, life: Life) -> None:
        for item in life.script[: life.cursor]:
            if isinstance(item, Publish):
                decision = decide(item, self.run.settings)
                assert decision is not None
                assert item.forwarded if decision.passes else item.recorded, f"{item} was passed over"
        for publish in life.publishes():
            if publish.outcome not in _GRANTS:
                assert not publish.settled
            elif not publish.forwarded:
                assert publish.settled == "release", f"the claim of {publish} was never given back"
            elif publish.tag and not publish.verdict:
                assert not publish.settled, f"{publish} is in doubt and was settled"
        self._compare(life, whole=False)

    @property
    def guesses_over(self) -> bool:
        """Whether there were so many failed verifications that the connection must be ended."""
        limits = self.run.settings.limits
        recent = [
            at for at in self._guesses if at > self.run.world.now - limits.failed_verifications_window_s
        ]
        return len(recent) >= limits.failed_verifications_max


def _is(publish: Publish, method: bytes, header: object, bodies: object) -> bool:
    """Whether these raw frames are those of `publish`."""
    payload = getattr(header, "payload", b"")
    body = b"".join(body.payload for body in bodies)  # type: ignore[attr-defined]
    message = publish.message
    return (method, payload, body) == (publish.method, publish.frames[1].payload, message.body)


def _is_record_of(publish: Publish, record: RefusalRecord) -> bool:
    if record.method != publish.method or record.header != publish.frames[1].payload:
        return False
    message = publish.message
    whole = message.fault != "body.size"
    return record.complete == whole and record.body == (message.body if whole else b"")
