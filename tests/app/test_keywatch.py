from __future__ import annotations

from dataclasses import replace

import pytest

from sealgate.app.keywatch import KeyWatch
from sealgate.session.records import Tally
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring, KeyState

K1 = Key("k1", HmacSha256(b"1" * 32))
K2 = Key("k2", HmacSha256(b"2" * 32), KeyState.VERIFY, not_after=5_000, max_lifetime_s=60)


class Watched:
    """A watch whose clock is set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tally = Tally()
        self.watch = KeyWatch("env:K", self.tally, lambda: self.now)

    def at(self, now: float, *keys: Key) -> dict[str, tuple[float | None, float]]:
        """`known_since` and `state_since` by kid, after a reload at `now`."""
        self.now = now
        self.watch.apply(Keyring(keys))
        return {key.kid: (key.known_since, key.state_since) for key in self.watch.ring.keys}


def test_key_is_known_since_it_came_and_its_state_since_it_changed() -> None:
    watched = Watched()
    assert watched.at(1000, K1) == {"k1": (1000, 1000)}
    assert watched.at(1010, K1, K2) == {"k1": (1000, 1000), "k2": (1010, 1010)}
    verify = replace(K1, state=KeyState.VERIFY)
    promoted = replace(K2, state=KeyState.ACTIVE, not_after=None)
    assert watched.at(1020, verify, promoted) == {"k1": (1000, 1020), "k2": (1010, 1020)}
    assert watched.at(1030, verify, promoted) == {"k1": (1000, 1020), "k2": (1010, 1020)}
    assert watched.at(1040, promoted) == {"k2": (1010, 1020)}
    assert watched.at(1050, K1) == {"k1": (1050, 1050)}, "one that left and came back is a new one"


def test_facts_are_those_of_the_key() -> None:
    watched = Watched()
    watched.at(1000, K1, K2)
    one, other = watched.watch.ring.keys
    assert (one.alg, one.state, one.can_sign, one.not_after) == ("hmac-sha256", "active", True, None)
    assert (other.state, other.not_after, other.max_lifetime_s) == ("verify", 5_000, 60)
    assert watched.watch.ring.source == "env:K"


def test_evidence_goes_with_its_key() -> None:
    watched = Watched()
    watched.at(1000, K1, K2)
    for kid in ("k1", "k2"):
        watched.tally.use_of(kid).note(1, 1000.0, 2000, "web")
    watched.at(1010, K1)
    assert list(watched.tally.key_use) == ["k1"]


def test_key_that_signs_on_is_in_force_whatever_a_newer_keyring_says() -> None:
    """A sidecar whose keyring has nothing to sign with goes on with what it had: that can not be retired."""
    watched = Watched()
    watched.at(1000, K1)
    watched.now = 1010
    for newer in (Keyring([K2]), Keyring([replace(K1, state=KeyState.VERIFY), K2])):
        watched.watch.apply(newer, [K1])
        states = {key.kid: (key.state, key.known_since) for key in watched.watch.ring.keys}
        assert states == {"k1": ("active", 1000), "k2": ("verify", 1010)}
    revoked = replace(K1, state=KeyState.REVOKED)
    watched.watch.apply(Keyring([revoked]), [revoked])
    assert [key.state for key in watched.watch.ring.keys] == ["revoked"]


def test_key_that_ends_is_told_of_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    day = 86_400
    key = replace(K1, not_after=20 * day + 10)

    def told(now: float) -> list[tuple[str, str]]:
        caplog.clear()
        watched.now = now
        watched.watch.tell()
        watched.watch.tell()
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    watched = Watched()
    watched.at(0, key, K2, Key("k3", HmacSha256(b"3" * 32)))
    assert told(6 * day) == [("ERROR", "k2 has been over since 1970-01-01 01:23 UTC")]
    caplog.clear()
    watched.at(6 * day, key)
    assert told(6 * day + 10) == []
    assert watched.watch.trouble == ""
    assert told(6 * day + 11) == [("WARNING", "k1 ends in 14.0 days, at 1970-01-21 00:00 UTC")]
    assert watched.watch.trouble == "k1 ends in 14.0 days, at 1970-01-21 00:00 UTC"
    assert told(7 * day - 1) == []
    assert told(7 * day) == [("WARNING", "k1 ends in 13.0 days, at 1970-01-21 00:00 UTC")]
    assert told(19 * day)[0][0] == "ERROR"
    facts = vars(caplog.records[0])
    assert (facts["event"], facts["kid"], facts["state"]) == ("keys.ending", "k1", "active")
    watched.at(19 * day, K2)
    assert [message[:2] for _, message in told(19 * day)] == ["k2"]
