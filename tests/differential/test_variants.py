"""The compiled core against the plain one: the same octets get the same answer, to the octet.

Each is played to in a process of its own: two variants of one module do not fit into one.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from differential.play import KINDS
from sealgate.variant import core_variant

TESTS = Path(__file__).parents[1]
PLAIN = TESTS.parent / "proxy"
TIMEOUT_S = 600

pytestmark = [
    pytest.mark.timeout(TIMEOUT_S),
    pytest.mark.skipif(
        core_variant() == "plain", reason="both cores are needed: this is a test of VARIANT=compiled"
    ),
]


def told(variant: str, *words: str) -> subprocess.Popen[str]:
    """The answers of `variant`; this Python has the compiled one, and the plain one when told where it is."""
    path = [str(TESTS)] if variant == "compiled" else [str(PLAIN), str(TESTS)]
    return subprocess.Popen(
        [sys.executable, "-m", "differential.play", "--expect", variant, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def answers(*words: str) -> list[list[str]]:
    """The lines of the plain and of the compiled core, which run side by side."""
    running = [told(variant, *words) for variant in ("plain", "compiled")]
    lines = [process.communicate(timeout=TIMEOUT_S)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    return lines


@pytest.mark.parametrize("kind", KINDS)
def test_both_cores_give_the_same_answers(kind: str) -> None:
    plain, compiled = answers(kind)
    assert len(plain) > 8
    if plain == compiled:
        return
    differing = [one.split()[0] for one, other in zip(plain, compiled, strict=True) if one != other]
    shown = answers(kind, "--show", differing[0])
    pytest.fail(
        f"{len(differing)} of {len(plain)} differ, the first is {differing[0]}:\n"
        + "\n".join(difflib.unified_diff(*shown, "plain", "compiled", lineterm="", n=2))
    )
