"""The demo's child processes: a Celery worker and a Celery producer, both ordinary."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

#: Importing Celery on a slow machine takes most of it.
WORKER_START_S_MAX: Final = 40.0
_POLL_S: Final = 0.1
_READY: Final = b" ready."
_LINE_BYTES_MAX: Final = 1_048_576


class Child:
    """One process; its standard error (and output, unless that is read) goes to `log`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process: Final = process
        self.log: Final = log

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def lines(self) -> Any:
        """What it says on standard output, one decoded JSON object at a time, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    async def wait_ready(self) -> None:
        """Until a Celery worker says so in its log. Raises RuntimeError when it ends, or takes too long."""
        deadline = asyncio.get_running_loop().time() + WORKER_START_S_MAX
        while _READY not in self.log.read_bytes():
            if not self.alive or asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"the worker did not start:\n{self.tail()}")
            await asyncio.sleep(_POLL_S)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def kill(self) -> None:
        """End it at once: all it did is counted already."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()


async def start_worker(home: Path, env: Mapping[str, str]) -> Child:
    # Threads: they start faster than processes, and the demo is about what is between them and the broker.
    arguments = ["-m", "celery", "-A", "sealgate.cli.demo.celery_app", "worker"]
    arguments += ["-P", "threads", "-c", "4", "-l", "INFO", "-E", "-n", "worker@demo"]
    return await _start(arguments, home / "worker.log", env, False)


async def start_producer(home: Path, env: Mapping[str, str], tasks: int, seconds: float) -> Child:
    arguments = ["-m", "sealgate.cli.demo.producer", str(tasks), str(seconds)]
    return await _start(arguments, home / "producer.log", env, True)


async def _start(arguments: list[str], log: Path, env: Mapping[str, str], read: bool) -> Child:
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if read else file,
            stderr=file,
            env={**os.environ, **env},
            cwd=log.parent,
            limit=_LINE_BYTES_MAX,
        )
    return Child(process, log)
