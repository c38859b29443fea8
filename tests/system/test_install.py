"""How a fresh machine is set up: the script that installs servers, on stand-ins, and the Makefile's venv."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
POLICY = "policy=/usr/sbin/policy-rc.d"

APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$HOME/calls"
[ -x "$HOME/policy-rc.d" ] && "$HOME/policy-rc.d"
echo "starts: $?" >>"$HOME/calls"
case "$*" in
    *install*redis-server*) cp "$HOME/bin/true" "$HOME/bin/redis-server" ;;
esac
exit 0
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$HOME/calls"
exit 1
"""


class Machine:
    """A folder that stands for a Debian machine: its programs, and what was asked of them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.policy = home / "policy-rc.d"
        self.bin = home / "bin"
        self.bin.mkdir(parents=True)
        for name in ("sh", "env", "cat", "tee", "chmod", "rm", "cp", "true", "mkdir", "touch", "sed"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.program("apt-get", APT_GET)
        self.program("systemctl", SYSTEMCTL)
        self.program("id", "#!/bin/sh\necho 0\n")
        text = (ROOT / "tests/support/install.sh").read_text()
        assert POLICY in text
        text = text.replace(POLICY, f"policy={self.policy}").replace('PATH="$PATH:', 'UNUSED="')
        self.script = home / "install.sh"
        self.script.write_text(text)

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "HOME": str(self.home)}
        return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=60)

    def install(self, *things: str) -> subprocess.CompletedProcess[str]:
        return self.run("/bin/sh", self.script, *things)

    def calls(self) -> list[str]:
        path = self.home / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def test_what_is_missing_is_installed_and_neither_started_nor_enabled(machine: Machine) -> None:
    done = machine.install("redis")
    assert done.returncode == 0, done.stderr
    update, _, install, starts, disable = machine.calls()
    assert update.endswith("update -y")
    assert install.endswith("install -y --no-install-recommends redis-server")
    assert starts == "starts: 101"
    assert disable == "systemctl --quiet disable redis-server"
    assert not machine.policy.exists()


def test_what_is_there_is_left_alone(machine: Machine) -> None:
    machine.program("redis-server", "#!/bin/sh\n")
    assert machine.install("redis").returncode == 0
    assert machine.calls() == []


def test_a_machines_own_policy_is_kept(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 104\n")
    machine.policy.chmod(0o755)
    assert machine.install("redis").returncode == 0
    assert "starts: 104" in machine.calls()
    assert machine.policy.read_text().endswith("exit 104\n")


def test_what_can_not_be_installed_is_told_with_the_command_for_it(machine: Machine) -> None:
    done = machine.install("redis", "rabbitmq")
    assert done.returncode == 3
    assert "Missing, and not to be installed from here: rabbitmq" in done.stderr
    assert "By hand: sudo apt-get install redis-server rabbitmq-server" in done.stderr
    assert not machine.policy.exists()


def test_without_the_right_to_install_nothing_is_tried(machine: Machine) -> None:
    machine.program("id", "#!/bin/sh\necho 1000\n")
    done = machine.install("redis")
    assert done.returncode == 3
    assert machine.calls() == []
    assert "By hand: sudo apt-get install redis-server" in done.stderr


PYTHON = """#!/bin/sh
case "$*" in
    *ensurepip*) exit 1 ;;
    *"-m venv"*) "$HOME/bin/mkdir" -p .venv/bin && "$HOME/bin/touch" .venv/bin/python; exit 1 ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.mark.parametrize("installable", [True, False])
def test_a_venv_that_failed_is_not_taken_for_one_the_next_time(machine: Machine, installable: bool) -> None:
    """Debian's Python without python3-venv leaves half a folder behind."""
    project = machine.home / "project"
    shutil.copytree(
        ROOT / "tests/support",
        project / "tests/support",
        ignore=shutil.ignore_patterns("*.py", "__pycache__"),
    )
    shutil.copy(machine.script, project / "tests/support/install.sh")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, project / name)
    machine.program("python3.11", PYTHON.format(python=sys.executable))
    # What install.sh looks at.
    machine.program("python3", "#!/bin/sh\nexit 0\n" if installable else "#!/bin/sh\nexit 1\n")
    make = shutil.which("make") or "make"
    for _ in range(2):
        done = machine.run(make, "setup", cwd=project)
        assert done.returncode != 0
        assert not (project / ".venv").exists()
        assert "No module named pip" not in done.stderr
        assert ("By hand: sudo apt-get install python3-venv" in done.stderr) == (not installable)
