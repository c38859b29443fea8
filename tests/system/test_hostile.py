"""Every row of hostile.jsonl about publishing: real octets through a running gateway to a real RabbitMQ.

Each run of a row sends its octets over a plain socket and checks the verdict, its reason and count, what
the client was told, what reached the broker (by the broker's own tracer and its queues), and what was kept.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import (
    hostile_bodies,
    hostile_envelopes,
    hostile_frames,
    hostile_properties,
    hostile_stores,
    hostile_tokens,
)
from support.gateway import GatewayProcess
from support.hostile_catalogue import FILE, Case, Catalogue
from support.hostile_keys import KEY_TABLES
from support.hostile_stage import Stage
from support.processes import free_port
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
        "CO": "deliveries to consumers: played in test_deliveries.py, verdicts in tests/verify",
        "RL02": "no gateway starts with such a rate: exit 78, shown here; the verdict is in tests/verify",
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


def test_rate_that_costs_more_than_its_bucket_holds_is_a_wrong_configuration(tmp_path: Path) -> None:
    """Row RL02: what could never pass is told at the start."""
    settings = {"rate": {"rated.*": "5/m burst 2 cost 3"}}
    process = GatewayProcess(tmp_path, free_port(), KEY_TABLES, settings)
    command = [sys.executable, "-m", "sealgate", "run", "--config", process.config]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 78
    assert "rate" in ended.stderr and "not over the burst" in ended.stderr
