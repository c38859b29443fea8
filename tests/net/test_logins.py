"""The queue before the desk: whose turn it is, who is told what, and what is left of those that leave."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sealgate.accounts.attempts import Attempts, LockOut
from sealgate.accounts.desk import Desk
from sealgate.accounts.login import Attempt, LoginResult, Outcome
from sealgate.accounts.passwords import Cost, hash_password, parse_hash
from sealgate.accounts.users import BrokerLogin, User, UserBook
from sealgate.net.logins import Logins, counted_address
from support.peers import eventually

pytestmark = pytest.mark.asyncio

HASH = parse_hash(hash_password(b"wonder", bytes(16), Cost(10, 8, 1)))
BOOK = UserBook([User("alice", BrokerLogin("b", "b"), HASH, "alice.example")])


class Threads:
    """Hashes that take until they are let go, and are noted in the order in which they began."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[bytes] = []
        self.gate = threading.Semaphore(0)
        self.fails = False
        self._scrypt = hashlib.scrypt
        monkeypatch.setattr(hashlib, "scrypt", self._hash)

    def _hash(self, password: bytes, **options: Any) -> bytes:
        self.begun.append(password)
        self.gate.acquire()
        if self.fails:
            raise MemoryError
        return self._scrypt(password, **options)

    def let(self, hashes: int = 1) -> None:
        self.gate.release(hashes)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Threads]:
    held = Threads(monkeypatch)
    yield held
    held.let(1000)


def queue(workers: int = 1, waiting_max: int = 100, failures_max: int = 100) -> Logins:
    rule = LockOut(failures_max, 60.0, 10.0)
    return Logins(Desk(BOOK, Attempts(rule, rule), bytes(32)), workers, waiting_max)


def guess(password: str, user: str = "alice") -> Attempt:
    return Attempt(user, password.encode())


async def test_right_and_wrong_are_told_apart_off_the_loop() -> None:
    logins = queue()
    told: list[Outcome] = []
    try:
        for password in ("wonder", "wrong"):
            assert logins.check(guess(password), "10.0.0.1", told.append) is not None
        assert told == []
        await eventually(lambda: len(told) == 2, "both answers")
        assert [outcome.result for outcome in told] == [LoginResult.OK, LoginResult.PASSWORD]
        assert logins.hashes == 2
        # What is known by now is told at once.
        assert logins.check(guess("wonder"), "10.0.0.1", told.append) is None
        assert told[-1].result is LoginResult.OK
        assert logins.hashes == 2
    finally:
        logins.close()


async def test_addresses_have_their_turns_and_one_hash_each_at_a_time(threads: Threads) -> None:
    logins = queue(workers=2)
    told: list[Outcome] = []
    try:
        for number in range(5):
            logins.check(guess(f"flood{number}"), "10.0.0.1", told.append)
        logins.check(guess("one"), "10.0.0.2", told.append)
        logins.check(guess("two"), "10.0.0.3", told.append)
        await eventually(lambda: len(threads.begun) == 2, "two hashes to begin")
        assert threads.begun == [b"flood0", b"one"]
        for count in range(1, 8):
            threads.let()
            await eventually(lambda wanted=count: len(told) == wanted, "an answer")
        # The flood is never two ahead of somebody else.
        assert threads.begun.index(b"two") <= 3
        assert logins.waiting == 0
    finally:
        logins.close()


async def test_address_that_guessed_wrong_waits_for_all_others(threads: Threads) -> None:
    logins = queue()
    told: list[Outcome] = []
    try:
        for number in range(3):
            logins.check(guess(f"wrong{number}"), f"10.0.1.{number}", told.append)
            threads.let()
            await eventually(lambda wanted=number + 1: len(told) == wanted, "an answer")
        for number in range(3):
            logins.check(guess(f"again{number}"), f"10.0.1.{number}", told.append)
        for number in range(2):
            logins.check(guess(f"fresh{number}"), f"10.0.2.{number}", told.append)
        threads.let(5)
        await eventually(lambda: len(told) == 8, "all answers")
        # The first of them had begun before the others came.
        assert threads.begun[3:] == [b"again0", b"fresh0", b"fresh1", b"again1", b"again2"]
    finally:
        logins.close()


async def test_what_takes_no_hash_waits_for_nobodys(threads: Threads) -> None:
    logins = queue(failures_max=1)
    told: list[Outcome] = []
    try:
        threads.let(2)
        for password, address in (("wonder", "10.0.0.1"), ("wrong", "10.0.0.2")):
            logins.check(guess(password), address, told.append)
            await eventually(lambda wanted=password: wanted.encode() in threads.begun, "a hash")
        await eventually(lambda: len(told) == 2, "both answers")
        logins.check(guess("slow"), "10.0.0.3", told.append)
        for password, address in (("wonder", "10.0.0.4"), ("wrong", "10.0.0.2")):
            assert logins.check(guess(password), address, told.append) is None
        external = Attempt("", external=True, certificate=("alice.example",))
        assert logins.check(external, "10.0.0.5", told.append) is None
        assert [outcome.result for outcome in told[2:]] == [
            LoginResult.OK, LoginResult.LOCKED, LoginResult.OK,
        ]  # fmt: skip
    finally:
        logins.close()


async def test_guesses_sent_at_once_are_locked_out_like_those_sent_one_by_one(threads: Threads) -> None:
    logins = queue(failures_max=3)
    told: list[Outcome] = []
    threads.let(1000)
    try:
        for number in range(20):
            logins.check(guess(f"guess{number}"), "10.0.0.1", told.append)
        await eventually(lambda: len(told) == 20, "all answers")
        results = [outcome.result for outcome in told]
        assert results == [LoginResult.PASSWORD] * 3 + [LoginResult.LOCKED] * 17
        assert logins.hashes == 3
    finally:
        logins.close()


async def test_queue_is_bounded_and_whoever_leaves_makes_room(threads: Threads) -> None:
    logins = queue(waiting_max=2)
    told: list[Outcome] = []
    try:
        first = logins.check(guess("first"), "10.0.0.1", told.append)
        waiting = [logins.check(guess(f"{number}"), "10.0.0.1", told.append) for number in range(2)]
        assert logins.check(guess("too many"), "10.0.0.1", told.append) is None
        assert [outcome.result for outcome in told] == [LoginResult.BUSY]
        for ticket in (first, *waiting):
            assert ticket is not None
            logins.cancel(ticket)
            logins.cancel(ticket)
        assert logins.waiting == 0
        assert logins.check(guess("next"), "10.0.0.2", told.append) is not None
        threads.let(2)
        await eventually(lambda: len(told) == 2, "the one answer")
        assert threads.begun == [b"first", b"next"]
    finally:
        logins.close()


async def test_full_queue_of_one_network_does_not_keep_others_out(threads: Threads) -> None:
    """Connections are limited by address: a network of IPv6 has enough of those to fill any queue."""
    logins = queue(waiting_max=10)
    flood: list[Outcome] = []
    others: list[Outcome] = []
    try:
        for number in range(20):
            logins.check(guess(f"flood{number}"), f"2001:db8::{number:x}", flood.append)
        assert [outcome.result for outcome in flood] == [LoginResult.BUSY] * 9
        for number in range(9):
            assert logins.check(guess(f"other{number}"), f"10.0.0.{number}", others.append) is not None
        assert (len(flood), others, logins.waiting) == (18, [], 10)
        # Now each has one: nobody has to give way.
        assert logins.check(guess("late"), "10.0.1.1", others.append) is None
        threads.let(11)
        await eventually(lambda: len(others) == 10, "the answers of the others")
        assert [outcome.result for outcome in others] == [LoginResult.BUSY] + [LoginResult.PASSWORD] * 9
        await eventually(lambda: len(flood) == 20, "the answers of the flood")
        assert logins.waiting == 0
    finally:
        logins.close()


async def test_hash_that_fails_is_neither_right_nor_wrong(threads: Threads) -> None:
    threads.fails = True
    logins = queue(failures_max=1)
    told: list[Outcome] = []
    try:
        threads.let(2)
        for _ in range(2):
            logins.check(guess("wonder"), "10.0.0.1", told.append)
        await eventually(lambda: len(told) == 2, "the answers")
        assert {outcome.result for outcome in told} == {LoginResult.BUSY}
    finally:
        logins.close()


async def test_nobody_is_answered_after_the_end(threads: Threads) -> None:
    logins = queue()
    told: list[Outcome] = []
    for number in range(3):
        logins.check(guess(f"{number}"), "10.0.0.1", told.append)
    await eventually(lambda: len(threads.begun) == 1, "a hash to begin")
    logins.close()
    threads.let(3)
    await asyncio.to_thread(logins._threads.shutdown)
    await asyncio.sleep(0)
    assert told == []
    logins.check(guess("late"), "10.0.0.1", told.append)
    assert [outcome.result for outcome in told] == [LoginResult.BUSY]


async def test_certificate_is_offered_while_it_stands_for_a_user() -> None:
    logins = queue()
    try:
        assert logins.offers_external(("x", "alice.example"))
        assert not logins.offers_external(("x",))
        assert not logins.offers_external(())
        logins.use(UserBook())
        assert not logins.offers_external(("alice.example",))
    finally:
        logins.close()


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
async def test_ipv6_is_counted_by_its_network(host: str, counted: str) -> None:
    assert counted_address(host) == counted
