"""The moment before which a store's memory is not whole (seal1.md "Replay", `store.horizon`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(slots=True, frozen=True)
class Horizon:
    """`moment` is Unix seconds: what was accepted before it may have been forgotten. 0: nothing was.

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
