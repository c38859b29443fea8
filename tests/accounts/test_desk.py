from __future__ import annotations

import pytest

from sealgate.accounts.attempts import Attempts, LockOut
from sealgate.accounts.desk import Desk, Work
from sealgate.accounts.login import Attempt, LoginResult, Outcome
from sealgate.accounts.passwords import Cost, hash_password, parse_hash
from sealgate.accounts.users import BrokerLogin, User, UserBook

BROKER = BrokerLogin("gateway", "broker-secret")
CHEAP = Cost(10, 8, 1)
DEAR = Cost(11, 8, 1)
PASSWORD = parse_hash(hash_password(b"wonder", bytes(16), CHEAP))
KEY = bytes(range(32))

ALICE = User("alice", BROKER, PASSWORD, vhosts=("/",))
CERT = User("cert", BROKER, None, "cert.example")
OFF = User("off", BROKER, PASSWORD, "off.example", active=False)


def desk(*users: User, failures: int = 3) -> Desk:
    attempts = Attempts(LockOut(failures, 60.0, 10.0), LockOut(failures * 10, 60.0, 10.0))
    return Desk(UserBook(users or (ALICE, CERT, OFF)), attempts, KEY)


def log_in(at: Desk, user: str, password: bytes, address: str = "10.0.0.1", now: float = 0.0) -> Outcome:
    found = at.begin(Attempt(user, password), address, now)
    return at.settle(found, found.run(), now) if isinstance(found, Work) else found


def test_right_password_is_granted_with_what_the_user_may() -> None:
    grant = log_in(desk(), "alice", b"wonder").grant
    assert grant is not None
    assert (grant.user, grant.vhosts, grant.broker) == ("alice", ("/",), BROKER)


@pytest.mark.parametrize(
    ("user", "password", "result"),
    [
        ("alice", b"wrong", LoginResult.PASSWORD),
        ("alice", b"", LoginResult.PASSWORD),
        ("nobody", b"wonder", LoginResult.UNKNOWN),
        ("", b"", LoginResult.UNKNOWN),
        ("off", b"wonder", LoginResult.DISABLED),
        ("off", b"wrong", LoginResult.DISABLED),
        ("cert", b"wonder", LoginResult.PASSWORD),
        ("cert", b"", LoginResult.PASSWORD),
    ],
)
def test_whatever_is_wrong_costs_one_hash_of_the_same_parameters(
    user: str, password: bytes, result: LoginResult
) -> None:
    at = desk()
    found = at.begin(Attempt(user, password), "10.0.0.1", 0.0)
    assert isinstance(found, Work)
    assert (found.known.cost, at.hashes) == (CHEAP, 1)
    assert (len(found.known.salt), len(found.known.digest)) == (16, 32)
    outcome = at.settle(found, found.run(), 0.0)
    assert (outcome.result, outcome.grant) == (result, None)


def test_decoy_would_fit_nobody_even_if_its_hash_were_found() -> None:
    at = desk()
    found = at.begin(Attempt("nobody", b"x"), "10.0.0.1", 0.0)
    assert isinstance(found, Work)
    assert at.settle(found, True, 0.0).grant is None


def test_decoys_have_the_costs_of_the_users_and_each_name_keeps_its_own() -> None:
    dear = parse_hash(hash_password(b"x", bytes(16), DEAR))
    at = desk(ALICE, User("bob", BROKER, dear))
    costs = {}
    for number in range(40):
        for _ in range(2):
            found = at.begin(Attempt(f"nobody{number}", b"x"), "10.0.0.1", 0.0)
            assert isinstance(found, Work)
            assert costs.setdefault(number, found.known) == found.known
    assert {known.cost for known in costs.values()} == {CHEAP, DEAR}


def test_right_password_is_hashed_once_for_all_connections() -> None:
    at = desk()
    for _ in range(5):
        assert log_in(at, "alice", b"wonder").result is LoginResult.OK
    assert at.hashes == 1
    assert log_in(at, "alice", b"wrong").result is LoginResult.PASSWORD
    assert at.hashes == 2


def test_locked_user_costs_no_hash_and_is_let_in_from_elsewhere() -> None:
    at = desk()
    for _ in range(3):
        log_in(at, "alice", b"wrong")
        log_in(at, "nobody", b"wrong")
    assert at.hashes == 6
    for user in ("alice", "nobody"):
        assert log_in(at, user, b"wonder").result is LoginResult.LOCKED
    assert at.hashes == 6
    assert log_in(at, "alice", b"wonder", "10.0.0.2").result is LoginResult.OK
    assert log_in(at, "alice", b"wonder", now=10.0).result is LoginResult.OK


def test_password_that_is_too_long_for_any_user_is_a_wrong_one() -> None:
    at = desk()
    for _ in range(3):
        assert log_in(at, "alice", b"x" * 1025).result is LoginResult.PASSWORD
    assert log_in(at, "alice", b"wonder").result is LoginResult.LOCKED


def test_other_users_in_force_forget_what_was_known_of_the_old_ones() -> None:
    at = desk()
    log_in(at, "alice", b"wonder")
    for _ in range(3):
        log_in(at, "alice", b"wrong")
    other = User("alice", BROKER, parse_hash(hash_password(b"changed", bytes(16), CHEAP)))
    at.use(UserBook([other]))
    assert log_in(at, "alice", b"wonder").result is LoginResult.PASSWORD
    assert log_in(at, "alice", b"changed").result is LoginResult.OK


def test_hash_that_was_computed_for_the_old_users_lets_nobody_in() -> None:
    at = desk()
    found = at.begin(Attempt("alice", b"wonder"), "10.0.0.1", 0.0)
    assert isinstance(found, Work)
    at.use(UserBook([User("alice", BROKER, parse_hash(hash_password(b"new", bytes(16), CHEAP)))]))
    assert at.settle(found, found.run(), 0.0).grant is None


def test_certificate_needs_no_password_and_gives_no_other_name() -> None:
    at = desk()

    def external(user: str, *names: str) -> Outcome:
        found = at.begin(Attempt(user, external=True, certificate=names), "10.0.0.1", 0.0)
        assert isinstance(found, Outcome)
        return found

    for name in ("", "cert"):
        grant = external(name, "cert.example").grant
        assert grant is not None
        assert grant.user == "cert"
    for name, certificate in (("alice", "cert.example"), ("", "off.example"), ("", "x"), ("cert", "")):
        assert external(name, certificate).result is LoginResult.CERTIFICATE
    assert at.hashes == 0


def test_nothing_shows_a_password() -> None:
    at = desk()
    attempt = Attempt("alice", b"wonder")
    work = at.begin(attempt, "10.0.0.1", 0.0)
    assert isinstance(work, Work)
    outcome = at.settle(work, work.run(), 0.0)
    for shown in (repr(attempt), repr(work), repr(outcome)):
        assert "wonder" not in shown
        assert "broker-secret" not in shown


def test_key_must_be_whole() -> None:
    with pytest.raises(ValueError, match="32"):
        Desk(UserBook(), Attempts(LockOut(1, 1, 1), LockOut(1, 1, 1)), b"short")
