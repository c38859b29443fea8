"""The taskiq message: JSON body, its names repeated as headers (taskiq 0.13, taskiq-aio-pika 0.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sealgate.reason import GateError, Reason
from sealgate.verify.celery import TASK_HEADER, is_task_name

TASK_NAME_HEADER: Final = "task_name"
_FIELDS: Final[tuple[tuple[str, type], ...]] = (
    ("task_id", str),
    ("task_name", str),
    ("labels", dict),
    ("args", list),
    ("kwargs", dict),
)
#: Headers that repeat the body. The worker reads the body; whoever routes or watches reads the headers.
_REPEATED: Final = ("task_id", TASK_NAME_HEADER)


def read_message(value: object, headers: Mapping[str, object]) -> str:
    """The task name. Raises `GateError` taskiq.envelope, or taskiq.mismatch of header and body."""
    if not isinstance(value, dict):
        raise GateError(Reason.TASKIQ_ENVELOPE, "not an object")
    for name, kind in _FIELDS:
        if not isinstance(value.get(name), kind):
            raise GateError(Reason.TASKIQ_ENVELOPE, name)
    if TASK_HEADER in value:
        # A worker of Celery would run this as a task of protocol 1.
        raise GateError(Reason.TASKIQ_ENVELOPE, "a message that names a task of Celery")
    if not is_task_name(value["task_name"]):
        raise GateError(Reason.TASKIQ_ENVELOPE, "task_name is not printable text of bounded length")
    for name in _REPEATED:
        if name in headers and headers[name] != value[name]:
            raise GateError(Reason.TASKIQ_MISMATCH, f"{name} in header and body")
    return str(value["task_name"])
