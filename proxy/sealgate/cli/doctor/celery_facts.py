"""What `probe.py` tells of an application, in types: anything else it may say is an error of ours."""

from __future__ import annotations

from typing import Any

import msgspec


class Task(msgspec.Struct, frozen=True):
    """One task of the application's own, with what is in force for it (seconds, or None)."""

    name: str
    file: str
    line: int
    serializer: str | None
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    acks_late: bool
    reject_on_worker_lost: bool
    expires: bool


class Broker(msgspec.Struct, frozen=True):
    """One broker that is written to or read from."""

    scheme: str
    transport: str
    host: str
    port: int
    user: str
    password: str
    vhost: str
    ssl: bool
    confirms: bool
    purposes: list[str]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class Redis(msgspec.Struct, frozen=True):
    """The `redis_*` settings, which count where the URL says nothing."""

    host: Any = None
    port: Any = None
    password: Any = None
    db: Any = None


class Backend(msgspec.Struct, frozen=True):
    """The result backend: its class as `module:name` or "disabled", and its URL if it has one."""

    kind: str
    expires_by_itself: bool
    url: str
    redis: Redis = Redis()


class Serializers(msgspec.Struct, frozen=True):
    """kombu's registry: content type by name; those that are off; those that are never asked about."""

    types: dict[str, str]
    disabled: list[str]
    trusted: list[str]


class Files(msgspec.Struct, frozen=True):
    """Where the application is made and where its settings are; empty when unknown."""

    app: str
    config: str


class Trouble(msgspec.Struct, frozen=True):
    """An exception of the application's: its kind, its text, and `file:line` when known."""

    kind: str
    text: str
    where: str

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.kind}: {self.text}{place}"


class Facts(msgspec.Struct, frozen=True):
    """All of it."""

    versions: dict[str, str]
    files: Files
    namespace: str
    settings: dict[str, Any]
    old_names: dict[str, str]
    misspelt: list[tuple[str, str]]
    serializers: Serializers
    tasks: list[Task]
    brokers: list[Broker]
    transport_options: dict[str, Any]
    backend: Backend
    problems: list[Trouble]

    def content_type(self, serializer: str) -> str:
        """The content type of a serializer, which may be named by it already."""
        return serializer if "/" in serializer else self.serializers.types.get(serializer, "")


class Failure(msgspec.Struct, frozen=True):
    """The application could not be loaded."""

    error: Trouble
