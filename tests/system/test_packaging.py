"""What is shipped: the wheel's contents, and an image file that keeps its promises (no engine needed)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import mypyc
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hatch_build import COLD
from sealgate.variant import core_variant
from support.compiled import TREE, project_config
from support.gateway import key, new_secret, toml
from support.processes import end, free_port, spawn, wait_until

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


COMPILED = core_variant() == "compiled"


def build(folder: Path, compile_: str) -> subprocess.CompletedProcess[str]:
    """As pip does it, with what is installed here. What `make compiled` has compiled is not made again."""
    code = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    return subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=ROOT,
        env={**os.environ, "SEALGATE_COMPILE": compile_},
        timeout=600,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that carries the variant under test: the native one or the plain one."""
    folder = tmp_path_factory.mktemp("wheel")
    done = build(folder, "1" if COMPILED else "0")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def runtime_distributions() -> set[str]:
    """What `pip install sealgate` would bring, without extras, by the metadata of what is installed here."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in PROJECT["dependencies"]]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(text) for text in distribution(name).requires or []]
    return found


@pytest.fixture(scope="module")
def clean_python(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel and what it asks for, and nothing of what the tests need; no network."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    wheel.extractall(site)
    for name in runtime_distributions():
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            (site / top).symlink_to(Path(str(installed.locate_file(top))))
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile as stages of (instruction, argument)."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for line in lines:
        word, _, argument = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, argument.strip()))
    return found


def argument(stage: list[tuple[str, str]], word: str) -> str:
    (found,) = [text for instruction, text in stage if instruction == word]
    return found


def test_wheel_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    library = {f"sealgate__mypyc{sysconfig.get_config_var('EXT_SUFFIX')}"} if COMPILED else set()
    assert {name.split("/")[0] for name in wheel.namelist()} == library | {
        "sealgate",
        f"sealgate-{PROJECT['version']}.dist-info",
    }


def test_wheel_is_for_every_platform_or_says_for_which(wheel: zipfile.ZipFile) -> None:
    told = wheel.read(f"sealgate-{PROJECT['version']}.dist-info/WHEEL").decode()
    if COMPILED:
        version = f"cp{sys.version_info.major}{sys.version_info.minor}"
        assert f"Tag: {version}-{version}-" in told
        assert "Root-Is-Purelib: false" in told
    else:
        assert "Tag: py3-none-any" in told
        assert not [name for name in wheel.namelist() if name.endswith((".so", ".pyd"))]


def test_neither_wheel_needs_a_compiler_where_it_is_installed(wheel: zipfile.ZipFile) -> None:
    told = wheel.read(f"sealgate-{PROJECT['version']}.dist-info/METADATA").decode()
    needed = {Requirement(text) for text in re.findall(r"^Requires-Dist: (.*)$", told, re.MULTILINE)}
    always = {wanted.name for wanted in needed if wanted.marker is None or "extra" not in str(wanted.marker)}
    assert always == {Requirement(text).name for text in PROJECT["dependencies"]}
    assert not always & {"mypy", "mypy-extensions", "librt", "setuptools"}


def test_build_asked_to_compile_that_can_not_makes_no_wheel(tmp_path: Path) -> None:
    """No compiler, a wrong type, a switch that says neither, an editable install: never the plain wheel."""
    sources = tmp_path / "sources"
    shutil.copytree(ROOT, sources, ignore=_all_but_sources)
    project = sources / "pyproject.toml"
    # One file is enough to fail on.
    project.write_text(re.sub(r"(?ms)^compiled = \[.*?\]", 'compiled = ["reason.py"]', project.read_text()))
    folder = tmp_path / "wheels"
    folder.mkdir()
    code = "from hatchling import build; import sys; getattr(build, sys.argv[1])(sys.argv[2])"

    def refused(switch: str, how: str = "build_wheel") -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, how, folder],
            cwd=sources,
            env={**os.environ, "SEALGATE_COMPILE": switch, "CC": str(tmp_path / "no-compiler")},
            timeout=300,
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        assert list(folder.iterdir()) == []
        return done.stderr

    assert "SEALGATE_COMPILE is 1 or 0" in refused("yes")
    assert "An editable install is plain" in refused("1", "build_editable")
    assert "no-compiler" in refused("1")
    (sources / "proxy/sealgate/reason.py").write_text("NAME: int = 'text'\n")
    refused("1")


def _all_but_sources(folder: str, names: list[str]) -> set[str]:
    wanted = {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "proxy"}
    # Other processes write bytecode meanwhile.
    return {name for name in names if name == "__pycache__" or (Path(folder) == ROOT and name not in wanted)}


def test_compilers_are_those_that_were_tested() -> None:
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert set(project_config()["compilers"]) <= set(pinned)


def test_wheel_carries_every_file_the_package_reads(wheel: zipfile.ZipFile) -> None:
    package = ROOT / "proxy"
    wanted = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert wanted <= set(wheel.namelist())
    assert "sealgate/py.typed" in wanted


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    scripts = wheel.read(f"sealgate-{PROJECT['version']}.dist-info/entry_points.txt").decode()
    assert "sealgate = sealgate.cli:main" in scripts


@pytest.mark.system
def test_the_gateway_runs_on_its_runtime_dependencies_alone(clean_python: Path, tmp_path: Path) -> None:
    """As the image runs it: in the folder of the configuration, its health asked by the command there."""
    missing = subprocess.run([clean_python, "-c", "import celery"], capture_output=True, timeout=30)
    assert missing.returncode != 0, "this Python has more than the wheel asks for"
    sealgate = (clean_python, "-m", "sealgate")
    address = f"127.0.0.1:{free_port()}"
    tables = {
        "listen": {"address": address},
        "upstream": {"urls": [f"amqp://127.0.0.1:{free_port()}"]},
        "keys": {"source": "file:keys.toml"},
        "admin": {"address": f"127.0.0.1:{free_port()}"},
    }
    (tmp_path / "sealgate.toml").write_text(toml(tables))
    (tmp_path / "keys.toml").touch(mode=0o600)
    (tmp_path / "keys.toml").write_text(toml({"key": [key("k1", new_secret())]}))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*sealgate, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    told = run("version")
    assert told.stdout.startswith(f"sealgate {PROJECT['version']} ({core_variant()} core, "), told.stderr
    for absent in ("mypy", "librt", "setuptools"):
        assert subprocess.run([clean_python, "-c", f"import {absent}"], capture_output=True).returncode != 0
    checked = run("check-config", "sealgate.toml")
    assert (checked.returncode, checked.stdout) == (0, "sealgate.toml: ok\n"), checked.stderr
    assert run("healthcheck", "--config", "sealgate.toml").returncode == 1
    code = f"import os, sys; os.chdir({str(tmp_path)!r}); os.execv(sys.argv[1], sys.argv[1:])"
    process = spawn(
        [sys.executable, "-c", code, *sealgate, "run", "--config", "sealgate.toml"], tmp_path / "gateway.log"
    )
    try:
        wait_until(lambda: run("healthcheck", "--config", "sealgate.toml").returncode == 0, 30, "health")
    finally:
        ended = end(process, signal.SIGTERM)
    assert ended == 0, (tmp_path / "gateway.log").read_text()


@pytest.mark.system
def test_what_needs_an_extra_says_which(clean_python: Path) -> None:
    shown = subprocess.run(
        [clean_python, "-m", "sealgate", "demo"], capture_output=True, text=True, timeout=30
    )
    assert shown.returncode == 69
    assert "pip install 'sealgate[demo]'" in shown.stderr


def test_version_is_told_once() -> None:
    source = (ROOT / "proxy/sealgate/__init__.py").read_text()
    assert f'__version__: Final = "{PROJECT["version"]}"' in source
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_image_is_built_in_one_stage_and_shipped_from_another(stages: list[list[tuple[str, str]]]) -> None:
    build, final = stages
    assert argument(build, "FROM") == "python:3.11-slim AS build"
    assert argument(final, "FROM") == "python:3.11-slim"
    assert argument(final, "COPY") == "--from=build /opt/sealgate /opt/sealgate"
    assert "RUN" not in dict(final), "nothing is installed in the image that ships"


def test_image_runs_as_nobody_and_checks_its_own_health(stages: list[list[tuple[str, str]]]) -> None:
    final = stages[-1]
    assert argument(final, "USER") == "65532:65532"
    assert argument(final, "WORKDIR") == "/etc/sealgate", "where the configuration is read from"
    assert argument(final, "EXPOSE") == "6672 9672"
    assert json.loads(argument(final, "HEALTHCHECK").partition(" CMD ")[2])[:2] == ["sealgate", "healthcheck"]
    assert json.loads(argument(final, "ENTRYPOINT")) == ["sealgate"]
    assert json.loads(argument(final, "CMD"))[0] == "run"


def test_commands_of_the_image_exist() -> None:
    for command in ("healthcheck", "run"):
        sealgate = Path(sys.executable).with_name("sealgate")
        shown = subprocess.run([sealgate, command, "--help"], capture_output=True, text=True, timeout=30)
        assert shown.returncode == 0, shown.stderr


def test_cold_functions_are_as_the_compiler_declares_them() -> None:
    """Told of a function that is not there, the C compiler would say nothing."""
    declared = (Path(mypyc.__file__).parent / "lib-rt" / "CPy.h").read_text()
    names = re.findall(r"(CPy\w+)\(", COLD)
    assert len(names) == COLD.count("__attribute__((cold))") > 0
    for name in names:
        assert re.search(rf"^void {name}\(", declared, re.MULTILINE), name


@pytest.mark.skipif(not COMPILED, reason="this is a test of VARIANT=compiled")
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("nm"), reason="asks GNU's nm")
def test_what_leads_to_cold_functions_lies_apart_from_what_runs() -> None:
    """gcc gives such parts of a function a name that ends with this: 130 were there without `COLD`."""
    (library,) = TREE.glob("sealgate__mypyc.*.so")
    named = subprocess.run(["nm", library], capture_output=True, text=True, timeout=60, check=True).stdout
    assert len(re.findall(r"\.cold$", named, re.MULTILINE)) > 2000


def test_image_carries_the_compiled_core(stages: list[list[tuple[str, str]]]) -> None:
    steps = " ".join(text for word, text in stages[0] if word == "RUN")
    assert "SEALGATE_COMPILE=1 pip wheel" in steps
    assert steps.endswith("/opt/sealgate/bin/sealgate version | grep -F '(compiled core, '")


def test_image_reads_every_secret_store(stages: list[list[tuple[str, str]]]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (run,) = [argument for name, argument in stages[0] if name == "RUN" and "pip wheel" in argument]
    assert re.findall(r"\[([a-z,]+)\]", run) == ["vault,aws"]
    assert {"vault", "aws"} <= extras.keys()


def test_image_names_no_host() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert not re.search(r"https?://|--index-url|--trusted-host", text)


def test_build_context_holds_what_the_image_copies(stages: list[list[tuple[str, str]]]) -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for word, names in stages[0] if word == "COPY" for name in names.split()[:-1]}
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
