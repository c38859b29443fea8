"""Policies and keyrings that conversations from a seed are held under."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring, KeyState
from sealgate.verify.bounds import Bound, BoundTable, Limit
from sealgate.verify.controls import Controls
from sealgate.verify.expiry import Expiry
from sealgate.verify.policy import ContentRules, Policy, Rule
from sealgate.verify.rates import RateTable
from support.sealed import DEPLOYMENT, NOW, SECRET

OTHER_SECRET: Final = bytes(range(32, 64))
JSON: Final = ContentRules("celery", frozenset({"application/json"}), frozenset({"application/x-gzip"}))
_OBSERVED: Final = (Rule(task="app.mul", observe=True), Rule(exchange="logs", observe=True))
_TASKIQ: Final = ContentRules("taskiq", frozenset({"application/json"}))
_REVOKED: Final = {f"id-{number}": NOW + 20.0 for number in range(0, 200, 3)}
#: By name. A conversation's seed is made of its policy's name, so one more at the end changes no other's.
POLICIES: Final = {
    "plain": Policy(DEPLOYMENT),
    "both protocols": Policy(DEPLOYMENT, content=JSON, protocol_1=True),
    "rates": Policy(
        DEPLOYMENT, rates=RateTable({"app.*": "5/s burst 9", "app.mul": "1/s burst 1", "*": "9/s"})
    ),
    "some observed": Policy(DEPLOYMENT, rules=_OBSERVED),
    "most observed": Policy(DEPLOYMENT, observe_default=True, rules=(Rule(task="app.mul", observe=False),)),
    "session nonces": Policy(DEPLOYMENT, session_nonces_only=True),
    "strict": Policy(DEPLOYMENT, strict_b64=True, body_bytes_max=400),
    "generic": Policy(DEPLOYMENT, content=ContentRules("generic", frozenset({"*"}))),
    "taskiq": Policy(
        DEPLOYMENT, rules=(Rule(exchange="logs", content=_TASKIQ), Rule(task="app.mul", content=JSON))
    ),
    "short-lived": Policy(DEPLOYMENT, max_age_s=20, clock_skew_s=1),
    "bounds": Policy(
        DEPLOYMENT,
        bounds=BoundTable(
            (Bound("app.mul", time_limit=Limit(9.0, 5.0)), Bound("app.add", arguments_bytes_max=99))
        ),
    ),
    "rates by values": Policy(
        DEPLOYMENT,
        rates=RateTable(
            {
                "app.*": [
                    {"limit": "9/s burst 9", "per": "arg:0", "reserve": {"priority": 5, "share": "20%"}},
                    {"limit": "8/s burst 9", "per": "header:shadow"},
                    {"limit": ["7/s burst 9", "99/h burst 50"], "per": "key"},
                ],
                "*": {"limit": "6/s burst 9", "per": "user"},
            },
            delay_us=60_000_000,
        ),
        expiry=Expiry(expiration_ms_max=1000),
    ),
}
#: The same with an operator's orders.
ORDERING: Final = {
    "a task paused": Policy(DEPLOYMENT, controls=Controls(("app.mul",), {})),
    "ids revoked": Policy(DEPLOYMENT, controls=Controls(("other",), _REVOKED)),
}


def seeded(name: str, number: int) -> random.Random:
    """The dice of conversation `number` under the policy of that name: the same on every run and machine."""
    return random.Random(f"{name} {number}")


def others(policies: Mapping[str, Policy], name: str) -> tuple[Policy, ...]:
    """What a reload may put in force in a conversation under `name`: that, and those listed before it.

    Never one listed after it: whoever adds one would change every conversation. (The first has the second.)
    """
    listed = list(policies)
    return tuple(policies[each] for each in listed[: max(listed.index(name) + 1, 2)])


def keyrings(now: int) -> tuple[Keyring, ...]:
    """What a reload may bring: the key as it was, in another state, of narrower use, gone, or replaced."""
    good, other = HmacSha256(SECRET), HmacSha256(OTHER_SECRET)
    second = Key("k2", other, tasks=("app.*",), exchanges=("",))
    narrow: tuple[dict[str, Any], ...] = (
        {"tasks": ("app.*", "celery.chain")},
        {},
        {"state": KeyState.VERIFY},
        {"state": KeyState.REVOKED},
        {"not_after": now + 20},
        {"not_before": now + 5},
        {"max_lifetime_s": 600},
        {"tasks": ("app.mul",)},
        {"users": ("app", "nobody")},
        {"exchanges": ("",), "routing_keys": ("celery",), "reply_to": ("answers",)},
        {"classes": ("event",)},
    )
    rings = [Keyring([Key("k1", good, **limits), second]) for limits in narrow]
    return (*rings, Keyring([second]), Keyring([Key("k1", other), Key("k2", good)]))
