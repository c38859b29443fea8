"""The inputs in the tree: `corpus/TARGET.txt` covers the product, `cases/TARGET.txt` once broke it.

A line of a corpus is one input in base64. A line of cases is a name, a space and the same; lines that begin
with # say what was wrong. Texts, so that a change of them can be read in a diff.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path

_HERE = Path(__file__).parent
CORPUS = _HERE / "corpus"
CASES = _HERE / "cases"
#: Of one input, and of all inputs of one target.
INPUT_BYTES_MAX = 2048
TARGET_BYTES_MAX = 40_960


def inputs(target: str) -> list[bytes]:
    """The corpus of a target, empty when there is none yet."""
    path = CORPUS / f"{target}.txt"
    return [b64decode(line) for line in path.read_text().splitlines()] if path.exists() else []


def cases(target: str) -> dict[str, bytes]:
    """The inputs that once broke something, by the name of what was wrong."""
    path = CASES / f"{target}.txt"
    found: dict[str, bytes] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line and not line.startswith("#"):
            name, _, encoded = line.partition(" ")
            if name in found:
                raise ValueError(f"{path.name}: two cases are called {name}")
            found[name] = b64decode(encoded)
    return found


def case_line(name: str, data: bytes) -> str:
    """The line that keeps an input as a case."""
    return f"{name} {b64encode(data).decode()}"


def save(target: str, found: Iterable[bytes], always: Iterable[bytes] = ()) -> int:
    """Write the corpus of a target: `always`, and of `found` the shortest, as many as may be kept.

    Returns how many there are.
    """
    kept = list(dict.fromkeys(always))
    size = sum(map(len, kept))
    for data in sorted(set(found) - set(kept), key=lambda data: (len(data), data)):
        size += len(data)
        if len(data) > INPUT_BYTES_MAX or size > TARGET_BYTES_MAX:
            break
        kept.append(data)
    CORPUS.mkdir(exist_ok=True)
    lines = [b64encode(data).decode() for data in sorted(kept, key=lambda data: (len(data), data))]
    (CORPUS / f"{target}.txt").write_text("".join([line + "\n" for line in lines]))
    return len(kept)
