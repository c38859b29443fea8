"""The harness measures what it says: sealed messages through a gateway that would refuse others."""

from __future__ import annotations

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
    compiled = subprocess.run(["gcc", "-fsyntax-only", ROOT / "benchmarks/replay.c"], capture_output=True)
    return compiled.returncode == 0


@pytest.mark.skipif(not can_measure(), reason="needs Linux, haproxy and gcc; `make bench` installs them")
def test_a_short_round_gives_a_figure_for_every_size_and_proxy() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/run.py", "--runs", "1", "--share", "0.02"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip().split(",")[0] for row in rows] == [
        "body",
        "300 B",
        "1 KB",
        "16 KB",
        "256 KB",
    ]
    assert all(row.count("/s |") == 5 for row in rows[1:])
