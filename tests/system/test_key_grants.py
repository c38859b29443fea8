"""What a key may have a real worker do, by embeddings, remote control and events: that works, and only that.

Every message goes through the gateway to RabbitMQ, those of the worker through its signing sidecar as well.
What is refused is also published to the broker itself, where another worker of the same application obeys it:
else a refusal would show little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from celery import Celery

from support.canvas_cases import FORBIDDEN, PERMITTED
from support.canvas_project import PARKED, QUEUES, SECRET
from support.canvas_shapes import EVIL, STEP, sig
from support.canvas_stage import RUN_SECONDS_MAX, CanvasStage, canvas_stage
from support.control_messages import ASKED, candidate, election
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
        # What was lost on the way, if anything was.
        assert (found(), stage.gateway.refusals()) == (wanted, {})
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


@pytest.fixture(scope="module")
def monitor(stage: CanvasStage) -> Iterator[Celery]:
    """Celery's own remote control, through the sidecar that may ping and ask what is active."""
    app = Celery("monitor", broker=stage.sidecars["monitor"].url(stage.vhost), set_as_current=False)
    yield app
    app.close()


def test_remote_control_does_what_its_key_may(stage: CanvasStage, monitor: Celery) -> None:
    name = stage.worker.name
    refused = stage.gateway.refusals().get("celery.control", 0)
    assert monitor.control.ping(timeout=10, limit=1) == [{name: {"ok": "pong"}}]
    inspect = monitor.control.inspect(destination=[name], timeout=10)
    assert inspect.active() == {name: []}
    assert "shop.step" in inspect.registered()[name]
    assert {queue["name"] for queue in inspect.active_queues()[name]} == set(QUEUES)
    assert inspect.stats()[name]["pool"]["max-concurrency"] == 2
    monitor.control.shutdown()
    wait_until(
        lambda: stage.gateway.refusals().get("celery.control", 0) == refused + 1,
        10,
        "the shutdown to be refused",
    )
    assert monitor.control.ping(timeout=10, limit=1) == [{name: {"ok": "pong"}}]


@pytest.mark.parametrize("name", ASKED)
def test_commands_and_events_are_held_to_the_key(name: str, stage: CanvasStage) -> None:
    asked = ASKED[name]
    told = stage.send(asked.draft(stage.worker.name), asked.kid)
    assert told.startswith(f"ACCESS_REFUSED - sealgate: {asked.reason}") if asked.reason else told == ""
    assert stage.worker.alive()


def test_a_worker_still_answers_and_sends_events_after_all_that(stage: CanvasStage, monitor: Celery) -> None:
    stage.direct.declare("watched")
    stage.direct.bind("watched", "celeryev", "task.#")
    case = PERMITTED["callback"]
    before = stage.worker.runs_of("callback")
    assert stage.send(case.draft("callback"), case.kid) == ""
    wait_until(
        lambda: stage.worker.runs_of("callback") == before + case.runs, RUN_SECONDS_MAX, "the tasks to run"
    )
    seen = b""

    def succeeded() -> bool:
        nonlocal seen
        seen += b"".join(message.body for message in stage.direct.drain("watched"))
        return b"task-succeeded" in seen

    wait_until(succeeded, RUN_SECONDS_MAX, "the worker's events")
    assert monitor.control.ping(timeout=10, limit=1) == [{stage.worker.name: {"ok": "pong"}}]


def test_a_worker_that_nothing_protects_does_as_it_is_told(stage: CanvasStage) -> None:
    """The last of this file: the unprotected worker ends with it."""
    bare = stage.bare
    app = Celery("direct", broker=bare.broker, set_as_current=False)
    try:
        stage.send_bare(candidate(bare.name, bare.process.pid, sig(EVIL, "elected")))
        stage.send_bare(election(sig(STEP)))
        wait_until(
            lambda: any("elected" in run.arguments for run in bare.runs()), 20, "an election of another task"
        )
        assert app.control.ping(timeout=10, limit=1) == [{bare.name: {"ok": "pong"}}]
        stage.send_bare(ASKED["end_of_the_clock"].draft(bare.name))
        assert app.control.ping(timeout=2) == []
        stage.send_bare(ASKED["shutdown"].draft(bare.name))
        wait_until(lambda: not bare.alive(), 30, "the worker to shut down")
    finally:
        app.close()
