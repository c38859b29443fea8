from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from sealgate.ops.audit import PER_SECOND_MAX, Audit
from sealgate.ops.logging import AUDIT_LOGGER, JsonFormatter
from sealgate.reason import Reason
from support.refusals import SEAL, refusal


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, audit = logging.getLogger(), logging.getLogger(AUDIT_LOGGER)
    before = root.handlers[:], root.level, audit.level
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root.handlers[:] = [handler]
    audit.setLevel(logging.INFO)
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    audit.setLevel(before[2])


def written(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def counts(stream: io.StringIO) -> list[object]:
    return [line["count"] for line in written(stream)]


def test_a_refusal_is_one_record_of_who_what_where_and_why(stream: io.StringIO, clock: Clock) -> None:
    Audit(clock).write(refusal(reason=Reason.SIG_MISSING))
    (line,) = written(stream)
    del line["ts"]
    assert line == {
        "level": "info",
        "logger": "sealgate.audit",
        "event": "refused",
        "direction": "publish",
        "reason": "sig.missing",
        "detail": "signature",
        "observed": False,
        "answer": "channel.close",
        "kid": "k1",
        "task": "shop.tasks.pay",
        "exchange": "shop",
        "routing_key": "orders",
        "vhost": "/",
        "user": "web",
        "client": "10.0.0.7:51234",
        "channel": 7,
        "body_size": 13,
        "complete": True,
        "refused_at": 1_700_000_000.25,
        "count": 1,
    }


def test_no_body_header_value_or_signature_is_written(stream: io.StringIO, clock: Clock) -> None:
    Audit(clock).write(refusal(b"secret-body"))
    assert "secret-body" not in stream.getvalue()
    assert SEAL not in stream.getvalue()
    assert "application/json" not in stream.getvalue()


def test_ordinary_refusals_have_a_record_each(stream: io.StringIO, clock: Clock) -> None:
    audit = Audit(clock)
    for _ in range(100):
        audit.write(refusal())
        clock.now += 0.11
    assert counts(stream) == [1] * 100


def test_a_flood_has_few_records_that_stand_for_all(stream: io.StringIO, clock: Clock) -> None:
    audit = Audit(clock)
    for _ in range(30_000):
        audit.write(refusal())
        clock.now += 0.0001
    audit.flush()
    assert len(counts(stream)) <= 4 * PER_SECOND_MAX
    assert sum(int(str(count)) for count in counts(stream)) == 30_000


def test_a_flood_of_one_reason_hides_no_other(stream: io.StringIO, clock: Clock) -> None:
    audit = Audit(clock)
    for _ in range(1000):
        audit.write(refusal())
    audit.write(refusal(reason=Reason.REPLAY_CONFLICT))
    assert written(stream)[-1]["reason"] == "replay.conflict"


def test_flushing_writes_what_is_owed_once_with_the_newest(stream: io.StringIO, clock: Clock) -> None:
    audit = Audit(clock)
    for number in range(PER_SECOND_MAX + 5):
        audit.write(refusal(task=str(number)))
    audit.flush()
    audit.flush()
    assert counts(stream) == [1] * PER_SECOND_MAX + [5]
    assert written(stream)[-1]["task"] == str(PER_SECOND_MAX + 4)
