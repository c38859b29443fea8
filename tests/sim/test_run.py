"""What the command tells, also when it is ended early."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from sim import run
from sim.run import Report


@pytest.mark.parametrize(("failures", "code"), [([], 130), ([(3, "AssertionError: no")], 1)])
def test_interrupted_run_tells_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failures: list[tuple[int, str]],
    code: int,
) -> None:
    def reports(_: object) -> Iterator[Report]:
        yield Report(seeds=20, cpu_s=2.0, failures=failures)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_reports", reports)
    monkeypatch.setattr(sys, "argv", ["sim.run", "--kind", "ledger"])
    assert run.main() == code
    told = capsys.readouterr().out
    assert "20 seeds, 2 s of CPU time, 10.0 seeds/s:  (stopped)" in told
    assert ("make simulate KIND=ledger SEED=3" in told) == bool(failures)
