"""What the Redis store costs: CPU time per message in the gateway's process and in Redis.

    .venv/bin/python benchmarks/store.py [--messages N] [--runs N] [--json]

A private Redis, one `RedisStore` in this process on uvloop where there is one. Each turn of the loop commits
the batch that was answered and claims the next, as behind busy connections. The claims are made before the
clock starts. Client: user and system time of this process. Redis: user and system time of the server (INFO
cpu), and of that the time inside its commands (INFO commandstats). Compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import statistics
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from sealgate.stores.redis import RedisStore
from sealgate.verify.verdict import Bucket, Claim, ClaimOutcome, ClaimStatus, Debit
from support.redis_server import RedisServer, private_redis

BATCHES = (1, 10, 100)
DEPLOYMENT = "bench"
#: Never empty at the pace of a benchmark, and high enough for any shortcut there may be.
WIDE = (Debit(Bucket("*", 1_000_000, 1_000_000, 1_000_000)),)
#: What a message asks of the store: a nonce, and what it takes from buckets.
KINDS: dict[str, tuple[bool, tuple[Debit, ...]]] = {
    "nonce": (True, ()),
    "nonce and a rate": (True, WIDE),
    "a rate alone": (False, WIDE),
}


class Costs(dict[str, float]):
    """Microseconds per message, by who spends them."""


def make_claims(count: int, with_nonce: bool, debits: tuple[Debit, ...]) -> list[Claim]:
    """As `verify.checks` makes them: 16 random bytes per nonce; and the digest of a signing input."""
    created = int(time.time())
    name = b"%d:%b:k1:" % (len(DEPLOYMENT), DEPLOYMENT.encode())
    claims = []
    for number in range(count):
        nonce = name + urlsafe_b64encode(os.urandom(16)).rstrip(b"=") if with_nonce else b""
        claim = Claim(nonce, b"", created, created + 365, debits)
        claim.digest = hashlib.sha256(b"%d" % number).digest()
        claims.append(claim)
    return claims


async def claim_and_commit(store: RedisStore, batches: Iterator[list[Claim]]) -> None:
    """One batch after the other; the answer to each commits it. Raises when a claim is not granted."""
    done = asyncio.get_running_loop().create_future()

    def more(before: list[Claim]) -> None:
        store.settle(before, [])
        batch = next(batches, None)
        if batch is None:
            done.set_result(None)
            return

        def answered(outcomes: list[ClaimOutcome]) -> None:
            if any(outcome.status is not ClaimStatus.GRANTED for outcome in outcomes):
                done.set_exception(RuntimeError(f"refused: {outcomes}"))
                return
            loop.call_soon(more, batch)

        store.claim(batch, answered)

    loop = asyncio.get_running_loop()
    more([])
    await done


def redis_cpu_us(server: RedisServer) -> float:
    return 1e6 * (float(server.info("used_cpu_user")) + float(server.info("used_cpu_sys")))


def script_us(server: RedisServer) -> float:
    found = re.search(rb"cmdstat_evalsha:calls=\d+,usec=(\d+)", server.command("INFO", "commandstats"))
    return float(found[1]) if found else 0.0


async def measure(server: RedisServer, claims: list[Claim], batch: int) -> Costs:
    store = RedisStore(server.url, deployment=DEPLOYMENT, max_age_s=300, clock_skew_s=30)
    await store.start()
    cut = [claims[at : at + batch] for at in range(0, len(claims), batch)]
    warm = make_claims(batch, bool(claims[0].nonce_key), claims[0].debits)
    await claim_and_commit(store, iter([warm]))
    redis, script, client = redis_cpu_us(server), script_us(server), time.process_time_ns()
    await claim_and_commit(store, iter(cut))
    client_us = (time.process_time_ns() - client) / 1e3
    found = {"client": client_us, "redis": redis_cpu_us(server) - redis, "script": script_us(server) - script}
    await store.close()
    return Costs({name: spent / len(claims) for name, spent in found.items()})


def run(messages: int, runs: int) -> dict[str, dict[int, list[Costs]]]:
    found: dict[str, dict[int, list[Costs]]] = {kind: {batch: [] for batch in BATCHES} for kind in KINDS}
    with private_redis() as server:
        server.age(DEPLOYMENT)
        for _ in range(runs):
            for kind, (with_nonce, debits) in KINDS.items():
                for batch in BATCHES:
                    # Small batches cost more each: fewer of them tell as much.
                    count = messages // {1: 10, 10: 3, 100: 1}[batch]
                    claims = make_claims(count - count % batch, with_nonce, debits)
                    found[kind][batch].append(asyncio.run(measure(server, claims, batch)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=50_000, help="for batches of 100; fewer for smaller")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        print("uvloop is not installed: asyncio's own loop", file=sys.stderr)
    else:
        uvloop.install()
    found = run(options.messages, options.runs)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"CPU us per message (claim and commit), median of {options.runs} runs (minimum)")
    print(f"{'asks for':18} {'batch':>5}  {'client':>15}  {'redis':>15}  {'in the script':>15}")
    for kind, by_batch in found.items():
        for batch, costs in by_batch.items():
            cells = []
            for who in ("client", "redis", "script"):
                spent = [cost[who] for cost in costs]
                cells.append(f"{statistics.median(spent):7.2f} ({min(spent):.2f})")
            print(f"{kind:18} {batch:>5}  " + "  ".join(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    main()
