"""`sealgate run` as a process: no file, keys from the environment, signals, health."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from sealgate.cli import main
from support.config_files import SECRET, environment

pytestmark = pytest.mark.system


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def running(
    *arguments: str, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, object]]]]:
    """The process once it listens, with the log lines until then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sealgate", "run", "--listen", "127.0.0.1:0", *arguments],
        env=environment(**environ),
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[dict[str, object]] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            assert line.startswith("{"), line + process.stderr.read()
            lines.append(json.loads(line))
            if "listening" in str(lines[-1]["event"]):
                break
        yield process, lines
    finally:
        process.kill()
        process.communicate()


def test_run_needs_no_file_and_ends_cleanly_on_sigterm() -> None:
    admin = f"127.0.0.1:{free_port()}"
    with running("--upstream", "amqp://127.0.0.1:1", "--admin", admin, SEALGATE_KEYS=f"k1={SECRET}") as (
        process,
        _,
    ):
        assert CliRunner().invoke(main, ["healthcheck", "--admin", admin]).exit_code == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_warnings_about_the_configuration_are_in_the_log() -> None:
    admin = f"127.0.0.1:{free_port()}"
    url = "amqp://u:hunter2@127.0.0.1:1"
    with running("--upstream", url, "--admin", admin, SEALGATE_KEYS=f"k1={SECRET}") as (_, lines):
        details = [line["detail"] for line in lines if line["event"] == "config.warning"]
        assert details == ["--upstream[0]: has its password in it; use env:NAME or file:/path"]
        assert "hunter2" not in json.dumps(lines)
