"""`make fuzz`: every target under atheris for its share of CPU time, in processes of their own.

Prints for each target what was executed, how much of the product that covered, how many inputs are new, and
where a crash was written, with the line that keeps it as a case. Exits with 1 when anything was found.
Hangs (TIMEOUT_S for one input) and memory (RSS_MIB_MAX) count as crashes. What was learnt stays in FOLDER for
the next run; `--keep` writes what of it covers most into the tree.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fuzz import corpus
from fuzz.seeds import by_hand
from fuzz.targets import TARGETS, Target

FOLDER = Path(".fuzz")
TIMEOUT_S = 10
RSS_MIB_MAX = 1024
_STATUS = re.compile(r"#\d+\s+(INITED|NEW|REDUCE|pulse|DONE|RELOAD)\s+cov: (\d+) ft: (\d+) corp: (\d+)/")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_WRITTEN = re.compile(r"Test unit written to (\S+)")
_COLUMNS = "{:<10} {:>7} {:>10} {:>7} {:>15} {:>6}  {}"


@dataclass
class Outcome:
    """One run of one target. CPU time in seconds; `covered` counts edges, at the start and at the end."""

    target: str
    cpu_s: float
    executions: int
    covered_first: int
    covered: int
    new: int
    crash: Path | None
    log: Path

    def line(self) -> str:
        rate = f"{self.executions / self.cpu_s:.0f}" if self.cpu_s else "-"
        covered = f"{self.covered_first} to {self.covered}"
        found = f"CRASH {self.crash}" if self.crash else "nothing found"
        return _COLUMNS.format(
            self.target, f"{self.cpu_s:.0f} s", self.executions, rate, covered, self.new, found
        )


class Run:
    """One target that is being fuzzed in a process of its own."""

    def __init__(self, target: Target, cpu_s: float, folder: Path) -> None:
        self._target = target
        self._inputs = folder / "corpus" / target.name
        self._crashes = folder / "crashes" / target.name
        self.log = folder / f"{target.name}.log"
        for path in (self._inputs, self._crashes):
            path.mkdir(parents=True, exist_ok=True)
        fill(self._inputs, target.name)
        self._known = len(list(self._inputs.iterdir()))
        options = [
            str(self._inputs),
            f"-timeout={TIMEOUT_S}",
            f"-rss_limit_mb={RSS_MIB_MAX}",
            f"-artifact_prefix={self._crashes}/",
            "-print_final_stats=1",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fuzz.engine", target.name, str(cpu_s), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def finish(self, status: int, usage_s: float) -> Outcome:
        """What came of it, once its process has ended with `status`."""
        text = self.log.read_text(errors="replace")
        progress = _STATUS.findall(text)
        executed = _EXECUTED.search(text)
        written = _WRITTEN.search(text)
        crash = Path(written[1]) if written else None
        if status and crash is None:
            # It could not even begin, or was killed.
            crash = self.log
        return Outcome(
            self._target.name,
            usage_s,
            int(executed[1]) if executed else 0,
            int(progress[0][1]) if progress else 0,
            int(progress[-1][1]) if progress else 0,
            len(list(self._inputs.iterdir())) - self._known,
            crash,
            self.log,
        )


def fill(folder: Path, target: str) -> None:
    """Put what the tree knows of a target, and its seeds, where libFuzzer reads it."""
    seeds = FOLDER / "seeds" / target
    found = [path.read_bytes() for path in seeds.iterdir()] if seeds.is_dir() else []
    for data in (*corpus.inputs(target), *corpus.cases(target).values(), *found):
        path = folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if not path.exists():
            path.write_bytes(data)


def fuzz(names: list[str], seconds: float, workers: int) -> list[Outcome]:
    """Run the targets, `workers` at a time, and print each as it ends."""
    print(_COLUMNS.format("target", "CPU", "executions", "per s", "edges covered", "new", ""), flush=True)
    waiting = list(names)
    running: dict[int, Run] = {}
    outcomes: list[Outcome] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                run = Run(TARGETS[waiting.pop(0)], seconds, FOLDER)
                running[run.process.pid] = run
            pid, status, usage = os.wait4(-1, 0)
            if pid not in running:
                continue
            run = running.pop(pid)
            run.process.returncode = os.waitstatus_to_exitcode(status)
            outcomes.append(run.finish(run.process.returncode, usage.ru_utime + usage.ru_stime))
            print(outcomes[-1].line(), flush=True)
    finally:
        for run in running.values():
            run.process.kill()
            run.process.wait()
    return outcomes


def tell(outcome: Outcome) -> None:
    """How a target failed: the end of its report, and the line for `cases`."""
    print(f"\n{outcome.target}: {outcome.crash}")
    lines = outcome.log.read_text(errors="replace").splitlines()
    start = next(
        (at for at, line in enumerate(lines) if "Uncaught Python exception" in line), len(lines) - 12
    )
    for line in lines[max(start, 0) :]:
        if line.startswith(("MS: ", "0x")):
            break
        print(f"  {line}")
    if outcome.crash and outcome.crash != outcome.log:
        print(f"  to keep it, in tests/fuzz/cases/{outcome.target}.txt:")
        print(f"  {corpus.case_line('NAME', outcome.crash.read_bytes())}")


def keep(names: list[str]) -> None:
    """Write to the tree the fewest inputs that cover what all inputs cover."""
    for name in names:
        merged = FOLDER / "merged" / name
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir(parents=True)
        inputs = FOLDER / "corpus" / name
        inputs.mkdir(parents=True, exist_ok=True)
        fill(inputs, name)
        program = (FOLDER / f"{name}.merge").absolute()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fuzz.engine {name} 0 "$@"\n')
        program.chmod(0o755)
        command = [str(program), "-merge=1", str(merged), str(inputs)]
        with (FOLDER / f"{name}.merge.log").open("wb") as log:
            environment = {**os.environ, "FUZZ_PROGRAM": str(program)}
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=True)
        always = [data for target, data in by_hand() if target == name]
        count = corpus.save(name, [path.read_bytes() for path in merged.iterdir()], always)
        print(f"{name}: {count} inputs kept of {len(list(inputs.iterdir()))}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make fuzz", description="Fuzz the room wire and what lies above it."
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time for each target (60)")
    parser.add_argument("--workers", type=int, default=1, help="targets at a time (1)")
    parser.add_argument(
        "--keep", action="store_true", help="write the smallest corpus to the tree, no fuzzing"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if find_spec("atheris") is None:
        print("atheris is not installed: .venv/bin/pip install -e '.[fuzz]'", file=sys.stderr)
        return 69
    names = options.targets or list(TARGETS)
    if options.keep:
        keep(names)
        return 0
    outcomes = fuzz(names, options.seconds, options.workers)
    found = [outcome for outcome in outcomes if outcome.crash]
    for outcome in found:
        tell(outcome)
    total = sum(outcome.cpu_s for outcome in outcomes)
    print(
        f"\n{total:.0f} s of CPU time, {sum(o.executions for o in outcomes)} executions, {len(found)} crashes"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
