"""The harness measures what it says: sealed messages through a gateway that would refuse others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sealgate.variant import core_variant

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
    if core_variant() != "plain":
        pytest.skip("measures the plain core, with the interpreter that has it")
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--runs", "1", "--share", "0.01", "--only", name]
    done = subprocess.run(
        [*command, "--plain", "--results", str(results), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| # | what |" in done.stdout
    part = json.loads(results.read_text())[name]
    assert part["ratios"], done.stdout
    spent = [value for *_, quantity, values in part["figures"] if quantity == "cpu_us" for value in values]
    assert all(value > 0 for value in spent), part["figures"]
    return dict(part)


@needs_rivals
def test_what_is_only_passed_is_measured_both_ways(tmp_path: Path) -> None:
    part = run_part("passing", tmp_path)
    found = {(row, column) for row, column, *_ in part["figures"]}
    assert found >= {
        (row, column) for row in ("published", "delivered") for column in ("haproxy", "copy", "pass")
    }
    assert ("delivered", "judged") in found


@needs_rivals
def test_a_real_broker_is_measured_through_every_way_and_drained(tmp_path: Path) -> None:
    part = run_part("broker", tmp_path)
    columns = {column for _, column, quantity, _ in part["figures"] if quantity == "drained_per_second"}
    assert columns == {"direct", "haproxy", "copy", "session", "stored", "redis", "relay"}


@needs_rivals
def test_latency_is_judged_at_a_rate_and_at_window_1(tmp_path: Path) -> None:
    part = run_part("latency", tmp_path)
    judged = [ratio["what"] for ratio in part["ratios"] if ratio["limit"] is not None]
    assert len(judged) == 4
    assert all("added, gateway / HAProxy" in what for what in judged)


@needs_rivals
def test_costs_are_measured_for_every_size_and_proxy(tmp_path: Path) -> None:
    part = run_part("costs", tmp_path)
    found = {(row, column) for row, column, quantity, _ in part["figures"] if quantity == "cpu_us"}
    columns = ("direct", "haproxy", "copy", "floor", "session", "stored", "redis", "sign")
    sizes = ("300 B", "1 KB", "16 KB", "256 KB")
    assert found >= {(size, column) for size in sizes for column in columns}


@needs_rivals
def test_cost_is_compared_for_few_and_many_of_everything(tmp_path: Path) -> None:
    part = run_part("growth", tmp_path)
    judged = {ratio["what"].partition(",")[0] for ratio in part["ratios"] if ratio["limit"] == 1.25}
    assert judged == {"connections", "channels", "keys taking turns", "rates", "rules"}


@needs_rivals
def test_memory_is_measured_idle_and_over_messages(tmp_path: Path) -> None:
    shown = [ratio["what"] for name in ("footprint", "soak") for ratio in run_part(name, tmp_path)["ratios"]]
    assert len(shown) == 7


@needs_rivals
def test_the_measuring_measures_itself(tmp_path: Path) -> None:
    # How equal twins are is for a quiet machine to say; here that they are compared.
    assert len(run_part("trust", tmp_path)["ratios"]) == 4


@needs_rivals
def test_a_profile_names_the_functions_of_the_gateway(tmp_path: Path) -> None:
    if not Path(sys.executable).with_name("py-spy").exists():
        pytest.skip("needs py-spy; `make profile` installs it")
    flame = tmp_path / "flame.svg"
    command = [
        sys.executable,
        "-m",
        "benchmarks.profile",
        "--plain",
        "--seconds",
        "2",
        "--output",
        str(flame),
    ]
    environment = {**os.environ, "PYTHONPATH": "tests"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    if done.returncode == 69:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert "sealgate/session/" in flame.read_text()
