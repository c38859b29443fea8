"""Ask an application about itself, in a child process: what it prints, breaks or waits for is not ours."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from sealgate.cli.doctor.celery_facts import Facts, Failure

#: 10,000 tasks with long names take 3 MB.
_REPORT_BYTES_MAX: Final = 16 * 1024 * 1024
_PROBE: Final = Path(__file__).with_name("probe.py")
#: The end of its standard error is repeated when it ends without an answer.
_ERROR_BYTES_MAX: Final = 65_536
_LAST_LINES: Final = 3


class ProbeError(Exception):
    """The application could not be examined; the text says why, and holds nothing of its settings."""


@dataclass(slots=True, frozen=True)
class Request:
    """What to load: `app` as for `celery -A`, or a settings module (of Django, or under a namespace)."""

    app: str | None
    config_from: str | None
    django: bool
    namespace: str | None
    workdir: Path
    python: str


def probe(request: Request, timeout_s: float) -> Facts:
    """Load the application and return what it says of itself. Raises `ProbeError`."""
    options = {
        "app": request.app,
        "config_from": request.config_from,
        "django": request.django,
        "namespace": request.namespace,
        "workdir": str(request.workdir.absolute()),
    }
    output, errors = _run([request.python, str(_PROBE), json.dumps(options)], request.workdir, timeout_s)
    try:
        answer = msgspec.json.decode(output, type=dict)
    except msgspec.DecodeError:
        last = " / ".join(errors.decode(errors="replace").split("\n")[-_LAST_LINES - 1 :]).strip(" /")
        raise ProbeError(f"it ended without an answer{': ' + last if last else ''}") from None
    if "error" in answer:
        raise ProbeError(str(msgspec.convert(answer, Failure).error))
    return msgspec.convert(answer, Facts)


def _run(command: list[str], workdir: Path, timeout_s: float) -> tuple[bytes, bytes]:
    """(standard output, end of standard error) of a child that leads a group, all of which ends with it."""
    try:
        child = subprocess.Popen(  # noqa: S603 - the Python that the operator names, and our own file
            command,
            cwd=workdir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ProbeError(f"{command[0]}: {error.strerror}") from None
    try:
        return _read(child, timeout_s)
    finally:
        # Whatever the import started, and kept the pipes open with, goes as well.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def _read(child: subprocess.Popen[bytes], timeout_s: float) -> tuple[bytes, bytes]:
    """Both outputs until the first is closed: the report is whole then. Of the second the end is kept."""
    deadline = time.monotonic() + timeout_s
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, kept in ((child.stdout, output), (child.stderr, errors)):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, kept)
        reported = False
        while not reported:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ProbeError(f"its import did not end within {timeout_s:g} s (--timeout)")
            for key, _ in ready:
                data = os.read(key.fd, 65_536)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
                    reported = reported or key.data is output
            del errors[:-_ERROR_BYTES_MAX]
            if len(output) > _REPORT_BYTES_MAX:
                raise ProbeError("its report is too long")
    return bytes(output), bytes(errors)
