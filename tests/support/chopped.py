"""Processes to which TCP comes a byte at a time, or in random pieces: a library shortens their reads."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from support.loops import loop_env

SOURCE = Path(__file__).parent / "short_reads.c"
_COUNTS = struct.Struct("=QQ")


class Chop:
    """Builds the library once, and keeps count of what each process has read."""

    def __init__(self, home: Path, how: str, loop: str) -> None:
        """`how` is `one` or `random`; `loop` is the processes' event loop (support.loops).

        Skips the test where no such library can be built.
        """
        self.how = how if how == "one" else f"random:{random.randrange(2**32)}"
        self._loop = loop
        self._home = home
        self._library = home / "short_reads.so"
        self._files: list[Path] = []
        compiler = shutil.which("gcc") or shutil.which("cc")
        if sys.platform != "linux" or compiler is None:
            pytest.skip("chopping reads needs Linux and a C compiler")
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", self._library, SOURCE, "-ldl"],
            check=True,
        )

    def env(self, name: str) -> dict[str, str]:
        """What the environment of the process called `name` must hold."""
        counts = self._home / f"{name}.reads"
        counts.write_bytes(bytes(_COUNTS.size))
        self._files.append(counts)
        return {
            **loop_env(self._loop),
            "LD_PRELOAD": str(self._library),
            "SHORT_READS": self.how,
            "SHORT_READS_COUNT": str(counts),
        }

    def counted(self) -> dict[str, tuple[int, int]]:
        """Process -> (reads, bytes) so far."""
        return {file.stem: _COUNTS.unpack(file.read_bytes()) for file in self._files}

    def check(self) -> None:
        """Every process has read much, and in pieces."""
        for name, (reads, read) in self.counted().items():
            assert read > 2_000, f"little came to {name}: does it read by calls that are not counted?"
            assert reads == read if self.how == "one" else read / 200 < reads < read

    def report(self) -> str:
        """What was read, for people to read."""
        return ", ".join(
            f"{name} {read:,} bytes in {reads:,} reads" for name, (reads, read) in self.counted().items()
        )
