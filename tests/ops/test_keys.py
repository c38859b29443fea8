from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sealgate.ops.keys import KeyFacts, KeysPage, RingFacts, plain, ring_of, united
from sealgate.ops.tables import as_json, render
from sealgate.session.records import Tally

NOW = 1_700_000_000.0
K1 = KeyFacts("k1", "hmac-sha256", "active", True, None, 1_800_000_000, 86_400, NOW - 100, NOW - 50)
K2 = replace(K1, kid="k2", alg="ed25519", state="verify", can_sign=False, not_after=None)
SOURCE = "file:/etc/sealgate/keys.toml"


def ring(*keys: KeyFacts) -> RingFacts:
    return RingFacts(SOURCE, keys)


def page(*rings: RingFacts, tally: Tally | None = None) -> KeysPage:
    return KeysPage("prod", lambda: rings, tally or Tally(), lambda: NOW)


def shown(*rings: RingFacts, tally: Tally | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(as_json(page(*rings, tally=tally).table()))
    return answer


def test_seal_without_an_end_in_sight_takes_no_evidence_away() -> None:
    """A consumer's side takes seals that are made for the future, as far as twelve digits go."""
    tally = Tally()
    tally.use_of("k1").note(1, NOW, 999_999_999_999, "")
    told = page(ring(K1, K2), tally=tally).table()
    assert "after the year 9999" in render(told)
    assert [key["expires_latest"] for key in told.data["keys"]] == [999_999_999_999, None]


def test_json_is_the_keys_and_their_evidence() -> None:
    """The shape that `sealgate keys rotate` reads."""
    tally = Tally()
    tally.keys_good_at, tally.keys_failing_since = NOW - 1, 0.0
    tally.use_of("k1").note(3, NOW - 60, 1_700_086_400, "web")
    tally.use_of("k1").note(2, NOW - 7, 1_700_000_001, "beat")
    assert shown(ring(K1, K2), tally=tally) == {
        "schema": 1,
        "deployment": "prod",
        "at": NOW,
        "source": SOURCE,
        "good_at": NOW - 1,
        "failing_since": 0.0,
        "keys": [
            {
                "kid": "k1",
                "alg": "hmac-sha256",
                "state": "active",
                "can_sign": True,
                "not_before": None,
                "not_after": 1_800_000_000,
                "max_lifetime_s": 86_400,
                "known_since": NOW - 100,
                "state_since": NOW - 50,
                "last_used": NOW - 7,
                "messages_last_hour": 5,
                "expires_latest": 1_700_086_400,
                "users": ["beat", "web"],
                "users_more": False,
            },
            {
                "kid": "k2",
                "alg": "ed25519",
                "state": "verify",
                "can_sign": False,
                "not_before": None,
                "not_after": None,
                "max_lifetime_s": 86_400,
                "known_since": NOW - 100,
                "state_since": NOW - 50,
                "last_used": None,
                "messages_last_hour": 0,
                "expires_latest": None,
                "users": [],
                "users_more": False,
            },
        ],
    }


def test_evidence_of_a_key_that_has_left_is_not_shown() -> None:
    tally = Tally()
    tally.use_of("gone").note(1, NOW, 0, "web")
    assert [key["kid"] for key in shown(ring(K1), tally=tally)["keys"]] == ["k1"]


def test_key_is_known_once_every_worker_has_it() -> None:
    late = replace(K1, known_since=NOW - 10, state_since=NOW - 70)
    (key,) = united([ring(K1), ring(late)]).keys
    assert (key.known_since, key.state_since) == (NOW - 10, NOW - 50)
    keys = {key.kid: key.known_since for key in united([ring(K1), ring(K1, K2)]).keys}
    assert keys == {"k1": NOW - 100, "k2": None}, "it is shown, as one worker takes it, and not known by all"


@pytest.mark.parametrize(
    ("states", "together"),
    [
        (("active", "verify"), "active"),
        (("verify", "active"), "active"),
        (("revoked", "verify"), "verify"),
        (("revoked", "revoked"), "revoked"),
    ],
)
def test_state_of_a_key_is_the_one_that_permits_most(states: tuple[str, str], together: str) -> None:
    """A key that one worker still takes is not revoked yet."""
    (key,) = united([ring(replace(K1, state=state)) for state in states]).keys
    assert key.state == together


def test_longest_lifetime_of_several_counts() -> None:
    rings = [ring(replace(K1, max_lifetime_s=size, can_sign=size == 60)) for size in (60, 3600, 5)]
    (key,) = united(rings).keys
    assert (key.max_lifetime_s, key.can_sign) == (3600, True)


def test_there_is_an_answer_while_no_worker_lives_and_where_no_keys_are_used() -> None:
    assert shown()["keys"] == []
    assert shown(RingFacts("", ()))["source"] == ""
    assert "No keys are used here" in render(page(RingFacts("", ())).table())


def test_page_shows_what_people_ask() -> None:
    tally = Tally()
    for number in range(21):
        tally.use_of("k1").note(1, NOW, 1_700_086_400, f"<u{number:02}>")
    text = render(page(ring(K1), tally=tally).table())
    assert "<td>k1</td>" in text and "<td>21</td>" in text and "2027-01-15 08:00:00" in text
    assert "&lt;u00&gt;, " in text and ", ...</td>" in text
    assert "<u" not in text.replace("<ul", "")


def test_facts_survive_json() -> None:
    assert ring_of(json.loads(json.dumps(plain(ring(K1, K2))))) == ring(K1, K2)
    with pytest.raises((KeyError, TypeError)):
        ring_of({"source": "", "keys": [{"kid": "k1"}]})
