"""`make compile`: a tree and a Python of their own for the compiled core, beside the plain ones.

    build/compiled         the package's files as links, the compiled core beside them; for PYTHONPATH
    build/compiled-venv    a Python that imports it, with all that `.venv` has

Every process a test starts by `sys.executable` has the variant of the test, whatever its environment.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import venv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from hatch_build import PACKAGE, SOURCES, WORK, built_core, core_files, fingerprint, project_config  # noqa: E402

TREE: Final = ROOT / "build" / "compiled"
HOME: Final = ROOT / "build" / "compiled-venv"
STAMP: Final = ".fingerprint"


@cache
def listed_modules() -> frozenset[str]:
    """The names of the modules that pyproject.toml has compiled."""
    files = core_files(project_config())
    return frozenset(".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in files)


def is_current() -> bool:
    """Whether the tree is compiled from the files as they are now."""
    stamp = TREE / STAMP
    return stamp.is_file() and stamp.read_text() == fingerprint(core_files(project_config()))


def make_tree() -> None:
    """Bring the tree up to date: what changed is compiled anew, every file of the package is linked."""
    if not is_current():
        files = core_files(project_config())
        built = built_core(files)
        shutil.rmtree(TREE, ignore_errors=True)
        for path in built:
            target = TREE / path.relative_to(WORK / "lib")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        (TREE / STAMP).write_text(fingerprint(files))
    wanted = {TREE / path.relative_to(SOURCES): path for path in _package_files()}
    for link in [path for path in TREE.rglob("*") if path.is_symlink()]:
        if link not in wanted:
            link.unlink()
    for link, path in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path)


def _package_files() -> Iterator[Path]:
    for path in (SOURCES / PACKAGE).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def make_home() -> None:
    """A virtual environment over the one that runs this, whose `sealgate` is the tree."""
    shutil.rmtree(HOME, ignore_errors=True)
    venv.create(HOME, symlinks=True)
    (site,) = HOME.glob("lib/python*/site-packages")
    # A folder named in a .pth file has its own .pth files left unread: the plain package is not seen.
    (site / "compiled.pth").write_text(f"{TREE}\n{sysconfig.get_path('purelib')}\n")
    shebang = f"#!{sys.executable}\n".encode()
    for script in Path(sys.executable).parent.iterdir():
        if script.is_file() and (text := script.read_bytes()).startswith(shebang):
            copy = HOME / "bin" / script.name
            copy.write_bytes(text.replace(shebang, f"#!{HOME / 'bin' / 'python'}\n".encode(), 1))
            copy.chmod(0o755)


if __name__ == "__main__":
    make_tree()
    make_home()
