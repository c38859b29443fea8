"""The command: what it prints of a run, and that a crash is told with the line that keeps it."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path

import pytest

from fuzz import run
from fuzz.seeds import by_hand
from fuzz.targets import TARGETS

TESTS = Path(__file__).parents[1]
LOG = """INFO: seed corpus: files: 3
#4	INITED cov: 27 ft: 30 corp: 3/12b exec/s: 0 rss: 50Mb
#900	NEW    cov: 31 ft: 44 corp: 5/20b lim: 6 exec/s: 450 rss: 51Mb L: 4/6 MS: 1 ChangeBit-

 === Uncaught Python exception: ===
FoundError: another value
Traceback (most recent call last):
SUMMARY: libFuzzer: fuzz target exited
MS: 1 ChangeBit-
artifact_prefix='x/'; Test unit written to {crash}
stat::number_of_executed_units: 950
"""


def outcome_of(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int, log: str) -> run.Outcome:
    class Ended:
        """In place of a process that has written its log."""

        def __init__(self, *_: object, stdout: object, **__: object) -> None:
            stdout.write(log.encode())  # type: ignore[attr-defined]
            (folder / "corpus" / "token" / "new").write_bytes(b"new")

    monkeypatch.setattr(run, "FOLDER", folder)
    monkeypatch.setattr(run.subprocess, "Popen", Ended)
    return run.Run(TARGETS["token"], 5, folder).finish(status, 4.75)


def test_a_crash_is_told_with_the_line_that_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crash = tmp_path / "crash-1"
    crash.write_bytes(b"\x00bad")
    outcome = outcome_of(tmp_path, monkeypatch, 77, LOG.format(crash=crash))
    assert (outcome.executions, outcome.covered_first, outcome.covered, outcome.new) == (950, 27, 31, 1)
    assert " ".join(outcome.line().split()) == f"token 5 s 950 200 27 to 31 1 CRASH {crash}"
    run.tell(outcome)
    told = capsys.readouterr().out
    assert "FoundError: another value" in told
    assert "ChangeBit" not in told
    assert f"NAME {b64encode(crash.read_bytes()).decode()}" in told


def test_a_run_without_a_crash_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_of(tmp_path, monkeypatch, 0, LOG.partition("\n\n")[0])
    assert outcome.crash is None
    assert outcome.line().endswith("nothing found")


def test_a_process_that_could_not_begin_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = outcome_of(tmp_path, monkeypatch, 1, "ImportError: x\n")
    assert outcome.crash == outcome.log


def test_without_atheris_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    assert run.main(["token"]) == 69
    assert "[fuzz]" in capsys.readouterr().err


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["tokens"])
    assert "no target tokens" in capsys.readouterr().err


def test_seeds_by_hand_are_of_targets_that_exist() -> None:
    assert {target for target, _ in by_hand()} <= TARGETS.keys()


@pytest.mark.system
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed (make fuzz does that)")
def test_a_target_is_fuzzed_for_a_second(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.run", "--seconds", "1", "token"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
    assert len(list((tmp_path / ".fuzz" / "corpus" / "token").iterdir())) > 10
