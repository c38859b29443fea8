from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sealgate.ops.key_ends import ENDING_S, ending, told
from sealgate.ops.key_metrics import KeyCollector
from sealgate.ops.keys import KeyFacts, RingFacts

NOW = 1_700_000_000.0
KEY = KeyFacts("k1", "ed25519", "active", True, None, None, 60, NOW, NOW)


def that_ends(seconds: float, state: str = "active") -> KeyFacts:
    return replace(KEY, not_after=int(NOW + seconds), state=state)


@pytest.mark.parametrize(
    ("key", "is_told"),
    [
        (KEY, False),
        (that_ends(ENDING_S), False),
        (that_ends(ENDING_S - 1), True),
        (that_ends(-1), True),
        (that_ends(60, "verify"), True),
        (that_ends(60, "revoked"), False),
    ],
)
def test_keys_in_force_are_told_of_two_weeks_before_they_end(key: KeyFacts, is_told: bool) -> None:
    assert ending([key], NOW) == ([key] if is_told else [])


def test_end_is_told_in_words() -> None:
    assert told(that_ends(3.5 * 86_400), NOW) == "k1 ends in 3.5 days, at 2023-11-18 10:13 UTC"
    assert told(that_ends(-60), NOW) == "k1 has been over since 2023-11-14 22:12 UTC"


def test_metrics_are_of_the_keys_in_force() -> None:
    keys = [that_ends(60), replace(KEY, kid="k2", state="verify"), replace(that_ends(9, "revoked"), kid="k3")]
    registry = CollectorRegistry()
    registry.register(KeyCollector(lambda: RingFacts("env:K", tuple(keys))))
    samples = [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]
    assert samples == [
        'sealgate_key_info{alg="ed25519",kid="k1",state="active"} 1.0',
        'sealgate_key_info{alg="ed25519",kid="k2",state="verify"} 1.0',
        'sealgate_key_info{alg="ed25519",kid="k3",state="revoked"} 1.0',
        'sealgate_key_not_after_timestamp_seconds{kid="k1"} 1.70000006e+09',
    ]
