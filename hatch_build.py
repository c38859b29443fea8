"""The core compiled by mypyc, from the same `.py` files that run uncompiled.

    SEALGATE_COMPILE=1 pip wheel .      the native wheel, with the compiled core (needs a C compiler)
    pip wheel .                         the plain wheel: pure Python, for every platform

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
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).resolve().parent
SOURCES: Final = ROOT / "proxy"
PACKAGE: Final = "sealgate"
SWITCH: Final = "SEALGATE_COMPILE"
#: gcc's -O: 2 is what is shipped; 1 compiles in half the time, for a quick trial. 3 makes larger code, which
#: is no faster when messages come all the time, and slower when they come one by one.
OPT_LEVEL: Final = os.environ.get("SEALGATE_COMPILE_OPT", "2")
#: What mypyc writes: C, objects, and in lib/ what was made of them.
WORK: Final = ROOT / "build" / "mypyc"
#: In lib/, of what it was built.
STAMP: Final = ".fingerprint"
#: mypyc's functions that raise, each behind a test that hardly ever fails. Said to be cold they are put, with
#: what leads to them, away from the code that runs: a message that comes alone finds little of it in the
#: processor's caches, and waits for the rest (docs/decisions.md).
COLD: Final = """\
__attribute__((cold)) void CPy_AddTraceback(const char *, const char *, int, struct _object *);
__attribute__((cold)) void CPy_TypeErrorTraceback(
    const char *, const char *, int, struct _object *, const char *, struct _object *);
__attribute__((cold)) void CPy_AttributeError(
    const char *, const char *, const char *, const char *, int, struct _object *);
__attribute__((cold)) void CPy_TypeError(const char *, struct _object *);
__attribute__((cold)) void CPy_Raise(struct _object *);
__attribute__((cold)) void CPyError_OutOfMemory(void);
"""


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
        built = built_core(core_files(self.config))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {str(path): str(path.relative_to(WORK / "lib")) for path in built}


def project_config() -> dict[str, Any]:
    """This hook's table of pyproject.toml, for who is not called by hatchling."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    config: dict[str, Any] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    return config


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


def built_core(files: list[Path]) -> list[Path]:
    """The compiled modules of `files`, in `WORK`/lib, made anew unless they are of exactly these files.

    Raises, or exits, when not every one of them could be made.
    """
    library = WORK / "lib"
    stamp, built_from = library / STAMP, fingerprint(files)
    if not stamp.is_file() or stamp.read_text() != built_from:
        shutil.rmtree(library, ignore_errors=True)
        library.mkdir(parents=True)
        _compile(files, library)
        stamp.write_text(built_from)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    wanted = {library / path.relative_to(SOURCES).with_suffix(suffix) for path in files}
    wanted.add(library / f"{PACKAGE}__mypyc{suffix}")
    built = {path for path in library.rglob("*") if path.is_file() and path != stamp}
    if built != wanted:
        stamp.unlink()
        raise RuntimeError(f"not what was to be compiled: {sorted(map(str, wanted ^ built))}")
    return sorted(built)


def fingerprint(files: list[Path]) -> str:
    """Of everything the compiled core depends on: the files, the way they are compiled, the tools."""
    from mypy.version import __version__ as mypy_version

    flags = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "ARCHFLAGS", "MACOSX_DEPLOYMENT_TARGET")]
    digest = hashlib.sha256(
        repr((OPT_LEVEL, sys.version, sysconfig.get_platform(), mypy_version, flags)).encode()
    )
    for path in [Path(__file__), *files]:
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _compile(files: list[Path], library: Path) -> None:
    from mypyc.build import mypycify  # it changes setuptools, and so comes first
    from setuptools import Distribution

    # Types are checked by `make check`; a build must not depend on what else is installed here.
    flags = ["--config-file=", "--ignore-missing-imports", f"--cache-dir={WORK / 'cache'}"]
    there = Path.cwd()
    os.chdir(SOURCES)  # mypy tells the names of modules from their paths
    try:
        extensions = mypycify(
            [*flags, *(str(path.relative_to(SOURCES)) for path in files)],
            opt_level=OPT_LEVEL,
            debug_level="0",
            group_name=PACKAGE,
            target_dir=str(WORK / "c"),
        )
        _lay_out(extensions)
        command = Distribution({"name": PACKAGE, "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(library), str(WORK / "objects")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(there)


def _lay_out(extensions: list[Any]) -> None:
    """Have what runs lie close together, and call itself without a detour."""
    if os.name != "posix":
        return
    header = WORK / "c" / "cold.h"
    header.write_text(f"struct _object;\n{COLD}")
    for extension in extensions:
        extension.extra_compile_args += ["-include", str(header), "-fno-semantic-interposition"]
        if sys.platform == "linux":
            extension.extra_link_args += ["-Wl,-Bsymbolic-functions"]
