"""What a gate in the test's own process needs: a key file that can change, and settings that name it."""

from __future__ import annotations

from logging import LogRecord
from pathlib import Path
from typing import Any

from sealgate.config.settings import Settings
from support.gateway import key, new_secret, toml


class Home:
    """A folder with a key file. Ports are the system's choice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys_file = folder / "keys.toml"
        self.k1 = key("k1", new_secret())
        self.write_keys(self.k1)

    def write_keys(self, *keys: dict[str, object]) -> None:
        """Replace the key file, as deployments do."""
        fresh = self.folder / "keys.new"
        fresh.touch(mode=0o600)
        fresh.write_text(toml({"key": list(keys)}))
        fresh.replace(self.keys_file)

    def settings(self, upstream_port: int = 1, **sections: dict[str, Any]) -> Settings:
        """Settings for a broker at `upstream_port`; `sections` are laid over them."""
        values: dict[str, dict[str, Any]] = {
            "listen": {"address": "127.0.0.1:0"},
            "upstream": {"urls": [f"amqp://127.0.0.1:{upstream_port}"]},
            "keys": {"source": f"file:{self.keys_file}"},
            "admin": {"address": "127.0.0.1:0"},
            "quarantine": {"enabled": False},
        }
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        return Settings.model_validate(values)


def events(records: list[LogRecord]) -> list[str]:
    """The names of what was logged, in order."""
    return [str(getattr(record, "event", record.getMessage())) for record in records]
