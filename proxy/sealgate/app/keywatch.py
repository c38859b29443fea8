"""Which keys this process has in force, since when, and until when."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from sealgate.ops.key_ends import URGENT_S, ending, moment, told
from sealgate.ops.keys import KeyFacts, RingFacts
from sealgate.session.conversation import Terms
from sealgate.session.records import Tally
from sealgate.signing.keyring import Key, Keyring, KeyState

log: Final = logging.getLogger("sealgate.app")

_DAY_S: Final = 86_400


class KeyWatch:
    """`ring` is what is in force. `source` is the reference behind which the keys are."""

    def __init__(self, source: str, tally: Tally, clock: Callable[[], float] = time.time) -> None:
        self._tally: Final = tally
        self._clock: Final = clock
        self._keys: list[Key] = []
        #: kid -> number of the day on which its end was told last
        self._told: dict[str, int] = {}
        self.ring = RingFacts(source, ())

    def look(self, terms: Terms) -> None:
        """Take note of the keys that `terms` have in force now."""
        signers = [terms.sealer, terms.countersealer]
        signing = [sealer.keyring.get(sealer.kid) for sealer in signers if sealer is not None]
        self.apply(terms.verifier.keyring, [key for key in signing if key is not None])

    def apply(self, keyring: Keyring, signing: Sequence[Key] = ()) -> None:
        """`keyring` is in force, and `signing` are the keys that are signed with.

        These are of an earlier keyring where a newer one has nothing to sign with: then they are in force as
        they were there. What was known of the use of keys that have left is forgotten.
        """
        by_kid = {key.kid: key for key in keyring}
        for key in signing:
            if key.state is KeyState.ACTIVE:
                by_kid[key.kid] = key
        keys = list(by_kid.values())
        if keys == self._keys:
            return
        now = self._clock()
        before = {key.kid: key for key in self.ring.keys}
        self._keys = keys
        facts = tuple([_facts(key, before.get(key.kid), now) for key in keys])
        self.ring = RingFacts(self.ring.source, facts)
        self._tally.settle()
        for kid in [kid for kid in self._tally.key_use if kid not in by_kid]:
            del self._tally.key_use[kid]

    @property
    def trouble(self) -> str:
        """Which keys end soon, and when; "" for none."""
        now = self._clock()
        return ", ".join([told(key, now) for key in ending(self.ring.keys, now)])

    def tell(self) -> None:
        """Write of each key that ends soon a line to the log, once a day."""
        now = self._clock()
        today = int(now) // _DAY_S
        soon = ending(self.ring.keys, now)
        for key in soon:
            if key.not_after is not None and self._told.get(key.kid) != today:
                level = logging.ERROR if key.not_after - now < URGENT_S else logging.WARNING
                facts = {"kid": key.kid, "state": key.state, "not_after": moment(key.not_after)}
                log.log(level, told(key, now), extra={"event": "keys.ending", **facts})
        self._told = dict.fromkeys([key.kid for key in soon], today)


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
