"""Every row of hostile.jsonl about publishing: real octets through a running gateway to a real RabbitMQ.

Each run of a row sends its octets over a plain socket and checks the verdict, its reason and count, what
the client was told, what reached the broker (by the broker's own tracer and its queues), and what was kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support import (
    hostile_bodies,
    hostile_envelopes,
    hostile_frames,
    hostile_properties,
    hostile_stores,
    hostile_tokens,
)
from support.hostile_catalogue import FILE, Case, Catalogue
from support.hostile_stage import Stage
from support.rabbitmq_server import RabbitMQServer

pytestmark = pytest.mark.system

CATALOGUE = Catalogue(
    [
        hostile_frames.ROWS,
        hostile_properties.ROWS,
        hostile_bodies.ROWS,
        hostile_envelopes.ROWS,
        hostile_tokens.ROWS,
        hostile_stores.ROWS,
    ],
    left={
        "CO": "deliveries to consumers: deliver.action = verify is not in this version",
        "RL02": "no gateway runs with such a rate: see the test below; the verdict itself is in tests/verify",
    },
)


@pytest.fixture(scope="module")
def stage(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as closing:
        yield Stage(rabbitmq, tmp_path_factory.mktemp("hostile"), closing)


@pytest.fixture(scope="module")
def played(closing_lines: list[str]) -> Iterator[list[Case]]:
    """The cases that passed; in the end they are told."""
    cases: list[Case] = []
    yield cases
    rows = list(dict.fromkeys(case.row for case in cases))
    closing_lines.append(
        f"hostile.jsonl: {len(rows)} of {len(FILE)} rows played through running gateways ({len(cases)} runs):"
    )
    closing_lines.extend("  " + " ".join(rows[start : start + 16]) for start in range(0, len(rows), 16))
    closing_lines.extend(f"  left: {row}: {why}" for row, why in CATALOGUE.left().items())


@pytest.mark.parametrize("case", CATALOGUE.cases, ids=str)
def test_hostile_row(case: Case, stage: Stage, played: list[Case]) -> None:
    try:
        case.play(stage)
    except BaseException:
        stage.tidy()
        raise
    played.append(case)


def test_every_row_of_the_file_is_played_or_left_for_a_reason() -> None:
    assert CATALOGUE.differences() == []
