"""Several workers under one supervisor: one port, one admin address, and deaths that concern nobody else."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest
import redis
from pamqp import commands

from support.gateway import GatewayProcess, gateway, key, new_secret
from support.hostile_play import check_arrived, hear_ack
from support.hostile_publish import a_task, stored
from support.hostile_publish import publish as publish_as
from support.hostile_stage import Gate, Stage
from support.processes import end, free_port, spawn, wait_until
from support.publisher import arrivals
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import RawClient, raw_client
from support.redis_server import RedisServer
from support.rolled import QUEUE, Rolled, declare, passed, producers

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

WORKERS = 2
SESSIONS: dict[str, Any] = {"listen": {"workers": WORKERS}, "replay": {"nonces": "session"}}
SIGN: dict[str, Any] = {"publish": {"action": "sign", "sign_with": "k1"}, "quarantine": {"enabled": False}}
ANYTHING: dict[str, Any] = {"content": {"profile": "generic", "types": ["*"]}}
#: Enough that the kernel, which throws dice, leaves no worker without any.
CONNECTIONS = 30


def workers_of(process: GatewayProcess) -> list[int]:
    """Process ids of its children."""
    found: list[int] = []
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        found += map(int, children.read_text().split())
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def importing_first(folder: Path) -> dict[str, str]:
    """The environment, with the modules in `folder` before those of the same name elsewhere."""
    found = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *([found] if found else [])])}


def up(process: GatewayProcess) -> float:
    return process.metric("sealgate_worker_up")


def restarts(process: GatewayProcess) -> float:
    return process.metric("sealgate_worker_restarts_total")


def accepted(process: GatewayProcess) -> int:
    return int(process.metric("sealgate_messages_total", direction="publish", verdict="accepted"))


def clients(process: GatewayProcess) -> list[float]:
    """Connections of each worker."""
    return [
        process.metric("sealgate_worker_client_connections", worker=str(number + 1))
        for number in range(WORKERS)
    ]


def connect(port: int) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, heartbeat=0))


def publish(connection: pika.BlockingConnection) -> None:
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("amq.fanout", "anywhere", b"hello")
    channel.close()


@pytest.fixture
def keys() -> list[dict[str, object]]:
    return [key("k1", new_secret())]


@contextmanager
def sealed_way(
    home: Path, rabbitmq: RabbitMQServer, keys: list[dict[str, object]], settings: dict[str, Any]
) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """A gateway with workers and a signing sidecar with as many in front of it."""
    sign = {**SIGN, **ANYTHING, "listen": {"workers": WORKERS}}
    with (
        gateway(home / "gateway", rabbitmq.port, keys, {**ANYTHING, **settings}) as gate,
        gateway(home / "sidecar", gate.port, keys, sign) as sidecar,
    ):
        yield gate, sidecar


def test_one_worker_is_one_process(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys) as process:
        assert workers_of(process) == []
        assert "sealgate_worker_up" not in process.get("/metrics")[1]


def test_supervisor_that_can_not_start_over_supervises_all_the_same(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    """On a system without memfd it is larger, and nothing else."""
    (tmp_path / "sitecustomize.py").write_text("import os\ndel os.memfd_create\n")
    process = GatewayProcess(tmp_path / "gateway", rabbitmq.port, keys, SESSIONS)
    process.start(importing_first(tmp_path))
    try:
        command = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        assert "--supervise" not in command
        assert up(process) == WORKERS
        assert process.stop() == 0
    finally:
        process.stop(signal.SIGKILL)


def test_connections_are_spread_and_metrics_are_sums(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with sealed_way(tmp_path, rabbitmq, keys, SESSIONS) as (gate, sidecar), ExitStack() as stack:
        assert len(workers_of(gate)) == len(workers_of(sidecar)) == WORKERS
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(connect(sidecar.port))
            publish(connection)
        for process in (gate, sidecar):
            spread = clients(process)
            assert min(spread) > 0
            assert sum(spread) == process.metric("sealgate_client_connections") == CONNECTIONS
        assert accepted(gate) == CONNECTIONS
        assert gate.metric("sealgate_key_messages_total", kid="k1", verdict="accepted") == CONNECTIONS
        assert gate.metric("sealgate_verify_seconds_count") == CONNECTIONS
        assert abs(gate.metric("sealgate_key_last_used_timestamp_seconds", kid="k1") - time.time()) < 60
        assert gate.metric("sealgate_build_info") == 1
        assert gate.metric("sealgate_upstream_up") == 1
        assert f"workers</td><td>{WORKERS}" in gate.get("/")[1]
        own = int(Path(f"/proc/{gate.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert gate.metric("process_resident_memory_bytes") > 2 * own


def sockets_of(pid: int) -> set[str]:
    """Those it holds, but for the three that any process is given."""
    folder = Path(f"/proc/{pid}/fd")
    held: set[str] = set()
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            if int(name) > 2:
                held.add(os.readlink(folder / name))
    return {name for name in held if name.startswith("socket:")}


def test_worker_holds_no_socket_of_another_process(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        held = [sockets_of(pid) for pid in (process.pid, *workers_of(process))]
        assert all(held)
        assert sum(map(len, held)) == len(set.union(*held))


def test_worker_that_is_killed_is_back_and_others_are_not_touched(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with sealed_way(tmp_path, rabbitmq, keys, SESSIONS) as (gate, sidecar), ExitStack() as stack:
        connections = [stack.enter_context(connect(sidecar.port)) for _ in range(CONNECTIONS)]
        for connection in connections:
            publish(connection)
        of_the_others = clients(gate)[1]
        assert accepted(gate) == CONNECTIONS
        used = gate.metric("sealgate_key_last_used_timestamp_seconds", kid="k1")
        os.kill(workers_of(gate)[0], signal.SIGKILL)
        wait_until(lambda: restarts(gate) == 1 and up(gate) == WORKERS, 20, "the worker to be back")
        assert "killed by SIGKILL" in gate.log_text()
        assert accepted(gate) == CONNECTIONS, "what it had counted is kept"
        assert gate.metric("sealgate_key_last_used_timestamp_seconds", kid="k1") == used
        assert clients(gate) == [0, of_the_others]
        alive = 0
        for connection in connections:
            try:
                publish(connection)
            except pika.exceptions.AMQPError:
                continue
            alive += 1
        assert alive == of_the_others
        with connect(sidecar.port) as again:
            publish(again)
        assert accepted(gate) == CONNECTIONS + alive + 1
        wait_until(gate.ready, 10, "all workers to be ready")


def test_killed_worker_under_load_loses_no_confirmed_task(
    rabbitmq: RabbitMQServer,
    vhost: str,
    redis_server: RedisServer,
    keys: list[dict[str, object]],
    tmp_path: Path,
    closing_lines: list[str],
) -> None:
    declare(rabbitmq, vhost)
    settings = {"listen": {"workers": WORKERS}, "replay": {"store": redis_server.url}}
    with (
        gateway(tmp_path / "gateway", rabbitmq.port, keys, settings) as gate,
        gateway(tmp_path / "sidecar", gate.port, keys, SIGN) as sidecar,
        producers(tmp_path, sidecar.url(vhost)) as started,
    ):
        kills, last = 3, 0
        for kill in range(kills):
            enough = last + 150

            def grown(enough: int = enough) -> bool:
                nonlocal last
                now = accepted(gate)
                assert now >= last, "a counter went back"
                last = now
                return now > enough

            wait_until(grown, 60, "some load")
            os.kill(workers_of(gate)[kill % WORKERS], signal.SIGKILL)
            wait_until(lambda kill=kill: restarts(gate) == kill + 1, 20, "the worker to be back")  # type: ignore[misc]
        wait_until(lambda: accepted(gate) > last + 150, 60, "some load")
        outcomes = {producer.name: producer.stop() for producer in started}
        counted = accepted(gate)
        assert gate.refusals() == {}
    safe = [outcome for name, outcome in outcomes.items() if name.endswith(" confirmed")]
    confirmed = [task_id for published, _ in safe for task_id in published]
    everything = sum(len(published) for published, _ in outcomes.values())
    found = Counter(arrivals(rabbitmq.port, vhost, QUEUE, 10 * everything))
    assert [task_id for task_id in confirmed if task_id not in found] == []
    # Whoever was cut is told, where Celery does not try again by itself.
    told = sum(len(failed) for _, failed in safe)
    arrived = sum(found.values())
    # What a killed worker counted after its last report, half a second at most, is all that may lack.
    assert 0.8 * arrived < counted <= arrived
    closing_lines.append(
        f"{kills} workers killed under load: {len(confirmed)} confirmed tasks, none missing, "
        f"{told} told as failed; {counted} counted of {arrived} that arrived"
    )


def test_drain_of_one_gateway_with_workers_fails_no_publish_while_another_shares_the_port(
    rabbitmq: RabbitMQServer, vhost: str, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    declare(rabbitmq, vhost)
    rolled = Rolled(tmp_path / "gateway", rabbitmq.port, keys, SESSIONS)
    try:
        with gateway(tmp_path / "sidecar", rolled.process.port, keys, SIGN) as sidecar:
            with producers(tmp_path, sidecar.url(vhost)) as started:
                for _ in range(2):
                    wait_until(lambda: passed(rolled.process) > 100, 60, "some load")
                    rolled.roll()
                wait_until(lambda: passed(rolled.process) > 100, 60, "some load")
                outcomes = {producer.name: producer.stop() for producer in started}
            refused = {**rolled.process.refusals(), **sidecar.refusals()}
    finally:
        rolled.process.stop(signal.SIGKILL)
    assert refused == {}
    assert {name: failed for name, (_, failed) in outcomes.items() if failed} == {}
    wanted = [task_id for published, _ in outcomes.values() for task_id in published]
    found = set(arrivals(rabbitmq.port, vhost, QUEUE, 10 * len(wanted)))
    assert [task_id for task_id in wanted if task_id not in found] == []


# What workers share through Redis


@pytest.fixture
def stage(rabbitmq: RabbitMQServer, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as closing:
        yield Stage(rabbitmq, tmp_path, closing)


def a_client_of_each_worker(gate: Gate, stage: Stage, stack: ExitStack) -> list[RawClient]:
    """Clients, until every worker has some."""
    opened: list[RawClient] = []
    while not opened or min(clients(gate.process)) == 0:
        assert len(opened) < CONNECTIONS
        opened.append(stack.enter_context(raw_client(gate.port, stage.vhost)))
        opened[-1].open_channel(confirms=True)
    return opened


def test_message_that_one_worker_took_is_a_duplicate_for_all(stage: Stage, rabbitmq: RabbitMQServer) -> None:
    settings = {"listen": {"workers": WORKERS}, "replay": {"store": stage.shared_redis.url}}
    gate = stage.start_gateway("workers.replay", rabbitmq.port, settings)
    with ExitStack() as stack:
        opened = a_client_of_each_worker(gate, stage, stack)
        sent = publish_as(a_task(), opened[0], stored())
        before = committed_in(stage.shared_redis)
        with gate.counting({"accepted ok": 1, "refused replay.duplicate": len(opened) - 1}):
            for client in opened:
                client.send(sent.frames(client))
                hear_ack(client)
                # The confirm does not wait for the store to hear of it: until then it is in flight.
                wait_until(lambda: committed_in(stage.shared_redis) > before, 10, "the commit")
        check_arrived(stage, sent)


def committed_in(server: RedisServer) -> int:
    """The nonces there that are more than leased: a lease ends within ten seconds."""
    with redis.Redis.from_url(server.url) as store:
        return sum(store.pttl(key) > 60_000 for key in store.scan_iter("*:n:*"))


def test_rate_is_one_for_all_workers(stage: Stage, rabbitmq: RabbitMQServer) -> None:
    settings = {
        "listen": {"workers": WORKERS},
        "replay": {"store": stage.shared_redis.url},
        "rate": {"*": "3/h burst 3"},
        "refuse": {"over_rate": "refuse"},
    }
    gate = stage.start_gateway("workers.rate", rabbitmq.port, settings)
    with ExitStack() as stack:
        opened = a_client_of_each_worker(gate, stage, stack)
        turns = 2 * opened
        refused = len(turns) - 3
        with gate.counting({"accepted ok": 3, "refused rate.task": refused}):
            for number, client in enumerate(turns):
                client.send(publish_as(a_task(), client, stored()).frames(client))
                client.expect(1, commands.Basic.Ack if number < 3 else commands.Basic.Nack)
        gate.take_kept(refused)


# What the supervisor passes on


def test_sighup_reaches_every_worker(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: process.metric("sealgate_config_reloads_total", result="ok") == WORKERS, 10, "reloads"
        )
        process.write_keys([{**keys[0], "secret": "hex:00"}])
        process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: all(
                f"[!]worker {n + 1} keyring" in process.get("/readyz?verbose")[1] for n in range(WORKERS)
            ),
            10,
            "every worker to tell that its keys are broken",
        )
        assert process.ready(), "the last good keys are in force"


def test_second_sigterm_cuts_every_worker_at_once(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    settings = {**SESSIONS, "drain": {"delay": "60s", "timeout": "80s"}}
    with (
        gateway(tmp_path, rabbitmq.port, keys, settings) as process,
        socket.create_connection(("127.0.0.1", process.port)),
    ):
        pids = workers_of(process)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.get("/readyz")[0] == 503, 5, "the gateway to drain")
        assert "draining" in process.get("/readyz?verbose")[1]
        started = time.monotonic()
        assert process.stop(signal.SIGTERM) == 1
        assert time.monotonic() - started < 20
        assert not any(map(is_alive, pids))


def test_sigterm_for_the_whole_group_is_one_drain(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    """As systemd sends it: to supervisor and workers alike."""
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        connection = connect(process.port)
        os.killpg(process.pid, signal.SIGTERM)
        with pytest.raises(pika.exceptions.ConnectionClosed) as closed:
            connection.process_data_events(time_limit=10)
        assert closed.value.reply_code == 320
        wait_until(process.ended, 20, "the gateway to end")
        assert process.stop() == 0
        assert restarts(process) == 0


@pytest.mark.parametrize("moment", ["gate.supervising", "worker.started"])
def test_sigterm_before_any_worker_listens_ends_cleanly(
    moment: str, rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    process = GatewayProcess(tmp_path, rabbitmq.port, keys, SESSIONS)
    log = tmp_path / "early.log"
    started = spawn([sys.executable, "-m", "sealgate", "run", "--config", process.config], log)
    try:
        wait_until(lambda: log.exists() and moment in log.read_text(), 30, moment)
        started.send_signal(signal.SIGTERM)
        wait_until(lambda: started.poll() is not None, 30, "it to end")
        assert started.returncode == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        end(started, signal.SIGKILL)


def test_worker_that_is_asked_to_end_drains_and_is_replaced(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        old = workers_of(process)
        os.kill(old[0], signal.SIGTERM)
        wait_until(lambda: restarts(process) == 1 and up(process) == WORKERS, 20, "another worker")
        assert old[1] in workers_of(process) and old[0] not in workers_of(process)
        assert "worker.died" not in process.log_text()


def test_workers_end_by_themselves_when_their_supervisor_is_killed(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        pids = workers_of(process)
        os.kill(process.pid, signal.SIGKILL)
        wait_until(process.ended, 10, "the supervisor to be dead")
        process.start()
        assert up(process) == WORKERS, "the next supervisor need not wait for them"
        wait_until(lambda: not any(map(is_alive, pids)), 30, "the workers to end")
        assert process.log_text().count("worker.orphaned") == WORKERS
        assert "Traceback" not in process.log_text()


def test_worker_that_hangs_fails_liveness_and_readiness_by_name(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        stopped = workers_of(process)[1]
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: process.get("/livez")[0] == 503, 20, "the hang to show")
        assert "[-]worker 2 has not answered for" in process.get("/livez?verbose")[1]
        assert process.get("/readyz") == (503, "failing: worker 2\n")
        os.kill(stopped, signal.SIGCONT)
        wait_until(lambda: process.get("/livez")[0] == 200 and process.ready(), 20, "it to be well again")


# Deaths


def test_worker_that_dies_again_and_again_is_told_and_the_rest_serves(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    with gateway(tmp_path, rabbitmq.port, keys, SESSIONS) as process:
        healthy = workers_of(process)[1]

        def killed_once_more() -> bool:
            for pid in workers_of(process):
                if pid != healthy:
                    os.kill(pid, signal.SIGKILL)
            return "worker.failing" in process.log_text()

        wait_until(killed_once_more, 60, "the log to tell")
        assert process.get("/readyz") == (503, "failing: worker 1\n")
        assert "killed by SIGKILL" in process.get("/readyz?verbose")[1]
        assert process.get("/livez")[0] == 200
        assert is_alive(healthy)
        with connect(process.port):
            pass
        wait_until(process.ready, 30, "it to recover once nobody kills it")


def test_workers_that_die_before_they_listen_end_with_70(
    rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    """What every worker imports kills it: nothing that a restart could mend."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "uvloop.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    process = GatewayProcess(tmp_path / "gateway", rabbitmq.port, keys, SESSIONS)
    with pytest.raises(AssertionError, match="the gateway ended at once"):
        process.start(importing_first(broken))
    assert process.stop() == 70
    assert "killed by SIGSEGV" in process.log_text()
    assert "gate.given_up" in process.log_text()
    assert "Traceback" not in process.log_text()


def test_worker_comes_back_without_a_broker_and_without_the_file(
    keys: list[dict[str, object]], tmp_path: Path
) -> None:
    """A gateway in service outlives both: only a first start ends when there is no broker."""
    with socket.create_server(("127.0.0.1", 0)) as broker:
        settings = {**SESSIONS, "upstream": {"start_timeout": "1s"}, "quarantine": {"enabled": False}}
        process = GatewayProcess(tmp_path, broker.getsockname()[1], keys, settings)
        process.start()
    try:
        process.config.unlink()
        killed = workers_of(process)[0]
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: restarts(process) == 1 and up(process) == WORKERS, 30, "the worker to be back")
        wait_until(
            lambda: process.get("/readyz") == (503, "failing: worker 1, worker 2\n"), 30, "no broker to show"
        )
        enough = time.monotonic() + 3
        wait_until(lambda: time.monotonic() > enough, 10, "the time of a first start to be over")
        assert restarts(process) == 1
        assert not process.ended()
    finally:
        process.stop(signal.SIGKILL)


# Starts that can not succeed


def test_store_that_is_away_is_told_once_and_ends_with_69(
    keys: list[dict[str, object]], tmp_path: Path
) -> None:
    settings = {"listen": {"workers": WORKERS}, "replay": {"store": f"redis://127.0.0.1:{free_port()}"}}
    process = GatewayProcess(tmp_path, 1, keys, settings)
    with pytest.raises(AssertionError, match="the gateway ended at once"):
        process.start()
    assert process.stop() == 69
    assert process.log_text().count("sealgate: replay.store") == 1


def test_broker_that_stays_away_ends_the_start_with_69(keys: list[dict[str, object]], tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path, 1, keys, {**SESSIONS, "upstream": {"start_timeout": "2s"}})
    with pytest.raises(AssertionError, match="the gateway ended at once"):
        process.start()
    assert process.stop() == 69


@pytest.mark.parametrize("taken", ["listen.address", "admin.address"])
def test_address_that_is_taken_ends_the_start_with_78(
    taken: str, rabbitmq: RabbitMQServer, keys: list[dict[str, object]], tmp_path: Path
) -> None:
    section = taken.partition(".")[0]
    address = f"127.0.0.1:{rabbitmq.port}"
    settings = {**SESSIONS, section: {**SESSIONS.get(section, {}), "address": address}}
    process = GatewayProcess(tmp_path, 1, keys, settings)
    with pytest.raises(AssertionError, match="the gateway ended at once"):
        process.start()
    assert process.stop() == 78
    assert f"sealgate: {taken}: " in process.log_text()


def test_option_wins_and_memory_that_is_not_shared_ends_with_78(
    keys: list[dict[str, object]], tmp_path: Path
) -> None:
    process = GatewayProcess(tmp_path, 1, keys, {"listen": {"workers": 1}})
    command = [sys.executable, "-m", "sealgate", "run", "--config", str(process.config), "--workers", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 78
    assert 'replay.store: is "memory", which workers do not share' in ended.stderr


def test_worker_without_a_supervisor_is_a_wrong_usage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sealgate", "run", "--worker", "1"]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 64
    assert ended.stderr.startswith("sealgate: --worker is for a supervisor to use")
