"""Which core is under test. `make` says which it means to test; what was loaded must be that, all of it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import sealgate
from sealgate.variant import core_variant
from support.compiled import TREE, is_current, listed_modules, project_config

EXPECTED = os.environ.get("SEALGATE_TESTS_EXPECT", core_variant())
ROOMS = ("accounts", "session", "signing", "stores", "verify", "wire")
#: Of rooms that are plain otherwise.
SINGLE = {"sealgate.reason", "sealgate.net.leg", "sealgate.net.passage"}


def test_every_module_of_the_core_is_listed() -> None:
    found = set(SINGLE)
    for room in ROOMS:
        package = importlib.import_module(f"sealgate.{room}")
        found |= {module.name for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")}
    plain = {f"sealgate.{name.removesuffix('.py').replace('/', '.')}" for name in project_config()["plain"]}
    assert listed_modules() == found - plain
    assert plain <= found


@pytest.mark.parametrize("name", sorted(listed_modules()))
def test_module_is_of_the_variant_under_test(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(tuple(EXTENSION_SUFFIXES)) == (EXPECTED == "compiled"), file


def test_program_a_test_starts_is_of_the_variant_under_test(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("sealgate")
    for words in ([sys.executable, "-m", "sealgate"], [command]):
        told = subprocess.run(
            [*words, "version"], env={}, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert told.stdout.startswith(f"sealgate {sealgate.__version__} ({EXPECTED} core, "), told.stderr


def test_compiled_core_is_of_the_files_as_they_are() -> None:
    assert core_variant() == EXPECTED
    # An installed wheel stands for the files it was made of.
    if Path(sealgate.__file__).is_relative_to(TREE):
        assert is_current(), "a file of the core changed after it was compiled: make compile"
