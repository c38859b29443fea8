"""The ledger of deliveries that want an answer."""

from __future__ import annotations

from sealgate.session.unacked import Unacked


def ledger(handed: list[int], kept: list[int]) -> Unacked:
    unacked = Unacked()
    for tag in sorted(handed + kept):
        unacked.keep(tag)
    for tag in handed:
        unacked.hand_over(tag)
    return unacked


def test_up_to_a_tag() -> None:
    unacked = ledger([1, 2, 4, 7], [])
    assert unacked.answered_up_to(4) == [1, 2, 4]
    assert unacked.answers_for([1, 2, 4]) == [(4, True)]
    assert not unacked.has(2) and unacked.has(7)
    assert unacked.answered_up_to(0) == [7]
    assert unacked.answers_for([7]) == [(7, False)]
    assert len(unacked) == 0


def test_kept_ones_are_not_spanned() -> None:
    unacked = ledger([1, 2, 4, 5], [3])
    assert unacked.answers_for(unacked.answered_up_to(5)) == [(2, True), (4, False), (5, False)]
    assert len(unacked) == 1
    unacked.let_go(3)
    assert len(unacked) == 0


def test_first_kept_leaves_only_single_answers() -> None:
    unacked = ledger([2, 3], [1])
    assert unacked.answers_for(unacked.answered_up_to(0)) == [(2, False), (3, False)]


def test_handed_over_out_of_order() -> None:
    unacked = ledger([3, 1, 4, 2], [])
    assert unacked.answered_up_to(3) == [1, 2, 3]
    assert unacked.answered_up_to(3) == []
    unacked.answered(4)
    unacked.hand_over(5)
    assert unacked.answered_up_to(0) == [5]


def test_nothing_is_left_behind_by_many_that_are_answered_one_by_one() -> None:
    unacked = Unacked()
    for tag in range(1, 5001):
        unacked.keep(tag)
        unacked.hand_over(tag)
        if tag > 10:
            unacked.answered(tag - 10)
    assert len(unacked) == 10
    assert len(unacked._order) == 10
    unacked.clear()
    assert len(unacked) == 0 and not unacked.has(5000)


def test_nothing_to_answer() -> None:
    assert Unacked().answered_up_to(0) == []
    assert Unacked().answers_for([]) == []


def test_one_that_is_kept_for_hours_leaves_nothing_of_the_others_behind() -> None:
    """A worker holds a task with an ETA unacknowledged, and works off all others meanwhile."""
    unacked = ledger([1], [])
    for tag in range(2, 50_001):
        unacked.keep(tag)
        unacked.hand_over(tag)
        unacked.answered(tag)
    assert len(unacked) == 1
    assert len(unacked._order) < 1000
    unacked.keep(50_001)
    unacked.hand_over(50_001)
    assert unacked.answered_up_to(0) == [1, 50_001]


def test_order_of_many_that_are_open_is_kept_when_it_is_tidied() -> None:
    unacked = ledger(list(range(1, 3001)), [])
    for tag in range(2, 3001, 2):
        unacked.answered(tag)
    for tag in range(3001, 6001):
        unacked.keep(tag)
        unacked.hand_over(tag)
        unacked.answered(tag)
    assert unacked.answered_up_to(5) == [1, 3, 5]
    assert unacked.answered_up_to(0) == list(range(7, 3001, 2))
