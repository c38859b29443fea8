"""The times of seal1.md "Replay" that both stores keep to: the lease and the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import Final

#: How long a claim is held for a publish whose fate is unknown, seconds.
LEASE_S: Final = 10.0
#: A lease of `in_doubt = "refuse"`: it ends by a settlement alone, or when the nonce may be forgotten.
HELD_S: Final = inf


@dataclass(slots=True, frozen=True)
class Horizon:
    """The moment before which a store's memory is not whole, in Unix seconds; 0: it is whole.

    A message that is not remembered and was created before it (plus skew) is refused as `store.horizon`.

    It matters until the newest message that could have been accepted then is stale at every gateway.
    """

    moment: int
    max_age_s: float
    clock_skew_s: float

    def created_min(self, now: float) -> int:
        """The smallest `created` (Unix seconds) of a message not seen before that may pass at `now`."""
        if not self.moment or now > self.moment + self.max_age_s + 2 * self.clock_skew_s:
            return 0
        return ceil(self.moment + self.clock_skew_s)
