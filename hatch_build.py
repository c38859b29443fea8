"""The core compiled by mypyc, from the same `.py` files that run uncompiled.

    SEALGATE_COMPILE=1 pip wheel .      a wheel with the compiled core (needs a C compiler)
    pip wheel .                         the plain wheel: pure Python, for every platform
    python hatch_build.py               build/compiled, for PYTHONPATH: what `make compile` does

`compiled` in pyproject.toml lists the files. A build that was asked to compile and can not is an error; it
never makes a plain wheel instead.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).resolve().parent
SOURCES: Final = ROOT / "proxy"
PACKAGE: Final = "sealgate"
SWITCH: Final = "SEALGATE_COMPILE"
#: gcc's -O: 3 is what is shipped; 1 compiles in half the time, for a quick trial.
OPT_LEVEL: Final = os.environ.get("SEALGATE_COMPILE_OPT", "3")
#: The tree for PYTHONPATH: the package's own files as links, and the compiled core beside them.
TREE: Final = ROOT / "build" / "compiled"
WORK: Final = ROOT / "build" / "mypyc"
STAMP: Final = ".built-from"


def asked_to_compile() -> bool:
    """Whether the environment asks for the compiled core. Raises `ValueError` when it says neither."""
    value = os.environ.get(SWITCH, "0")
    if value not in ("0", "1", ""):
        raise ValueError(f"{SWITCH} is 1 or 0, not {value!r}")
    return value == "1"


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel when the environment asks for it."""

    def dependencies(self) -> list[str]:
        """What a build needs beside hatchling: nothing for the plain wheel."""
        return list(self.config["compilers"]) if asked_to_compile() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and let the wheel carry the result under a tag for this Python and platform."""
        if not asked_to_compile():
            return
        if version == "editable":
            raise RuntimeError(f"An editable install is plain: build without {SWITCH}, then `make compile`.")
        built = compile_core(core_files(self.config), WORK)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {str(path): str(path.relative_to(WORK / "lib")) for path in built}


def core_files(config: dict[str, Any]) -> list[Path]:
    """The files to compile: of every entry of `compiled` its modules, in the order of their names.

    `__init__.py` files hold a docstring and names handed on: nothing that would run faster.
    """
    package = SOURCES / PACKAGE
    found: list[Path] = []
    for entry in config["compiled"]:
        path = package / entry
        found += sorted(path.glob("*.py")) if path.is_dir() else [path]
    left_out = {package / name for name in config["plain"]}
    missing = [str(path) for path in [*found, *left_out] if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"pyproject.toml names what is not there: {', '.join(missing)}")
    return [path for path in found if path not in left_out and path.name != "__init__.py"]


def compile_core(files: list[Path], work: Path) -> list[Path]:
    """Compile `files` into `work`/lib. Returns every file made; raises, or exits, when one is missing."""
    from mypyc.build import mypycify  # mypyc wants setuptools patched before anything else imports it
    from setuptools import Distribution

    library = work / "lib"
    shutil.rmtree(library, ignore_errors=True)
    library.mkdir(parents=True)
    # Types are checked by `make check`; a build must not depend on what else is installed here.
    flags = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={work / 'cache'}"]
    there = Path.cwd()
    os.chdir(SOURCES)  # module names are told from paths
    try:
        extensions = mypycify(
            [*flags, *(str(path.relative_to(SOURCES)) for path in files)],
            opt_level=OPT_LEVEL,
            debug_level="0",
            group_name=PACKAGE,
            target_dir=str(work / "c"),
        )
        command = Distribution({"name": PACKAGE, "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(library), str(work / "objects")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(there)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    wanted = {library / path.relative_to(SOURCES).with_suffix(suffix) for path in files}
    wanted.add(library / f"{PACKAGE}__mypyc{suffix}")
    built = sorted(path for path in library.rglob("*") if path.is_file())
    if set(built) != wanted:
        raise RuntimeError(f"not what was to be compiled: {sorted(map(str, wanted ^ set(built)))}")
    return built


def fingerprint(files: list[Path]) -> str:
    """Of everything the compiled core depends on: the files, the way they are built, the tools."""
    from mypy.version import __version__ as mypy_version

    digest = hashlib.sha256(f"{OPT_LEVEL} {sys.version} {mypy_version}".encode())
    for path in [Path(__file__), *files]:
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def make_tree(files: list[Path], tree: Path) -> None:
    """Bring `tree` up to date: compile what changed, and link every file of the package into it."""
    stamp, built_from = tree / STAMP, fingerprint(files)
    if not stamp.is_file() or stamp.read_text() != built_from:
        built = compile_core(files, WORK)
        shutil.rmtree(tree, ignore_errors=True)
        for path in built:
            target = tree / path.relative_to(WORK / "lib")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        stamp.write_text(built_from)
    _link(tree)


def _link(tree: Path) -> None:
    wanted = {tree / path.relative_to(SOURCES): path for path in _package_files()}
    for link in [path for path in tree.rglob("*") if path.is_symlink()]:
        if wanted.get(link) != link.readlink():
            link.unlink()
    for link, path in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path)


def _package_files() -> Iterator[Path]:
    for path in (SOURCES / PACKAGE).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def main() -> None:
    """Make `build/compiled`, quickly when nothing changed."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    make_tree(core_files(pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]), TREE)
    print(TREE)


if __name__ == "__main__":
    main()
