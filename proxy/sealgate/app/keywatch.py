"""Which keys this process has in force, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sealgate.ops.keys import KeyFacts, RingFacts
from sealgate.session.records import Tally
from sealgate.signing.keyring import Key, Keyring


class KeyWatch:
    """`ring` is what is in force. `source` is the reference behind which the keys are."""

    def __init__(self, source: str, tally: Tally, clock: Callable[[], float] = time.time) -> None:
        self._tally: Final = tally
        self._clock: Final = clock
        self.ring = RingFacts(source, ())

    def apply(self, keyring: Keyring) -> None:
        """`keyring` has just been put in force. What was known of the use of keys that left is forgotten."""
        now = self._clock()
        before = {key.kid: key for key in self.ring.keys}
        keys = tuple([_facts(key, before.get(key.kid), now) for key in keyring])
        self.ring = RingFacts(self.ring.source, keys)
        for kid in [kid for kid in self._tally.key_use if keyring.get(kid) is None]:
            del self._tally.key_use[kid]


def _facts(key: Key, before: KeyFacts | None, now: float) -> KeyFacts:
    state = key.state.value
    return KeyFacts(
        key.kid,
        key.algorithm.name,
        state,
        key.algorithm.can_sign,
        key.not_before,
        key.not_after,
        key.max_lifetime_s,
        now if before is None else before.known_since,
        now if before is None or before.state != state else before.state_since,
    )
