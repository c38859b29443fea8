"""The harness measures what it says: sealed messages through a gateway that would refuse others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.system


def can_measure() -> bool:
    """Whether there is HAProxy, a C compiler with its headers, and a clock of other processes (Linux)."""
    folders = "/usr/bin:/usr/sbin:/usr/local/bin"
    if sys.platform != "linux" or not shutil.which("haproxy", path=folders) or not shutil.which("gcc"):
        return False
    source = ROOT / "benchmarks/native/replay.c"
    return subprocess.run(["gcc", "-fsyntax-only", source], capture_output=True).returncode == 0


needs_rivals = pytest.mark.skipif(
    not can_measure(), reason="needs Linux, haproxy and gcc; `make bench` installs them"
)


def run_part(name: str, tmp_path: Path, *options: str) -> dict[str, object]:
    """One part with the fewest messages; what it would have written as results.json."""
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--runs", "1", "--share", "0.01", "--only", name]
    done = subprocess.run(
        [*command, "--results", str(results), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| # | what |" in done.stdout
    part = json.loads(results.read_text())["parts"][name]
    assert part["ratios"], done.stdout
    assert all(value > 0 for *_, values in part["figures"] for value in values), part["figures"]
    return dict(part)


@needs_rivals
def test_costs_are_measured_for_every_size_and_proxy(tmp_path: Path) -> None:
    part = run_part("costs", tmp_path)
    found = {(row, column) for row, column, quantity, _ in part["figures"] if quantity == "cpu_us"}
    columns = ("direct", "haproxy", "copy", "floor", "session", "stored", "redis", "sign")
    sizes = ("300 B", "1 KB", "16 KB", "256 KB")
    assert found >= {(size, column) for size in sizes for column in columns}
