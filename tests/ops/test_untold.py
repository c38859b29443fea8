"""What sessions have not told the tally yet is there for whoever reads it."""

from __future__ import annotations

from typing import Final

import pytest

from sealgate.app.keywatch import KeyWatch
from sealgate.ops.health import Report
from sealgate.ops.keys import KeyFacts, KeysPage, RingFacts
from sealgate.ops.metrics import build_registry, exposition
from sealgate.ops.status import Facts, render
from sealgate.ops.sums import from_plain, to_plain
from sealgate.session.records import Tally
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key, Keyring

NOW = 1_700_000_000.0


class Waiting:
    """A session that has counted three messages."""

    def __init__(self, tally: Tally) -> None:
        self._tally: Final = tally
        tally.untold.add(self)

    def tell(self) -> None:
        tally = self._tally
        tally.untold.discard(self)
        tally.messages["publish", "accepted", "ok"] += 3
        tally.task_messages["other", "accepted"] += 3
        tally.key_messages["k1", "accepted"] += 3
        tally.use_of("k1").note(3, NOW, 1_700_086_400, "web")


@pytest.fixture
def tally() -> Tally:
    tally = Tally()
    for _ in range(2):
        Waiting(tally)
    return tally


def test_metrics_have_it(tally: Tally) -> None:
    text = exposition(build_registry(tally, None, {}), "")[0].decode()
    assert 'sealgate_messages_total{direction="publish",reason="ok",verdict="accepted"} 6.0' in text
    assert 'sealgate_task_messages_total{task="other",verdict="accepted"} 6.0' in text
    assert 'sealgate_key_messages_total{kid="k1",verdict="accepted"} 6.0' in text
    assert 'sealgate_key_last_used_timestamp_seconds{kid="k1"}' in text


def test_status_page_has_it(tally: Tally) -> None:
    good = Report({"loop": ""})
    assert "<td>6</td>" in render(Facts({}, NOW, NOW), good, good, tally)


def test_keys_page_has_it(tally: Tally) -> None:
    facts = KeyFacts("k1", "hmac-sha256", "active", True, None, None, 86_400, NOW, NOW)
    page = KeysPage("prod", lambda: [RingFacts("env:K", (facts,))], tally, lambda: NOW)
    (told,) = page.table().data["keys"]
    assert (told["last_used"], told["messages_last_hour"], told["users"]) == (NOW, 6, ["web"])


def test_report_to_the_supervisor_has_it(tally: Tally) -> None:
    told = from_plain(to_plain(tally))
    assert told.key_messages == {("k1", "accepted"): 6}
    assert told.key_use["k1"].messages_last_hour(NOW) == 6


def test_key_that_has_left_does_not_come_back_with_it(tally: Tally) -> None:
    watch = KeyWatch("env:K", tally, lambda: NOW)
    watch.apply(Keyring([Key("k2", HmacSha256(bytes(32)))]))
    tally.settle()
    assert not tally.key_use
    assert tally.key_messages == {("k1", "accepted"): 6}
