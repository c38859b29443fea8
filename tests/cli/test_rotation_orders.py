"""Rotations in virtual time, over many orders in which signers, gateways and workers hear of each step."""

from __future__ import annotations

import pytest

from support.rotation_world import Rules, World

#: Each is a rotation of its own: numbers of sides, lifetimes of seals, delays, restarts of gateways.
WORLDS, WORLDS_FULL = 40, 1000


def test_no_legitimate_message_is_refused_in_whatever_order_they_hear_of_it(full: bool) -> None:
    for seed in range(WORLDS_FULL if full else WORLDS):
        told = World(seed, Rules()).run()
        assert told.refused == [], f"seed {seed}, steps {told.steps}"
        assert [name for _, name in told.steps] == ["begin", "promote", "retire"]
        assert min(told.sealed.values()) > 0
        assert told.promote_refused
        assert told.retire_refused


@pytest.mark.parametrize(
    "broken",
    [
        Rules(promotes_at_once=True),
        Rules(asks_one_gateway=True),
        Rules(retires_at_once=True),
        Rules(retires_after_an_hour=True),
    ],
    ids=["promotes at once", "asks one gateway", "retires at once", "retires after an hour"],
)
def test_rule_that_is_broken_shows(broken: Rules) -> None:
    """Or the test above would show nothing."""
    played = (World(seed, broken).run().refused for seed in range(10 * WORLDS))
    refused = next(filter(None, played), [])
    assert refused
    assert {text.rpartition(" ")[2] for text in refused} == {"sig.kid"}
