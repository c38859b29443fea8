"""Stores: where nonces are remembered and tokens are kept, behind `verify.verdict.ClaimStore`.

    memory      one process: a table of nonces, buckets, and optionally a journal
      nonces      the table: bounded, forgets in bounded work per call
      leases      nonces whose message waits for the broker: the claims they were granted to
      committed   all of them: records in few octets; names: what is short in them
      limiter     token buckets of this process (also Redis's stand-in while it is away)
      journal     nonces on disk, so that a restart forgets nothing
    redis       several gateways: one script call per loop turn for all connections of the process
      pending       claims on their way; settlements: commits, releases and renewals that ride along
      values        how many buckets the values in messages may make
      here          what needs no call: blocks of tokens taken in one go, refusals by buckets known to be
                    empty, and this gateway's share of a rate while Redis is away
      batch         what a call says, packed by hand, and how its reply is checked; exchange.lua
      keeper, link  one connection that was checked, thrown away on any doubt, and made anew
    times       the lease, and since when a store's memory is whole

`app` opens the store that `replay.store` names, by `open_store`, and hands it to `net`. Its one warning:
replay control never fails open. What a store does not know for certain it refuses (`store.horizon`,
`store.full`, `store.unavailable`).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, Literal

from sealgate.stores.limiter import VALUES_MAX
from sealgate.stores.times import HELD_S, LEASE_S
from sealgate.verify.verdict import ClaimStore

#: About 100 MB of nonces; at 2,000 messages a second the freshness window holds 730,000.
ENTRIES_MAX: Final = 1_000_000


def open_store(
    url: str,
    *,
    deployment: str,
    max_age_s: float,
    clock_skew_s: float,
    journal: str | Path | None = None,
    gateways: int = 1,
    entries_max: int = ENTRIES_MAX,
    in_doubt: Literal["takeover", "refuse"] = "takeover",
    values_max: int = VALUES_MAX,
    limits_hit: Counter[str] | None = None,
) -> ClaimStore:
    """The store that `url` names, not yet started. `journal` and `entries_max` concern the memory store,
    `gateways` (how many share the store) and `deployment` concern Redis. `in_doubt` is what becomes of a
    nonce that was neither committed nor released: free when its lease is over, or refused while it counts.
    `values_max` bounds the buckets that values in messages make; `limits_hit` counts where that is hit.

    Raises `ValueError` for a URL this version has no store for. Only what is asked for is imported.
    """
    scheme = url.partition(":")[0]
    lease_s = HELD_S if in_doubt == "refuse" else LEASE_S
    if url == "memory":
        from sealgate.stores.boot import boot_id
        from sealgate.stores.journal import Journal
        from sealgate.stores.memory import MemoryStore

        return MemoryStore(
            max_age_s=max_age_s,
            clock_skew_s=clock_skew_s,
            entries_max=entries_max,
            journal=None
            if journal is None
            else Journal(Path(journal), boot_id(), ahead=in_doubt == "refuse"),
            lease_s=lease_s,
            values_max=values_max,
            limits_hit=limits_hit,
        )
    if scheme in ("redis", "rediss"):
        from sealgate.stores.redis import RedisStore

        return RedisStore(
            url,
            deployment=deployment,
            max_age_s=max_age_s,
            clock_skew_s=clock_skew_s,
            gateways=gateways,
            lease_s=lease_s,
            values_max=values_max,
            limits_hit=limits_hit,
        )
    raise ValueError(f"replay.store {scheme}:// is not in this version; use memory, redis:// or rediss://")
