"""One run of one suite: pytest in the suite's own environment, its outcomes read from JUnit XML."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interop.fetch import Ready
from interop.routes import Ends
from interop.suites import HERE, Run, Suite

#: None takes longer on a direct connection; one that hangs must fail with its stack, not end the run.
TEST_SECONDS_MAX = 60
_VERDICT = re.compile(r" (PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)\b|^--- [A-Z]+:|^(not )?ok (?=\S)")
#: A verdict of Go's tests, and one of the programs in `clients`.
_GO = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)")
_CLIENT = re.compile(r"(ok|not ok) (\S+)(?: # (.*))? \(([\d.]+)s\)")
_KINDS = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped", "ok": "passed", "not ok": "failed"}


@dataclass(slots=True, frozen=True)
class Outcome:
    """passed, failed, error (outside the test's body) or skipped, how long it took, first line of why."""

    kind: str
    seconds: float = 0.0
    why: str = ""


#: test id -> its outcome
Outcomes = dict[str, Outcome]


class RunError(Exception):
    """The suite did not run to its end: no outcomes that could be compared."""


def run_tests(
    suite: Suite, run: Run, ready: Ready, ends: Ends, home: Path, heard: Callable[[str], None]
) -> Outcomes:
    """Run the suite's tests against `ends`; `heard` is told each verdict as it comes. Raises `RunError`."""
    values = ends.values()
    source, report = home / "source", home / "report.xml"
    shutil.copytree(ready.source, source)
    for name, template in suite.files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template.format_map(values), source / name)
    log = home / "tests.log"
    if suite.command:
        told = [part.format_map(values) for part in suite.command]
        code = _run(told, source, _environment(suite, values), log, suite.seconds_max, heard)
        return read_lines(log, code)
    command: list[str | Path] = [ready.python, "-m", "pytest", "-v", "-p", "no:cacheprovider"]
    command += ["-o", "junit_family=xunit1", f"--junit-xml={report}", f"--timeout={TEST_SECONDS_MAX}"]
    for plugin in (suite.plugin, suite.unsealed if run.unsealed else ""):
        command += ["-p", plugin] if plugin else []
    command += suite.tests
    for test in suite.left_out:
        command += ["--deselect", test]
    _run(command, source, _environment(suite, values), log, suite.seconds_max, heard)
    if not report.exists():
        raise RunError(f"{suite.name} ended without a report:\n{log.read_text(errors='replace')[-3000:]}")
    return read_report(report)


def _environment(suite: Suite, values: Mapping[str, object]) -> dict[str, str]:
    env = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "PYTHONPATH": str(HERE)}
    return env | {name: template.format_map(values) for name, template in suite.env.items()}


def _run(
    command: Sequence[str | Path],
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    seconds_max: int,
    heard: Callable[[str], None],
) -> int:
    """The exit code; what was said is in `log`."""
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    cut = threading.Timer(seconds_max, os.killpg, (process.pid, signal.SIGKILL))
    cut.start()
    try:
        with log.open("w") as kept, process.stdout:
            for line in process.stdout:
                kept.write(line)
                verdict = _VERDICT.search(line)
                if verdict:
                    heard(verdict[0].split(":")[0].strip(" -").lower())
        return process.wait()
    finally:
        cut.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read_report(path: Path) -> Outcomes:
    """Outcomes by test id. Raises `RunError` when nothing ran, or when two tests have the same id."""
    outcomes: Outcomes = {}
    for case in ElementTree.parse(path).iter("testcase"):
        test = f"{case.get('classname', '')}::{case.get('name', '')}"
        found = _outcome(case)
        before = outcomes.get(test)
        if before is not None and found.kind != "error":
            raise RunError(f"two tests are called {test}")
        # A test whose clean-up fails is reported twice: what went wrong first counts.
        outcomes[test] = found if before is None or before.kind == "passed" else before
    if not outcomes:
        raise RunError(f"no test ran: {path}")
    return outcomes


def read_lines(log: Path, code: int) -> Outcomes:
    """Outcomes of tests that tell them line by line. Raises `RunError` unless they ran to their end."""
    outcomes: Outcomes = {}
    said = ""
    text = log.read_text(errors="replace")
    for line in text.splitlines():
        if told := _GO.fullmatch(line):
            kind = _KINDS[told[1]]
            outcomes[told[2]] = Outcome(kind, float(told[3]), "" if kind == "passed" else said)
        elif told := _CLIENT.fullmatch(line):
            outcomes[told[2]] = Outcome(_KINDS[told[1]], float(told[4]), told[3] or "")
        said = line.strip()[:200]
    if not outcomes or code not in (0, 1) or re.search("^panic:", text, re.MULTILINE):
        raise RunError(f"it ended with {code}:\n{text[-3000:]}")
    return outcomes


def _outcome(case: ElementTree.Element) -> Outcome:
    seconds = float(case.get("time") or 0)
    for tag, kind in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return Outcome(kind, seconds, (found.get("message") or "").split("\n")[0][:200])
    return Outcome("passed", seconds)
