"""The ways to the broker, started once, and the stage that plays every conversation on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conversation import Stage, scripts_of
from support.rabbitmq_server import RabbitMQServer
from support.ways import Ways, ways_to


@pytest.fixture(scope="session")
def ways(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """The broker, directly and through every kind of gate."""
    home: Path = tmp_path_factory.mktemp("ways")
    with ways_to(rabbitmq, home) as ways:
        yield ways


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, ways: Ways) -> Iterator[Stage]:
    """Plays the conversations that were collected; tests wait for theirs."""
    stage = Stage(ways.ways, scripts_of(request.session.items))
    yield stage
    stage.close()
