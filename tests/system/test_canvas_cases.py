"""Permitted and forbidden embeddings on a real prefork worker: those run, and only those.

Every message goes through a signing sidecar and the gateway to RabbitMQ. What is refused is also published
to the broker itself, where another worker of the same application obeys it: else a refusal would show little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from support.canvas_cases import FORBIDDEN, PERMITTED
from support.canvas_project import PARKED, SECRET
from support.canvas_shapes import EVIL
from support.canvas_stage import RUN_SECONDS_MAX, CanvasStage, canvas_stage
from support.hostile_broker import Arrived
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.redis_server import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def stage(
    rabbitmq: RabbitMQServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CanvasStage]:
    home = tmp_path_factory.mktemp("canvas")
    settings = {"celery": {"protocol_1": True}}
    with canvas_stage(rabbitmq, home, f"redis://127.0.0.1:{redis_server.port}", settings) as running:
        yield running


def test_there_are_forty_cases_and_more() -> None:
    assert len(PERMITTED) >= 18
    assert len(FORBIDDEN) >= 22
    assert not PERMITTED.keys() & FORBIDDEN.keys()


def test_permitted_embeddings_run_and_nothing_else_does(stage: CanvasStage) -> None:
    for name, case in PERMITTED.items():
        assert stage.send(case.draft(name), case.kid) == "", name
    wanted = {name: case.runs for name, case in PERMITTED.items()}

    def found() -> dict[str, Counter[str]]:
        return {name: stage.worker.runs_of(name) for name in PERMITTED}

    def all_ran() -> bool:
        return all(found()[name] >= wanted[name] for name in PERMITTED)

    try:
        wait_until(all_ran, RUN_SECONDS_MAX, "every permitted task to run")
    except AssertionError:
        assert found() == wanted
        raise
    assert found() == wanted


def test_forbidden_embeddings_are_refused_with_their_reason(stage: CanvasStage) -> None:
    told = {name: stage.send(case.draft(name), case.kid) for name, case in FORBIDDEN.items()}
    for name, case in FORBIDDEN.items():
        assert told[name].startswith(f"ACCESS_REFUSED - sealgate: {case.reason}"), (name, told[name])


def test_forbidden_embeddings_are_obeyed_where_nobody_refuses_them(stage: CanvasStage) -> None:
    # The worker itself has declared the exchange of events.
    stage.bare_direct.bind(SECRET, "celeryev", "#")
    stage.bare_direct.bind(SECRET, "amq.direct", PARKED)
    for name, case in FORBIDDEN.items():
        stage.send_bare(case.draft(name))
    missing = dict(FORBIDDEN)
    arrived: dict[str, list[Arrived]] = {SECRET: [], PARKED: []}

    def all_shown() -> bool:
        for queue in arrived:
            arrived[queue] += stage.bare_direct.drain(queue)
        ran = stage.bare.runs()
        for name, case in list(missing.items()):
            evidence = case.evidence
            if isinstance(evidence, str):
                shown = any(
                    (run.case == name and evidence in (run.task, run.reply_to, run.id))
                    or (evidence in run.arguments and run.case in ("", name))
                    for run in ran
                )
            else:
                queue, true_of = evidence
                shown = any(
                    f"~{name}~".encode() in message.header + message.body and true_of(message)
                    for message in arrived[queue]
                )
            if shown:
                del missing[name]
        return not missing

    try:
        wait_until(all_shown, RUN_SECONDS_MAX, "an unprotected worker to obey")
    except AssertionError:
        assert sorted(missing) == []
        raise


def test_nothing_forbidden_ran_later_either(stage: CanvasStage) -> None:
    """After all of it: no run of a forbidden case, no task that nobody may run, and a worker that lives."""
    case = PERMITTED["chain"]
    before = stage.worker.runs_of("chain")
    assert stage.send(case.draft("chain"), case.kid) == ""
    wait_until(
        lambda: stage.worker.runs_of("chain") == before + case.runs, RUN_SECONDS_MAX, "a last chain to run"
    )
    ran = stage.worker.runs()
    assert [run for run in ran if run.case in FORBIDDEN] == []
    assert [run for run in ran if run.task == EVIL] == []
    assert stage.direct.drain(SECRET) + stage.direct.drain(PARKED) == []
    assert stage.worker.alive()
