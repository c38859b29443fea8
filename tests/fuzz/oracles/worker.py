"""A Celery worker as oracle: what it would run and publish because of a message, by Celery's own code.

Nothing is sent: each message a worker publishes is caught, noted, and given to the worker in its turn.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import Mock, patch

from celery import Celery
from celery.app import trace
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request
from kombu.messaging import Producer

#: Messages that follow from one, after which a worker is stopped: a chain may go on for ever.
_FOLLOWING_MAX = 40


class Worker:
    """`names` are the tasks that were published, or run within another, since `run` was called."""

    def __init__(self, *tasks: str) -> None:
        self.app = Celery("oracle", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.task_publish_retry = False
        self.app.conf.task_always_eager = False
        for name in tasks:
            self.app.task(self._body(name), name=name, shared=False)
        self.app.finalize()
        self.names: list[str] = []
        self._waiting: list[tuple[Mapping[str, Any], bytes]] = []

    def run(self, headers: Mapping[str, Any], body: bytes) -> list[str]:
        """Everything that is run because of this message, and because of what was published for it."""
        self.names = []
        self._waiting = [(headers, body)]
        with self._catching():
            for _ in range(_FOLLOWING_MAX):
                if not self._waiting:
                    break
                self._execute(*self._waiting.pop(0))
        return self.names

    def _body(self, name: str) -> Callable[..., object]:
        """What a task of that name does: it is noted, for a worker runs some error callbacks on the spot."""

        def run(*args: object, **kwargs: object) -> object:
            self.names.append(name)
            if "fail" in kwargs:
                raise ValueError("as asked")
            return args[0] if args else None

        return run

    @contextlib.contextmanager
    def _catching(self) -> Iterator[None]:
        def publish(
            _: Producer, body: Any, priority: Any, kind: str, encoding: str, *rest: Any, **__: Any
        ) -> None:
            headers = rest[0]
            if "task" not in headers:
                # A command to all workers: the parts of a group that will not run any more are revoked.
                return
            self.names.append(str(headers["task"]))
            self._waiting.append((headers, body.encode() if isinstance(body, str) else body))

        with patch.object(Producer, "_publish", publish):
            yield

    def _execute(self, headers: Mapping[str, Any], body: bytes) -> None:
        if headers.get("task") not in self.app.tasks:
            return
        message = Mock()
        message.headers, message.properties = dict(headers), {"correlation_id": headers.get("id")}
        message.delivery_info = {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False}
        message.body, message.content_type, message.content_encoding = body, "application/json", "utf-8"
        message.payload = json.loads(body)
        try:
            request = Request(message, app=self.app, decoded=False, hostname="oracle")
        except InvalidTaskError:
            return
        tracer = trace.build_tracer(request.name, self.app.tasks[request.name], app=self.app)
        args, kwargs, embed = message.payload
        context = {**request.request_dict, "args": args, "kwargs": kwargs, **embed}
        # What a task or its callbacks raise is told to the log, and no message comes of it.
        with contextlib.suppress(Exception):
            tracer(request.id, args, kwargs, context)
