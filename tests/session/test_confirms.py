"""The delivery-tag ledger, alone: every client tag is answered once, and no answer spans a refused tag."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.session.confirms import ConfirmLedger, Seal
from sealgate.verify.verdict import Claim

CLAIM = Claim(b"n", b"d", 0, 0, ())


class Client:
    """What a client believes, with the strictest reading of `multiple`: all its unanswered tags up to it."""

    def __init__(self) -> None:
        self.sent = 0
        self.answers: dict[int, str] = {}
        self.local: set[int] = set()

    def told(self, tag: int, multiple: bool, what: str) -> None:
        assert tag not in self.answers, f"tag {tag} answered twice"
        covered = [t for t in range(1, tag + 1) if t not in self.answers] if multiple else [tag]
        # amqp091-go reads a multiple answer over tags it has seen answered out of order (protocol.md C2).
        open_below = [t for t in range(1, tag) if t not in self.answers]
        if multiple and open_below:
            assert not any(open_below[0] < t < tag for t in self.local), (
                "a multiple answer spans a refused tag"
            )
        for t in covered:
            assert t not in self.local
            self.answers[t] = what


def forward(ledger: ConfirmLedger, client: Client) -> None:
    client.sent += 1
    ledger.forwarded(None, None)


def test_without_refusals_answers_pass_unchanged() -> None:
    ledger, client = ConfirmLedger(), Client()
    for _ in range(4):
        forward(ledger, client)
    answered = ledger.answered(3, True)
    assert answered.unchanged
    assert answered.answers == [(3, True)]
    assert [entry.client_tag for entry in answered.settled] == [1, 2, 3]
    assert len(ledger) == 1


def test_multiple_answer_is_split_around_a_refused_tag() -> None:
    ledger, client = ConfirmLedger(), Client()
    forward(ledger, client)
    forward(ledger, client)
    assert ledger.answered_here() == 3
    forward(ledger, client)
    forward(ledger, client)
    answered = ledger.answered(4, True)
    assert not answered.unchanged
    assert answered.answers == [(2, True), (5, True)]


def test_single_answers_are_mapped_past_a_refused_tag() -> None:
    ledger = ConfirmLedger()
    assert ledger.answered_here() == 1
    ledger.forwarded(None, None)
    assert ledger.answered(1, False).answers == [(2, False)]


def test_zero_with_multiple_answers_all_that_is_outstanding() -> None:
    ledger, client = ConfirmLedger(), Client()
    for _ in range(3):
        forward(ledger, client)
    assert ledger.answered(0, True).answers == [(3, True)]
    assert len(ledger) == 0


def test_answer_for_an_unknown_tag_settles_nothing() -> None:
    answered = ConfirmLedger().answered(7, False)
    assert answered.answers == []
    assert answered.settled == []


def test_returned_publish_is_found_by_its_seal_and_its_target() -> None:
    ledger = ConfirmLedger()
    ledger.forwarded(CLAIM, Seal(b"one", "", "q"))
    ledger.forwarded(CLAIM, Seal(b"two", "", "q"))
    ledger.forwarded(None, Seal(b"one", "", "q"))
    ledger.returned(Seal(b"two", "", "q"))
    ledger.returned(Seal(b"one", "x", "q"))
    ledger.returned(Seal(b"one", "", "p"))
    ledger.returned(Seal(b"three", "", "q"))
    settled = ledger.answered(3, True).settled
    assert [entry.returned for entry in settled] == [False, True, False]


def test_ledger_knows_whether_claims_wait() -> None:
    ledger = ConfirmLedger()
    ledger.forwarded(None, None)
    assert not ledger.owes_claims()
    ledger.forwarded(CLAIM, None)
    assert ledger.owes_claims()
    ledger.answered(2, True)
    assert not ledger.owes_claims()


@given(st.data())
def test_any_mix_of_answers_gives_each_tag_its_own_answer_once(data: st.DataObject) -> None:
    ledger, client = ConfirmLedger(), Client()
    broker_sent = 0
    outstanding: dict[int, int] = {}  # broker tag -> client tag
    expected: dict[int, str] = {}
    for _ in range(data.draw(st.integers(1, 60))):
        step = data.draw(st.sampled_from(("forward", "forward", "refuse", "ack", "nack", "ack*", "nack*")))
        if step == "forward":
            forward(ledger, client)
            broker_sent += 1
            outstanding[broker_sent] = client.sent
        elif step == "refuse":
            client.sent += 1
            tag = ledger.answered_here()
            assert tag == client.sent
            client.local.add(tag)
            client.answers[tag] = "refused"
            expected[tag] = "refused"
        elif outstanding:
            tag = data.draw(st.sampled_from(sorted(outstanding)))
            several = step.endswith("*")
            what = step.rstrip("*")
            covered = [t for t in outstanding if t <= tag] if several else [tag]
            for t in covered:
                expected[outstanding.pop(t)] = what
            for client_tag, multiple in ledger.answered(tag, several).answers:
                client.told(client_tag, multiple, what)
        assert client.answers == expected
        assert len(ledger) == len(outstanding)


@given(st.lists(st.sampled_from(["sent", "held", "lost", "refused"]), max_size=12), st.data())
def test_a_publish_that_was_lost_is_nacked_alone_and_every_other_answer_is_the_brokers(
    what: list[str], data: st.DataObject
) -> None:
    ledger, client = ConfirmLedger(), Client()
    expected: dict[int, str] = {}
    for number, kind in enumerate(what, 1):
        client.sent += 1
        expected[number] = "nack" if kind in ("lost", "refused") else "ack"
        if kind == "refused":
            assert ledger.answered_here() == number
            client.told(number, False, "nack")
            client.local.add(number)
            continue
        seal = None if kind == "sent" else Seal(b"%d" % number, "", "q")
        ledger.forwarded(CLAIM, seal)
        if kind == "lost":
            assert seal is not None
            ledger.lost(seal)
    left = [number for number, kind in enumerate(what, 1) if kind != "refused"]
    broker_tag = 0
    while broker_tag < len(left):
        several = data.draw(st.integers(1, len(left) - broker_tag))
        multiple = several > 1 or data.draw(st.booleans())
        broker_tag += several
        answered = ledger.answered(broker_tag, multiple)
        for tag, many in answered.answers:
            client.told(tag, many, "nack" if tag in answered.lost else "ack")
        assert not (answered.unchanged and answered.lost)
    assert client.answers == expected
    assert not len(ledger)


@given(st.data())
def test_the_short_way_does_what_the_ordinary_one_does_or_nothing(data: st.DataObject) -> None:
    ledgers = short, ordinary = ConfirmLedger(), ConfirmLedger()
    sent = 0
    for _ in range(data.draw(st.integers(1, 40))):
        step = data.draw(
            st.sampled_from(
                ("plain", "plain", "claim", "claim", "claim", "mandatory", "refused", "ack", "ack", "ack*")
            )
        )
        if step in ("plain", "claim", "mandatory"):
            sent += 1
            seal = Seal(b"%d" % sent, "", "q") if step == "mandatory" else None
            for ledger in ledgers:
                ledger.forwarded(CLAIM if step == "claim" else None, seal)
        elif step == "refused":
            assert short.answered_here() == ordinary.answered_here()
        else:
            tag, multiple = (
                data.draw(st.sampled_from((sent, sent - 1, sent // 2, 0, sent + 1))),
                step == "ack*",
            )
            before = [entry.client_tag for entry in short.outstanding()]
            answered = ordinary.answered(tag, multiple)
            claims = short.confirmed(tag, multiple)
            if claims is not None:
                assert answered.unchanged
                assert all(entry.seal is None for entry in answered.settled)
                assert claims == [entry.claim for entry in answered.settled if entry.claim is not None]
            else:
                assert [entry.client_tag for entry in short.outstanding()] == before
                short.answered(tag, multiple)
            assert short.owes_claims() == ordinary.owes_claims()
        left = [[entry.client_tag for entry in ledger.outstanding()] for ledger in ledgers]
        assert left[0] == left[1]


def test_the_short_way_is_taken() -> None:
    ledger = ConfirmLedger()
    claims = [Claim(b"%d" % number, b"d", 0, 0, ()) for number in range(4)]
    for claim in (None, *claims, None):
        ledger.forwarded(claim, None)
    assert ledger.confirmed(1, False) == []
    assert ledger.confirmed(3, False) == [claims[1]]
    assert ledger.confirmed(4, True) == [claims[0], claims[2]]
    assert [entry.client_tag for entry in ledger.outstanding()] == [5, 6]
    assert ledger.confirmed(6, True) == [claims[3]]
    assert len(ledger) == 0


@pytest.mark.parametrize("claim", [CLAIM, None])
@pytest.mark.parametrize("multiple", [False, True])
def test_the_short_way_settles_nothing_that_may_be_returned(claim: Claim | None, multiple: bool) -> None:
    ledger = ConfirmLedger()
    ledger.forwarded(claim, Seal(b"s", "", "q"))
    assert ledger.confirmed(1, multiple) is None
    assert len(ledger.answered(1, multiple).settled) == 1


def test_what_is_answered_is_let_go() -> None:
    """However long a channel lives, and whatever is answered late."""
    ledger = ConfirmLedger()
    for tag in range(1, 10_001):
        ledger.forwarded(CLAIM, None)
        if tag % 100 == 0:
            ledger.answered(tag, True)
        elif tag % 3:
            assert ledger.confirmed(tag, False) == [CLAIM]
        assert len(ledger._entries) <= 2 * len(ledger) + 128
    assert len(ledger) == 0


def test_what_is_answered_is_not_kept_for_the_sake_of_what_never_is() -> None:
    ledger = ConfirmLedger()
    late = {1: 1, 2: 2, 3001: 3003, 9001: 9003}  # broker tag -> client tag
    for tag in range(1, 20_001):
        ledger.forwarded(CLAIM, None)
        if tag not in late and ledger.confirmed(tag, False) is None:
            ledger.answered(tag, False)
        if tag == 3000:
            assert [ledger.answered_here(), ledger.answered_here()] == [3001, 3002]
    assert len(ledger) == len(late)
    assert [entry.client_tag for entry in ledger.outstanding()] == list(late.values())
    assert sys.getsizeof(ledger._entries) < 100_000
    assert ledger.confirmed(20_000, True) is None, "it would pass over what is answered late"
    assert ledger.answered(2, False).answers == [(2, False)]
    assert not ledger.answered(2, False).answers
    # What was refused is below all that is left but the first.
    assert ledger.answered(3001, True).answers == [(1, True), (3003, True)]
    assert ledger.answered(0, True).answers == [(9003, True)]
    assert not len(ledger)
    assert not ledger.owes_claims()
