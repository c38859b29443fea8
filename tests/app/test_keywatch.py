from __future__ import annotations

from dataclasses import replace

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
        watched.tally.use_of(kid).note(1, 1000, 2000, "web")
    watched.at(1010, K1)
    assert list(watched.tally.key_use) == ["k1"]
