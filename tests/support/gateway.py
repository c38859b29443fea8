"""A real `sealgate run` as a child process: configured by tables, watched by its own admin address."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from support.processes import end, free_port, spawn, wait_until

START_SECONDS_MAX = 30


def toml(tables: Mapping[str, Any]) -> str:
    """TOML of nested tables with plain values; JSON's notation of scalars and lists is TOML's."""
    lines: list[str] = []
    _write(lines, "", tables)
    return "\n".join(lines) + "\n"


def _write(lines: list[str], path: str, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            lines.append(f"{json.dumps(key)} = {_value(value)}")
    for key, value in table.items():
        name = f"{path}.{json.dumps(key)}" if path else json.dumps(key)
        if isinstance(value, Mapping):
            lines.append(f"[{name}]")
            _write(lines, name, value)
        elif _is_tables(value):
            for entry in value:
                lines.append(f"[[{name}]]")
                _write(lines, name, entry)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def new_secret() -> str:
    """An HMAC secret as `hex:`."""
    return "hex:" + secrets.token_bytes(32).hex()


def key(kid: str, secret: str, **more: object) -> dict[str, object]:
    """A `[[key]]` table."""
    return {"kid": kid, "alg": "hmac-sha256", "secret": secret, **more}


class GatewayProcess:
    """`sealgate run` with a configuration of its own. Ports stay the same over restarts.

    `port` is one that another gateway listens on, for both to share; 0 takes a free one.
    """

    def __init__(
        self,
        home: Path,
        upstream_port: int,
        keys: list[dict[str, object]],
        settings: Mapping[str, Any],
        port: int = 0,
    ) -> None:
        self.port = port or free_port()
        self.admin_port = free_port()
        self.log = home / "gateway.log"
        self.config = home / "sealgate.toml"
        self.keys_file = home / "keys.toml"
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        self.write_keys(keys)
        tables: dict[str, Any] = {
            "listen": {"address": f"127.0.0.1:{self.port}"},
            "upstream": {"urls": [f"amqp://guest:guest@127.0.0.1:{upstream_port}"]},
            "keys": {"source": f"file:{self.keys_file}"},
            "admin": {"address": f"127.0.0.1:{self.admin_port}"},
        }
        for section, values in settings.items():
            if isinstance(values, Mapping):
                tables[section] = {**tables.get(section, {}), **values}
            else:
                tables[section] = values
        self.config.write_text(toml(tables))

    def write_keys(self, keys: list[dict[str, object]]) -> None:
        """Replace the key file as deployments do: a new file moved over the old one."""
        fresh = self.keys_file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(toml({"key": keys}))
        fresh.replace(self.keys_file)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, vhost: str = "/") -> str:
        """AMQP URL of a guest through the gateway."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{'%2F' if vhost == '/' else vhost}"

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start and wait until it is ready. Fails with the log when it ends instead."""
        self.launch(env)
        self.await_ready()

    def launch(self, env: Mapping[str, str] | None = None) -> None:
        """Start, and wait for nothing."""
        self._process = spawn(
            [sys.executable, "-m", "sealgate", "run", "--config", self.config], self.log, env
        )

    def await_ready(self) -> None:
        """Fails with the log when it ends instead."""
        wait_until(lambda: self.ended() or self.ready(), START_SECONDS_MAX, "the gateway to be ready")
        assert not self.ended(), f"the gateway ended at once:\n{self.log_text()}"

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """(status, body) of a page of the admin address; (0, "") when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of `name` that carry `labels`; 0 when there is none."""
        total = 0.0
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def refusals(self) -> dict[str, int]:
        """Refused publishes by reason, those counted so far."""
        counted: dict[str, int] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[1]):
            for sample in family.samples:
                labels = sample.labels
                if (
                    sample.name == "sealgate_messages_total"
                    and labels["verdict"] == "refused"
                    and sample.value
                ):
                    counted[labels["reason"]] = int(sample.value)
        return counted

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        """End it with `number` and wait; returns the exit code (negative for a signal that killed it)."""
        if self._process is None:
            return 0
        return end(self._process, number, seconds)


@contextmanager
def gateway(
    home: Path,
    upstream_port: int,
    keys: list[dict[str, object]],
    settings: Mapping[str, Any] | None = None,
    port: int = 0,
    env: Mapping[str, str] | None = None,
) -> Iterator[GatewayProcess]:
    """A running gateway (or signing sidecar: that is configuration), stopped at the end."""
    process = GatewayProcess(home, upstream_port, keys, settings or {}, port)
    process.start(env)
    try:
        yield process
    finally:
        process.stop(signal.SIGKILL)


#: Starts a gateway; the fixture of that name says what it takes.
Start = Callable[..., GatewayProcess]
