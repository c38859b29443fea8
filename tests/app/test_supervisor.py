from __future__ import annotations

import subprocess
import sys

HEAVY = {"aio_pika", "aiohttp", "cryptography", "pydantic", "redis", "sealgate.session.session", "uvloop"}


def test_supervisor_imports_nothing_that_only_workers_need() -> None:
    code = "import sys, sealgate.cli.run, sealgate.app.supervisor; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(told.stdout.split())
    assert "sealgate.ops.admin" in imported
    assert imported & HEAVY == set()
