"""What the documentation shows, for tests that hold it to what it says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).resolve().parents[2] / "docs"


def documented_keys() -> str:
    """The key file of docs/grants.md."""
    found = re.search(r"```toml\n(# keys\.toml\n.*?)```", (_DOCS / "grants.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def documented_limits(kid: str) -> dict[str, Any]:
    """What that file lets the key `kid` do."""
    [table] = [table for table in tomllib.loads(documented_keys())["key"] if table["kid"] == kid]
    return {name: value for name, value in table.items() if name not in ("kid", "alg", "secret")}
