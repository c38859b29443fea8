"""`sealgate demo`: the first thing a user sees, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sealgate.variant import core_variant
from support.rabbitmq_server import RabbitMQServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]


def demo(*arguments: str) -> str:
    """Run it to its end; returns what it printed. Fails with that when it does not exit 0."""
    done = subprocess.run(
        [sys.executable, "-m", "sealgate", "demo", "--plain", *arguments],
        capture_output=True,
        text=True,
        timeout=140,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(printed: str) -> None:
    assert "0 reached the broker" in printed
    assert " 0 lost, 0 run twice, 0 messages refused" in printed
    assert "All is well." in printed
    assert f"core         {core_variant()}" in printed
    for reason in (
        "sig.missing",
        "sig.bad",
        "replay.session",
        "replay.duplicate",
        "content.json",
        "rate.task",
    ):
        assert reason in printed


def test_demo_on_the_built_in_broker_ends_well() -> None:
    check(demo())


def test_demo_on_a_real_rabbitmq_ends_well_and_leaves_nothing_behind(rabbitmq: RabbitMQServer) -> None:
    vhost = rabbitmq.new_vhost()
    check(demo("--upstream", rabbitmq.url_of(vhost)))
    assert rabbitmq.queue_depths(vhost) == {}
