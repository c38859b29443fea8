from __future__ import annotations

from sealgate.quarantine.pending import OVERHEAD_BYTES, Pending, size_of
from support.refusals import refusal

SIZE = size_of(refusal(b"x" * 100))


def filled(count: int, bytes_max: int = 10**9) -> Pending:
    pending = Pending(count_max=1000, bytes_max=bytes_max)
    for number in range(count):
        pending.add(str(number), refusal(b"x" * 100))
    return pending


def ids(pending: Pending, count_max: int = 100, bytes_max: int = 10**9) -> list[str]:
    return [entry.id for entry in pending.batch(count_max, bytes_max)]


def test_the_size_of_a_record_is_its_bytes_and_what_it_costs_besides() -> None:
    assert size_of(refusal(b"", method=b"m" * 3, header=b"h" * 5)) == 8 + OVERHEAD_BYTES


def test_there_is_room_up_to_the_count_and_not_beyond() -> None:
    pending = Pending(count_max=2, bytes_max=10**9)
    for number in range(2):
        assert pending.has_room(refusal())
        pending.add(str(number), refusal())
    assert not pending.has_room(refusal())


def test_there_is_room_up_to_the_last_byte_and_not_beyond() -> None:
    assert filled(2, bytes_max=3 * SIZE).has_room(refusal(b"x" * 100))
    assert not filled(2, bytes_max=3 * SIZE - 1).has_room(refusal(b"x" * 100))


def test_a_record_that_alone_is_too_big_never_fits() -> None:
    assert not Pending(count_max=10, bytes_max=1000).has_room(refusal(b"x" * 1000))


def test_removing_gives_the_room_back() -> None:
    pending = filled(3)
    assert pending.size_bytes == 3 * SIZE
    for entry in list(pending):
        pending.remove(entry)
    assert (len(pending), pending.size_bytes) == (0, 0)


def test_a_batch_is_the_oldest_up_to_its_count() -> None:
    assert ids(filled(5), count_max=3) == ["0", "1", "2"]


def test_a_batch_stops_at_its_bytes() -> None:
    assert ids(filled(5), bytes_max=2 * SIZE) == ["0", "1"]
    assert ids(filled(5), bytes_max=2 * SIZE - 1) == ["0"]


def test_a_batch_has_one_entry_however_big() -> None:
    assert ids(filled(5), bytes_max=1) == ["0"]


def test_an_entry_that_failed_before_goes_alone() -> None:
    pending = filled(4)
    second = list(pending)[1]
    second.attempts = 1
    assert ids(pending) == ["0"]
    pending.remove(next(iter(pending)))
    assert ids(pending) == ["1"]
    pending.remove(second)
    assert ids(pending) == ["2", "3"]


def test_nothing_waiting_is_no_batch() -> None:
    assert ids(filled(0)) == []
