"""One application per mitigation that is missing, and one that lacks none: exactly the expected findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.doctor_apps import doctor, findings_of, pairs, write_app


@dataclass
class Lacking:
    """An application with these changes, and (id, subject) of everything that must be found."""

    changes: dict[str, Any]
    expected: set[tuple[str, str]]
    more: str = ""
    policy: str = field(default="")


AROUND = "amqp://127.0.0.1:5672"
APPLICATIONS = {
    "perfect": Lacking({}, set()),
    "unsigned": Lacking(
        {"broker_url": "amqp://shop:Wj3kq@127.0.0.1:5672//"},
        {("celery.around-gateway", AROUND), ("celery.trusted-content", "accept_content")},
    ),
    "pickle": Lacking(
        {"accept_content": ["json", "pickle"], "result_serializer": "pickle"},
        {("celery.pickle", "accept_content:pickle"), ("celery.pickle", "result_serializer")},
    ),
    "pickle of one task": Lacking(
        {},
        {("celery.pickle", "shop.load")},
        '\n\n@app.task(serializer="pickle")\ndef load(data):\n    pass\n',
    ),
    "yaml": Lacking(
        {"event_serializer": "yaml", "result_accept_content": ["application/x-yaml"]},
        {("celery.yaml", "event_serializer"), ("celery.yaml", "result_accept_content:application/x-yaml")},
    ),
    "auth": Lacking(
        {"task_serializer": "auth", "accept_content": ["auth"]},
        {("celery.auth-serializer", "task_serializer"), ("celery.auth-serializer", "accept_content:auth")},
        '\napp.conf.beat_schedule = {}\nadd.serializer = "json"\n',
    ),
    "accept all": Lacking(
        {},
        {("celery.accept-all", "accept_content")},
        "\n\napp.conf.accept_content = None\n",
    ),
    "confirms": Lacking(
        {"broker_transport_options": {"max_retries": 3}},
        {("celery.confirms-off", "broker_transport_options")},
    ),
    "prefetch": Lacking(
        {"worker_prefetch_multiplier": None}, {("celery.prefetch", "worker_prefetch_multiplier")}
    ),
    "time limits": Lacking(
        {"task_time_limit": None, "task_soft_time_limit": None},
        {("celery.no-time-limit", "task_time_limit"), ("celery.no-soft-time-limit", "task_soft_time_limit")},
    ),
    "time limits of one task": Lacking(
        {},
        {("celery.soft-over-hard", "shop.slow")},
        "\n\n@app.task(time_limit=60, soft_time_limit=60)\ndef slow():\n    pass\n",
    ),
    "soft over hard": Lacking(
        {"task_soft_time_limit": 300}, {("celery.soft-over-hard", "task_soft_time_limit")}
    ),
    "pool": Lacking({"worker_pool": "threads"}, {("celery.limits-not-enforced", "worker_pool")}),
    "result expiry": Lacking({"result_expires": 0}, {("celery.result-never-expires", "result_expires")}),
    "results in files": Lacking(
        {"result_backend": "file:///var/results"}, {("celery.result-needs-cleanup", "result_backend")}
    ),
    "results in Redis": Lacking(
        {"result_backend": "redis://redis.internal/0", "result_expires": 0},
        {
            ("celery.result-never-expires", "result_expires"),
            ("celery.redis-no-password", "result_backend"),
            ("celery.redis-plaintext", "result_backend"),
        },
    ),
    "rate limits": Lacking(
        {"task_default_rate_limit": None}, {("celery.no-rate-limit", "task_default_rate_limit")}
    ),
    "rate limits off": Lacking(
        {"worker_disable_rate_limits": True}, {("celery.rate-limits-off", "worker_disable_rate_limits")}
    ),
    "remote control": Lacking(
        {"worker_enable_remote_control": True, "broker_read_url": "amqp://shop:Wj3kq@127.0.0.1:5672//"},
        {
            ("celery.remote-control", "worker_enable_remote_control"),
            ("celery.around-gateway", AROUND),
            ("celery.trusted-content", "accept_content"),
        },
    ),
    "events": Lacking(
        {"worker_send_task_events": True, "task_send_sent_event": True, "event_queue_ttl": 0},
        {
            ("celery.events", "worker_send_task_events"),
            ("celery.events", "task_send_sent_event"),
            ("celery.events-unbounded", "event_queue_ttl"),
        },
    ),
    "lost workers": Lacking({"task_acks_late": True}, {("celery.lost-worker", "task_reject_on_worker_lost")}),
    "reconnecting": Lacking(
        {"broker_connection_retry": False, "task_publish_retry": False, "broker_heartbeat": 0},
        {
            ("celery.connection-retry-off", "broker_connection_retry"),
            ("celery.publish-retry-off", "task_publish_retry"),
            ("celery.heartbeat-off", "broker_heartbeat"),
        },
    ),
    "old protocol": Lacking(
        {"task_protocol": 1, "task_compression": "zlib"},
        {("celery.protocol-1", "task_protocol"), ("celery.compression", "task_compression")},
    ),
    "login and encryption": Lacking(
        {"broker_url": "amqp://guest:guest@gateway.internal:6672//"},
        {
            ("celery.broker-plaintext", "amqp://gateway.internal:6672"),
            ("celery.broker-guest", "amqp://gateway.internal:6672"),
        },
    ),
    "passwords in the code": Lacking(
        {
            "broker_url": "amqp://shop:Hf82kd@127.0.0.1:6672//",
            "result_backend": "redis://:Gq51mx@127.0.0.1/0",
        },
        {("celery.literal-secret", "broker_url"), ("celery.literal-secret", "result_backend")},
    ),
    "another broker": Lacking(
        {"broker_url": "redis://127.0.0.1:6379/0", "broker_transport_options": None},
        {
            ("celery.broker-not-amqp", "redis://127.0.0.1:6379"),
            ("celery.trusted-content", "accept_content"),
        },
    ),
    "numbers as text": Lacking(
        {
            "task_time_limit": "300",
            "task_soft_time_limit": "soon",
            "result_expires": "1h",
            "worker_prefetch_multiplier": "1",
            "accept_content": "json",
        },
        {
            ("celery.no-soft-time-limit", "task_soft_time_limit"),
            ("celery.result-never-expires", "result_expires"),
            ("celery.unknown-serializer", "accept_content"),
        },
    ),
    "in memory": Lacking(
        {"broker_url": "memory://", "result_backend": "cache+memory://", "broker_transport_options": None},
        {
            ("celery.broker-not-amqp", "memory://localhost:0"),
            ("celery.trusted-content", "accept_content"),
        },
    ),
    "a backend that is not there": Lacking(
        {"result_backend": "no_such_backend://"},
        {("celery.import", "shop_config.py")},
    ),
    "slips": Lacking(
        {"worker_prefetch_multiplyer": 1, "celery_secret_key": "x", "task_always_eager": True},
        {
            ("celery.misspelt", "worker_prefetch_multiplyer"),
            ("celery.secret-key", "celery_secret_key"),
            ("celery.eager", "task_always_eager"),
        },
    ),
    "a broken module": Lacking(
        {"imports": ["no_such_module"]},
        {("celery.import", "shop_config.py")},
    ),
}


@pytest.mark.parametrize("lacking", APPLICATIONS.values(), ids=APPLICATIONS.keys())
def test_exactly_what_an_application_lacks_is_found(tmp_path: Path, lacking: Lacking) -> None:
    write_app(tmp_path, lacking.changes, lacking.more)
    assert pairs(findings_of(tmp_path)) == lacking.expected


def test_a_perfect_application_exits_with_0_and_no_task_ran(tmp_path: Path) -> None:
    write_app(tmp_path)
    result = doctor("celery", "-A", "shop", "--workdir", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("nothing found\n")
    assert not list(tmp_path.glob("*.ran"))
