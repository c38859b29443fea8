from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sealgate.cli import main
from sealgate.cli.text import aligned
from support.processes import free_port

ROW = {
    "count": 3,
    "rule": "mode.default",
    "reason": "sig.missing",
    "task": "shop.add",
    "key": "",
    "first_seen": 1_800_000_000.0,
    "last_seen": 1_800_000_060.0,
}


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    """An admin address that gives `body` to everyone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/observed"
            assert self.headers["Accept"] == "application/json"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        thread.join(20)


def observed(address: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["observed", "--admin", address, *more], env={"SEALGATE_CONFIG": None})


def report(*rows: dict[str, Any]) -> bytes:
    total = sum(row["count"] for row in rows)
    return json.dumps({"since": 1.8e9, "minutes": 60, "total": total, "rows": rows}).encode()


def test_rows_are_shown_in_columns_and_the_answer_is_no() -> None:
    with answering(report(ROW, {**ROW, "task": "", "key": "k1", "count": 12})) as address:
        result = observed(address)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0].endswith("(60 minutes at most): 15 messages would have been refused.")
    assert [line.split()[:5] for line in lines[2:]] == [
        ["COUNT", "RULE", "REASON", "TASK", "KEY"],
        ["3", "mode.default", "sig.missing", "shop.add", "-"],
        ["12", "mode.default", "sig.missing", "-", "k1"],
    ]


def test_nothing_observed_is_told_and_the_answer_is_yes() -> None:
    with answering(report()) as address:
        result = observed(address)
    assert result.exit_code == 0
    assert result.output.endswith("nothing would have been refused.\n")


def test_json_is_what_the_gateway_said() -> None:
    with answering(report(ROW)) as address:
        result = observed(address, "--json")
    assert (result.exit_code, json.loads(result.stdout)["rows"]) == (1, [ROW])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [(b"gone", 404, "HTTP status 404; is this a gateway of this version?"), (b"<html>", 200, "no JSON")],
)
def test_answer_of_something_else_is_69(body: bytes, status: int, message: str) -> None:
    with answering(body, status) as address:
        result = observed(address)
    assert result.exit_code == 69
    assert message in result.stderr


def test_nobody_to_ask_is_69() -> None:
    address = f"127.0.0.1:{free_port()}"
    result = observed(address)
    assert (result.exit_code, result.stdout) == (69, "")
    assert result.stderr.startswith(f"{address}/observed: ")


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert aligned([["a", "b"], ["\x1b[2J", "x\ny"]]) == ["a        b", "\\x1b[2J  x\\ny"]
