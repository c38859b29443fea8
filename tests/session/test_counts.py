"""What is counted in one event and the next, of few tasks and of more than there are places kept for."""

from __future__ import annotations

from collections import Counter

import pytest

from sealgate.session import counts
from sealgate.session.counts import Counts
from sealgate.verify.verdict import Accepted
from support.talk import Talk


@pytest.mark.parametrize("tasks", [1, 3, counts._KEPT_MAX, 3 * counts._KEPT_MAX])
@pytest.mark.parametrize("per_event", [1, 7, 100])
def test_every_publish_is_counted_once_under_its_key(tasks: int, per_event: int) -> None:
    talk = Talk()
    counted = Counts(talk.session.conversation)
    expected: Counter[str] = Counter()
    for number in range(400):
        kid = f"k{number % tasks}"
        expected[kid] += 1
        counted.accept(Accepted(kid=kid, task=f"t{number % tasks}", expires=number + 1))
        if number % per_event == 0:
            counted.tell()
            counted.tell()
    counted.tell()
    assert {kid: count for (kid, _), count in talk.tally.key_messages.items()} == expected
    assert sum(talk.tally.messages.values()) == 400
    last = {f"k{number % tasks}": number + 1 for number in range(400)}
    assert {kid: use.expires_latest for kid, use in talk.tally.key_use.items()} == last
    assert len(counted._accepted) <= max(counts._KEPT_MAX, tasks)
