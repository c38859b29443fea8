"""Celery behind a gateway that alone has credentials of the broker."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery import chain

from support.celery_project import add, flaky
from support.celery_setup import celery_setup
from support.logins import user, write_users
from support.rabbitmq_server import RabbitMQServer

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(90),
    # Celery's result consumer leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RESULT_SECONDS_MAX = 30
BROKER_USER = "gateway-for-celery"


def test_tasks_chains_and_retries_run_on_the_gateways_own_login(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    rabbitmq.ctl("add_user", BROKER_USER, "cheshire-4242")
    rabbitmq.ctl("set_permissions", "--vhost", vhost, BROKER_USER, ".*", ".*", ".*")
    users, secret = tmp_path / "users.toml", tmp_path / "password"
    write_users(users, user("guest", "guest", vhosts=[vhost]))
    secret.touch(mode=0o600)
    secret.write_text("cheshire-4242\n")
    credentials = {
        "mode": "replace",
        "users": f"file:{users}",
        "user": BROKER_USER,
        "password": f"file:{secret}",
    }
    # Quarantine has a login of its own, in the gateway's URL of the broker.
    settings = {"credentials": credentials}
    try:
        with celery_setup(tmp_path / "celery", rabbitmq.port, vhost, gateway_settings=settings) as setup:
            assert add.delay(2, 3).get(timeout=RESULT_SECONDS_MAX) == 5
            assert chain(add.s(1, 1), add.s(3))().get(timeout=RESULT_SECONDS_MAX) == 5
            assert flaky.delay(1).get(timeout=RESULT_SECONDS_MAX) == 1
            logged_in = rabbitmq.ctl("list_connections", "--no-table-headers", "user", "vhost").splitlines()
            assert {line.split("\t")[0] for line in logged_in if line.endswith(vhost)} == {BROKER_USER}
            assert setup.refused() == {}
            assert setup.gateway.metric("sealgate_logins_total", result="ok") >= 2
    finally:
        rabbitmq.ctl("delete_user", BROKER_USER)
