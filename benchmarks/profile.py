"""`python -m benchmarks.profile`: where a gateway's time goes, as a table and a flame graph (SVG).

py-spy samples the gateway while messages run through it, Python's frames and native ones in one stack, so
that the plain core shows its functions and the compiled one what mypyc made of them. What waits is left out,
and so is all that is above the event loop.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import gates, report
from benchmarks.client import Load
from benchmarks.gates import Variant
from benchmarks.messages import Template
from benchmarks.plan import Plan, Publishing
from benchmarks.stage import Stage
from benchmarks.svg import Frame, flame

ROOT = Path(__file__).parents[1]
SAMPLES_PER_S = 100
ROUND = 10_000
#: Stacks that end here wait.
_WAITING = re.compile(r"epoll_pwait|PyThread_acquire_lock_timed|^do_futex_wait")
#: The first frame that belongs to the work of a turn of the loop.
_LOOP = "uv_run"
#: Names of native frames that mypyc made: CPyDef_module___Class___method, CPyPy_ for calls from outside.
_COMPILED = re.compile(r"CPy(?:Def|Py)_([A-Za-z0-9_]+)")
#: Frames that tell nothing: without a name, or inlined counting of references.
_EMPTY = re.compile(r"^(0x[0-9a-f]+|Py_X?(DECREF|INCREF)|_Py_NewRef) ")
_COLOURS = {
    "sealgate": "#e8a33d",
    "core ": "#e06c3c",
    "uv": "#9bbf85",
    "UV": "#9bbf85",
    "loop": "#9bbf85",
    "SHA": "#7fa8d1",
    "EVP": "#7fa8d1",
    "_hashlib": "#7fa8d1",
}
_TOP = 25


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.profile", description=__doc__.splitlines()[0])
    parser.add_argument("--action", choices=("verify", "sign", "pass"), default="verify")
    parser.add_argument("--stored", action="store_true", help="stored nonces instead of session nonces")
    parser.add_argument("--redis", action="store_true", help="stored nonces, kept in Redis")
    parser.add_argument("--body", type=int, default=300, help="octets of body (default 300)")
    parser.add_argument("--seconds", type=int, default=15, help="how long to sample (default 15)")
    gates.add_options(parser)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "flame.svg")
    return parser.parse_args()


def record(program: Path, pid: int, seconds: int, output: Path) -> subprocess.Popen[str]:
    command = [program, "record", "--native", "--format", "raw", "--rate", SAMPLES_PER_S]
    command += ["--duration", seconds, "--output", output, "--pid", pid]
    return subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def stacks(raw: str) -> Iterator[tuple[list[str], int]]:
    """Of py-spy's folded lines, those that work, from the loop on, with short names."""
    for line in raw.splitlines():
        joined, _, count = line.rpartition(" ")
        frames = joined.split(";")
        if not frames or _WAITING.search(frames[-1]) or _waits_below(frames):
            continue
        starts = [at for at, frame in enumerate(frames) if frame.startswith(_LOOP)]
        if starts:
            yield [_short(frame) for frame in frames[starts[-1] :] if not _EMPTY.match(frame)], int(count)


def _waits_below(frames: Sequence[str]) -> bool:
    """A wait is often followed by frames of the C library without a name."""
    named = [frame for frame in frames if not _EMPTY.match(frame)]
    return not named or bool(_WAITING.search(named[-1]))


def _short(frame: str) -> str:
    """`function module:line` without the line, so that a function is one box."""
    made = _COMPILED.search(frame)
    if made:
        return f"core {made[1].replace('___', '.')}"
    name, _, place = frame.partition(" (")
    place = re.sub(r":\d+\)?$", "", place).rstrip(")")
    return f"{place}: {name}" if place.startswith("sealgate") else name


def table(found: Counter[str], total: int) -> str:
    """The functions in which most samples ended."""
    lines = [f"{'share':>6}  function (time in itself)"]
    lines += [f"{count / total:6.1%}  {name}" for name, count in found.most_common(_TOP)]
    return "\n".join(lines)


def main() -> int:
    options = _options()
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        print("py-spy is missing: `make profile` installs it", file=sys.stderr)
        return 69
    variant = gates.find_compiled(options) or Variant("plain")
    variant.check()
    plan = Plan(1, 1, False, Variant("plain"), variant if variant.name == "compiled" else None)
    with Stage() as stage:
        raw = _sample(plan, stage, options, program)
    root, own = Frame(), Counter[str]()
    for stack, count in stacks(raw):
        root.add(stack, count)
        own[stack[-1]] += count
    if not root.count:
        print("py-spy saw no work; may it trace other processes here?", file=sys.stderr)
        return 69
    kind = "Redis" if options.redis else "stored nonces" if options.stored else "session nonces"
    title = f"Sealgate, {options.action}, {kind}, {options.body} octets, {variant.name} core"
    where = f"{report.machine()}; {root.count:,} samples by py-spy"
    flame(title, where, root, _COLOURS).write(options.output)
    print(f"{title}\n{where}\n\n{table(own, root.count)}\n\nflame graph: {options.output}")
    return 0


def _sample(plan: Plan, stage: Stage, options: argparse.Namespace, program: Path) -> str:
    store = stage.redis().url if options.redis else "memory"
    proxy = stage.gate(plan.gate(action=options.action, store=store), stage.swallow().port)
    stored = options.stored or options.redis
    kind = "plain" if options.action == "sign" else "stored" if stored else "session"
    publishing = Publishing(stage, proxy, Template(options.body), plan.keys, kind)
    if kind == "stored":
        publishing.wait_for_horizon()
    count = max(100, ROUND * 300 // options.body)
    publishing.once(count // 10, Load())
    output = stage.folder / "stacks"
    sampling = record(program, proxy.pid, options.seconds, output)
    while sampling.poll() is None:
        publishing.once(count, Load())
    if sampling.returncode != 0:
        said = sampling.stdout.read() if sampling.stdout else ""
        raise RuntimeError(f"py-spy ended with {sampling.returncode}: {said.strip()[-500:]}")
    return output.read_text()


if __name__ == "__main__":
    sys.exit(main())
