"""Every mitigation that a Celery operator is told to apply (tests/data/mitigations.md), by what it does here.

One gateway in front of a real RabbitMQ has them all on. Each test drives the feature and names its row;
where there are longer tests of it, the docstring says where.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pamqp import commands

from sealgate.cli import main
from sealgate.signing.algorithms import HmacSha256
from sealgate.signing.keyring import Key
from sealgate.signing.material import MaterialKind, generate_hmac, parse_secret
from sealgate.wire.properties import CONTENT_TYPE
from support.gateway import GatewayProcess, gateway, key, toml
from support.hostile_broker import Direct
from support.hostile_keys import DEPLOYMENT, KEY_TABLES, KEYRING
from support.hostile_publish import Draft, Seal, a_task, publish, stored
from support.hostile_rows import as_json, task_body
from support.processes import wait_until
from support.rabbitmq_server import RabbitMQServer
from support.raw_client import PY_AMQP, RawClient, raw_client
from support.sealed import JSON_HEADER, task_headers

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

TABLE = (Path(__file__).parents[1] / "data" / "mitigations.md").read_text()
#: The rows of that table.
ROWS = [line.split("|")[1].strip() for line in TABLE.splitlines() if line.startswith("| ")][1:]
#: Row -> the tests that name it.
SHOWN: dict[str, list[str]] = {}
SETTINGS: dict[str, Any] = {
    "deployment": DEPLOYMENT,
    "publish": {"countersign_with": "gw1"},
    # What is stored counts from the start, so that the same octets can be sent twice at once.
    "replay": {"clock_skew": "1s"},
    "rate": {"app.limited": "1/h burst 2"},
    "refuse": {"over_rate": "refuse"},
    "bound": [
        {
            "task": "app.add",
            "time_limit": {"max": "60s", "default": "30s", "over": "clamp"},
            "soft_time_limit": {"max": "50s", "default": "20s", "over": "clamp"},
        }
    ],
    "prefetch": {"max": 8},
    "expiry": {"expiration_max": "60s", "expires_max": "5m", "message_ttl_max": "90s"},
    "rule": [{"match": {"task": "app.watched"}, "mode": "observe"}],
}
Test = Callable[..., None]


def mitigation(row: str) -> Callable[[Test], Test]:
    """Says which row a test shows."""
    assert row in ROWS, row

    def register(test: Test) -> Test:
        SHOWN.setdefault(row, []).append(test.__name__)
        return test

    return register


@pytest.fixture(scope="module")
def gate(rabbitmq: RabbitMQServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway(tmp_path_factory.mktemp("mitigations"), rabbitmq.port, KEY_TABLES, SETTINGS) as running:
        # Stored nonces made before the start are refused.
        horizon = int(time.time()) + 2
        wait_until(lambda: time.time() > horizon, 5, "the horizon of the memory store")
        yield running


@pytest.fixture
def client(gate: GatewayProcess, vhost: str) -> Iterator[RawClient]:
    """A producer; `vhost` is this test's own."""
    with raw_client(gate.port, vhost, product=PY_AMQP) as connected:
        yield connected


@pytest.fixture
def broker(rabbitmq: RabbitMQServer, vhost: str) -> Iterator[Direct]:
    """The broker itself."""
    direct = Direct(rabbitmq, vhost)
    yield direct
    direct.close()


def told(client: RawClient, draft: Draft) -> str:
    """Publish; "" when it was confirmed, else the reason."""
    client.open_channel(confirms=True)
    client.send(publish(draft, client).frames(client))
    answer = client.read().said
    if isinstance(answer, commands.Basic.Ack):
        client.ask(1, commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
        return ""
    assert isinstance(answer, commands.Channel.Close)
    client.say(1, commands.Channel.CloseOk())
    return str(answer.reply_text).removeprefix("ACCESS_REFUSED - sealgate: ").partition(" ")[0]


def cli(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealgate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, timeout=60)


def test_every_row_is_named_by_a_test() -> None:
    assert len(ROWS) == 12
    assert [row for row in ROWS if not SHOWN.get(row)] == []


MESSAGES: dict[str, Draft] = {
    "task": a_task(),
    "result": Draft(as_json({"task_id": "t1", "status": "SUCCESS", "result": 5}), {}, routing_key="replies"),
    "control": Draft(
        as_json({"method": "ping", "arguments": {}}), {}, exchange="celery.pidbox", routing_key=""
    ),
    "event": Draft(as_json({"type": "task-sent"}), {}, exchange="celeryev", routing_key="task.sent"),
}


@mitigation("signed messages")
@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_of_every_kind_are_signed_whole(kind: str, client: RawClient, broker: Direct) -> None:
    """Field by field in tests/system/test_hostile.py, SG18 to SG31."""
    broker.declare_exchange("celery.pidbox", "fanout")
    broker.declare_exchange("celeryev", "topic")
    draft = MESSAGES[kind]
    assert told(client, draft) == ""
    assert told(client, Draft(draft.body, draft.headers, exchange=draft.exchange, seal=None)) == "sig.missing"
    changed = Draft(draft.body + b" ", draft.headers, exchange=draft.exchange, routing_key=draft.routing_key)
    forged = Draft(
        draft.body, draft.headers, exchange=draft.exchange, routing_key=draft.routing_key, sent_as=changed
    )
    assert told(client, forged) == "sig.bad"


@mitigation("secret key")
def test_keys_are_long_and_random_and_no_others_are_taken(tmp_path: Path) -> None:
    made = [cli("keys", "generate").stdout.strip() for _ in range(2)]
    assert made[0] != made[1]
    assert all(len(secret) == len("sgk_h_") + 43 for secret in made)
    file = tmp_path / "keys.toml"
    for secret, good in (
        (made[0], True),
        ("changeme", False),
        ("hex:0011", False),
        ("hex:" + "00" * 32, False),
    ):
        file.touch(mode=0o600)
        file.write_text(toml({"key": [key("k1", "env:SECRET")]}))
        checked = cli("keys", "check", file, SECRET=secret)
        assert checked.returncode == (0 if good else 78), (secret, checked.stderr)
        assert secret not in checked.stdout + checked.stderr


@mitigation("key storage")
def test_secrets_live_outside_of_files_with_settings(tmp_path: Path) -> None:
    """Vault and AWS Secrets Manager have their tests in tests/config/test_vault.py and test_aws.py."""
    secret = [generate_hmac(os.urandom(32)) for _ in range(4)]
    held = tmp_path / "secret"
    held.touch(mode=0o600)
    held.write_text(secret[1])
    credential = tmp_path / "credential"
    credential.touch(mode=0o600)
    credential.write_text(secret[2])
    file = tmp_path / "keys.toml"
    file.touch(mode=0o600)
    keys = [key("k1", "env:SECRET"), key("k2", f"file:{held}"), key("k3", "cred:credential")]
    file.write_text(toml({"key": keys}))
    given = {"SECRET": secret[0], "CREDENTIALS_DIRECTORY": str(tmp_path)}
    checked = cli("keys", "check", file, **given)
    assert (checked.returncode, checked.stderr) == (0, "")
    file.write_text(toml({"key": [key("k1", secret[3])]}))
    checked = cli("keys", "check", file)
    assert checked.returncode == 0
    assert "is written into the file" in checked.stderr


@mitigation("key rotation")
def test_keys_rotate_without_a_restart_and_with_a_grace_period(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands that lead through it. Each alone: tests/cli/rotate; under load: `make rotation`."""
    secret = tmp_path / "web-a"
    secret.touch(mode=0o600)
    secret.write_text(generate_hmac(os.urandom(32)))
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    tables = [key("web-a", f"file:{secret}", max_lifetime="2h", created=made)]
    with gateway(tmp_path, rabbitmq.port, tables, {"deployment": DEPLOYMENT}) as running:
        pid = running.pid

        def rotate(step: str, *arguments: object, code: int = 0) -> str:
            given = [str(argument) for argument in arguments]
            command = ["keys", "rotate", step, *given, "--gateway", f"127.0.0.1:{running.admin_port}"]
            ended = CliRunner().invoke(main, command if step != "begin" else command[:-2])
            assert ended.exit_code in (code, 69), ended.output
            return ended.output if ended.exit_code == code else ""

        def answers(kid: str) -> str:
            with raw_client(running.port, vhost, product=PY_AMQP) as producer:
                return told(producer, a_task(seal=Seal(kid)))

        def knows(kid: str) -> None:
            material = parse_secret((tmp_path / kid).read_text().strip(), MaterialKind.HMAC_SECRET)
            monkeypatch.setitem(KEYRING, kid, Key(kid, HmacSha256(material)))

        knows("web-a")
        rotate("begin", running.keys_file, "--kid", "web-a")
        knows("web-b")
        promote = ("promote", running.keys_file, "--kid", "web-b")
        wait_until(lambda: bool(rotate(*promote)), 20, "the gateway to have the new key")
        assert (answers("web-a"), answers("web-b")) == ("", "")
        reasons = rotate("retire", running.keys_file, "--kid", "web-a", code=69)
        assert f"1 message in the last hour came under web-a at 127.0.0.1:{running.admin_port}" in reasons
        assert "has seen are good for another" in reasons
        states = {
            row["kid"]: row for row in json.loads(rotate("status", running.keys_file, "--json"))["keys"]
        }
        assert [states[kid]["messages_last_hour"] for kid in ("web-a", "web-b")] == [1, 1]
        assert rotate("revoke", "web-a", running.keys_file)
        assert (answers("web-a"), answers("web-b")) == ("sig.key_state", "")
        assert rotate("retire", running.keys_file, "--kid", "web-a")
        wait_until(lambda: answers("web-a") == "sig.kid", 20, "the old key to be gone")
        assert answers("web-b") == ""
        assert running.pid == pid and not running.ended()


@mitigation("verify configuration")
@pytest.mark.parametrize("agree", [True, False])
def test_producers_and_gateway_agree_or_the_doctor_says_so(
    agree: bool, gate: GatewayProcess, tmp_path: Path
) -> None:
    """`doctor celery` and what it tells from live traffic: tests/cli/doctor."""
    ours = next(table for table in KEY_TABLES if table["kid"] == "k1")
    keys = tmp_path / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(toml({"key": [ours if agree else key("k1", generate_hmac(os.urandom(32)))]}))
    sidecar = tmp_path / "sidecar.toml"
    tables = {
        "deployment": DEPLOYMENT,
        "publish": {"action": "sign", "sign_with": "k1"},
        "keys": {"source": f"file:{keys}"},
        "upstream": {"urls": [f"amqp://127.0.0.1:{gate.port}"]},
    }
    sidecar.write_text(toml(tables))
    found = cli("doctor", "--config", sidecar, "--against", gate.config, "--offline", "--format", "json")
    ids = {finding["id"] for finding in json.loads(found.stdout)["findings"]}
    assert ("keys.material-differs" in ids) is not agree


@mitigation("replay")
def test_a_message_counts_once_and_not_for_long(
    client: RawClient, broker: Direct, gate: GatewayProcess
) -> None:
    """Sent again, it is confirmed again, as a producer that heard no confirm needs it, and forwarded once."""
    broker.declare("celery")
    again = a_task(seal=stored())
    assert [told(client, again), told(client, again)] == ["", ""]
    assert gate.refusals()["replay.duplicate"] == 1
    broker.wait_for("celery", 1)
    assert told(client, a_task(seal=Seal(created=-600))) == "time.stale"


@mitigation("rate limits per task")
def test_a_task_has_a_bucket_of_its_own(client: RawClient) -> None:
    """Shared by gateways and paced instead of refused: tests/system/test_rates.py, test_pacing.py."""
    assert [told(client, a_task("app.limited")) for _ in range(3)] == ["", "", "rate.task"]
    assert told(client, a_task("app.other")) == ""


@mitigation("monitor and adjust limits")
def test_limits_are_watched_by_metrics_and_tried_by_observing(
    client: RawClient, gate: GatewayProcess
) -> None:
    refused = gate.metric("sealgate_task_messages_total", task="app.limited", verdict="refused")
    while told(client, a_task("app.limited")) == "":
        pass
    assert gate.metric("sealgate_task_messages_total", task="app.limited", verdict="refused") == refused + 1
    observed = gate.metric("sealgate_messages_total", verdict="observed", reason="sig.missing")
    assert told(client, a_task("app.watched", seal=None)) == ""
    assert gate.metric("sealgate_messages_total", verdict="observed", reason="sig.missing") == observed + 1


@mitigation("hard and soft time limits")
@pytest.mark.parametrize(
    ("asked", "granted"), [([3600, 3000], [60, 50]), ([None, None], [30, 20]), ([10, 5], [10, 5])]
)
def test_a_task_gets_no_more_time_than_its_bound(
    asked: list[Any], granted: list[Any], client: RawClient, broker: Direct
) -> None:
    """A real worker stops a task at the clamped second: tests/system/test_bounds.py."""
    broker.declare("celery")
    task_id = str(uuid.uuid4())
    assert told(client, Draft(headers=task_headers(id=task_id, root_id=task_id, timelimit=asked))) == ""
    broker.wait_for("celery", 1)
    [arrived] = broker.drain("celery")
    assert arrived.properties.headers["timelimit"] == granted


@mitigation("no pickle")
@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (b"application/x-python-serialize", b"\x80\x04N.", "content.type"),
        (b"application/data", b"\x80\x04N.", "content.type"),
        (b"application/text", b"x", "content.type"),
        (b"application/json", b"\x80\x04N.", "content.json"),
        (b"application/json", task_body(), ""),
    ],
)
def test_bodies_are_json_and_proven_so(
    content_type: bytes, body: bytes, reason: str, client: RawClient
) -> None:
    """Pickles in base64, gadgets and codecs: tests/system/test_hostile.py, CT01 to CT39."""
    assert told(client, Draft(body, properties={**JSON_HEADER, CONTENT_TYPE: content_type})) == reason


@mitigation("prefetch")
def test_a_consumer_holds_no_more_than_the_maximum(
    client: RawClient, rabbitmq: RabbitMQServer, vhost: str
) -> None:
    """As the broker's own tool shows; a Celery worker's in tests/system/test_bounds.py."""
    client.open_channel()
    client.ask(1, commands.Queue.Declare(queue="held"), commands.Queue.DeclareOk)
    client.ask(1, commands.Basic.Qos(prefetch_count=500), commands.Basic.QosOk)
    client.ask(1, commands.Basic.Consume(queue="held"), commands.Basic.ConsumeOk)
    listed = rabbitmq.ctl("list_consumers", "--vhost", vhost, "--no-table-headers", "prefetch_count")
    assert listed.split() == ["8"]


@mitigation("result expiry")
def test_results_and_their_queues_do_not_stay(
    client: RawClient, broker: Direct, rabbitmq: RabbitMQServer, vhost: str
) -> None:
    """What lies in Redis or a database is the doctor's to say: tests/cli/doctor."""
    queue = str(uuid.uuid4())
    client.open_channel(2)
    client.ask(2, commands.Queue.Declare(queue=queue, auto_delete=True), commands.Queue.DeclareOk)
    listed = rabbitmq.ctl("list_queues", "--vhost", vhost, "--no-table-headers", "name", "arguments")
    [arguments] = [line for line in listed.splitlines() if line.startswith(queue)]
    assert '{"x-expires",300000}' in arguments and '{"x-message-ttl",90000}' in arguments
    result = Draft(as_json({"task_id": "t1", "status": "SUCCESS", "result": 5}), {}, routing_key=queue)
    assert told(client, result) == ""
    broker.wait_for(queue, 1)
    [arrived] = broker.drain(queue)
    assert arrived.properties.expiration == "60000"
