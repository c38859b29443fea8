"""One target under atheris, in a process of its own: `python -m fuzz.engine TARGET CPU_SECONDS OPTIONS...`.

The options are libFuzzer's, folders of inputs among them. Ends by itself after that much CPU time (0: never),
by what libFuzzer takes for a wish to end, so that its closing figures are printed.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris

#: What a process may map at all: past it an allocation fails, which no target forgives.
_ADDRESS_BYTES_MAX = 6 << 30
#: Executions between two looks at the clock.
_LOOK_EVERY = 64


class _Guard:
    """Runs a target until its CPU time is used up, and keeps the input that it fails on.

    libFuzzer keeps it, too, unless it was told to end in that moment.
    """

    def __init__(self, run: Callable[[bytes], None], cpu_s: float, prefix: str) -> None:
        self._run = run
        self._cpu_s = cpu_s
        self._prefix = prefix
        self._count = 0

    def __call__(self, data: bytes) -> None:
        self._count += 1
        if self._cpu_s and self._count % _LOOK_EVERY == 0 and time.process_time() > self._cpu_s:
            os.kill(os.getpid(), signal.SIGUSR1)
        try:
            self._run(data)
        except Exception:
            kept = Path(f"{self._prefix}crash-{hashlib.sha1(data).hexdigest()}")
            kept.write_bytes(data)
            print(f"Test unit written to {kept}", file=sys.stderr, flush=True)
            raise


def main() -> None:
    name, cpu_s, options = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    with atheris.instrument_imports(include=["sealgate"]):
        from fuzz.targets import TARGETS
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES_MAX, _ADDRESS_BYTES_MAX))
    target = TARGETS[name]
    prefixes = [option.partition("=")[2] for option in options if option.startswith("-artifact_prefix=")]
    run = _Guard(target.run, cpu_s, prefixes[0] if prefixes else "")
    # To merge, libFuzzer starts the program again by this name.
    program = os.environ.get("FUZZ_PROGRAM", sys.argv[0])
    atheris.Setup([program, f"-max_len={target.bytes_max}", *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
