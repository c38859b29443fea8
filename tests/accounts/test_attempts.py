from __future__ import annotations

from sealgate.accounts import attempts as module
from sealgate.accounts.attempts import Attempts, Counter, LockOut

RULE = LockOut(3, 60.0, 10.0)
WIDE = LockOut(6, 60.0, 10.0)


def test_third_failure_within_the_window_locks_for_a_while() -> None:
    counter = Counter(RULE)
    for now in (0.0, 1.0):
        counter.failed("k", now)
        assert not counter.locked("k", now)
    counter.failed("k", 2.0)
    assert counter.locked("k", 2.0)
    assert counter.locked("k", 11.9)
    assert not counter.locked("k", 12.0)


def test_each_further_failure_locks_for_twice_as_long_up_to_a_bound() -> None:
    counter = Counter(RULE)
    for _ in range(3):
        counter.failed("k", 0.0)
    now, locks = 0.0, []
    for _ in range(8):
        start = now
        while counter.locked("k", now):
            now += 1.0
        locks.append(now - start)
        counter.failed("k", now)
    assert locks == [10, 20, 40, 80, 160, 320, 320, 320]


def test_window_begins_anew_after_a_quiet_time() -> None:
    counter = Counter(RULE)
    counter.failed("k", 0.0)
    counter.failed("k", 1.0)
    counter.failed("k", 61.0)
    assert not counter.locked("k", 61.0)


def test_slow_guessing_within_a_window_is_locked_too() -> None:
    counter = Counter(RULE)
    for now in (0.0, 25.0, 50.0):
        counter.failed("k", now)
    assert counter.locked("k", 50.0)


def test_lock_is_on_a_user_from_one_address() -> None:
    attempts = Attempts(RULE, WIDE)
    for _ in range(3):
        attempts.failed("alice", "10.0.0.1", 0.0)
    assert attempts.locked("alice", "10.0.0.1", 1.0)
    assert not attempts.locked("alice", "10.0.0.2", 1.0)
    assert not attempts.locked("bob", "10.0.0.1", 1.0)


def test_address_that_tries_many_names_is_locked_for_all() -> None:
    attempts = Attempts(RULE, WIDE)
    for number in range(6):
        attempts.failed(f"user{number}", "10.0.0.1", 0.0)
    assert attempts.locked("alice", "10.0.0.1", 1.0)
    assert not attempts.locked("alice", "10.0.0.2", 1.0)


def test_right_password_forgets_the_users_failures_and_not_the_addresss() -> None:
    attempts = Attempts(RULE, WIDE)
    for _ in range(2):
        for _ in range(2):
            attempts.failed("alice", "10.0.0.1", 0.0)
        attempts.succeeded("alice", "10.0.0.1")
    assert not attempts.locked("alice", "10.0.0.1", 0.0)
    for _ in range(2):
        attempts.failed("bob", "10.0.0.1", 0.0)
    assert attempts.locked("alice", "10.0.0.1", 0.0)


def test_address_is_suspect_while_its_failures_count() -> None:
    attempts = Attempts(RULE, WIDE)
    assert not attempts.is_suspect("10.0.0.1", 0.0)
    attempts.failed("alice", "10.0.0.1", 0.0)
    assert attempts.is_suspect("10.0.0.1", 59.0)
    assert not attempts.is_suspect("10.0.0.1", 60.0)
    assert not attempts.is_suspect("10.0.0.2", 1.0)


def test_memory_is_bounded_and_the_oldest_is_forgotten() -> None:
    counter = Counter(RULE)
    for number in range(module.ENTRIES_MAX + 50):
        for _ in range(3):
            counter.failed(number, 0.0)
    assert len(counter) == module.ENTRIES_MAX
    assert not counter.locked(0, 0.0)
    assert counter.locked(50, 0.0)


def test_everything_can_be_forgotten() -> None:
    attempts = Attempts(RULE, WIDE)
    for _ in range(6):
        attempts.failed("alice", "10.0.0.1", 0.0)
    attempts.clear()
    assert len(attempts) == 0
    assert not attempts.locked("alice", "10.0.0.1", 0.0)
