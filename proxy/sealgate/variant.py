"""Which core runs: the one compiled by mypyc, or the same files interpreted."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES

from sealgate import reason


def core_variant() -> str:
    """ "compiled" or "plain". All modules of the core are built together, so one speaks for all."""
    return "compiled" if str(reason.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else "plain"
