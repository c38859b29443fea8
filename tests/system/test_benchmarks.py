"""The harness measures what it says: sealed messages through a gateway that would refuse others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("haproxy", "gcc")

pytestmark = pytest.mark.system


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's CPU time as only Linux lets one")
@pytest.mark.skipif(
    any(shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin") is None for name in PROGRAMS),
    reason="needs haproxy and gcc; `make bench` installs them",
)
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
