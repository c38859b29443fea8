"""The README is tried as a reader would: its files are written, its commands run, its names looked up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from pydantic import BaseModel

from sealgate.app.controlling import Controlling, ControlPlan
from sealgate.app.fleet import Fleet
from sealgate.app.supervisor import FleetCollector
from sealgate.cli import exits
from sealgate.cli.doctor.catalogue import RULES
from sealgate.config.settings import Settings
from sealgate.ops.key_metrics import KeyCollector
from sealgate.ops.keys import RingFacts
from sealgate.ops.metrics import build_registry
from sealgate.reason import Reason
from sealgate.session.records import Tally
from sealgate.stores import open_store

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md")
README = DOCUMENTS[0].read_text()
BIN = Path(sys.executable).parent
#: What looks like a key of a section and is a method of AMQP.
METHODS = {"connection.start", "channel.close"}


def console_commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [
        line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")
    ]


def write_files(folder: Path) -> list[str]:
    """Every TOML block under the name its first line gives."""
    names = []
    for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL):
        match = re.match(r"# (\S+\.toml)\n", block)
        assert match, f"a block without a name: {block[:40]!r}"
        names.append(match[1])
        path = folder / match[1]
        path.touch(mode=0o600)
        path.write_text(block)
    return names


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_readme_shows_its_two_command_start() -> None:
    assert console_commands()[:2] == ["make demo", "make test"]


def test_its_commands_run_in_order_on_its_own_files(tmp_path: Path) -> None:
    write_files(tmp_path)
    commands = [command for command in console_commands() if not command.startswith("make ")]
    assert len(commands) >= 3
    done = shell("\n".join(commands), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


def test_every_configuration_it_shows_is_one(tmp_path: Path) -> None:
    configurations = [name for name in write_files(tmp_path) if name not in ("keys.toml", "users.toml")]
    secrets = [
        "export SEALGATE_WEB1=$(sealgate keys generate 2>/dev/null)",
        "export SEALGATE_BROKER_PASSWORD=$(openssl rand -base64 24)",
        "export SEALGATE_QUARANTINE_URL=amqps://keeper:$(openssl rand -hex 24)@rabbitmq.internal",
        "hash=$(openssl rand -base64 24 | sealgate users hash)",
        'sed -i.bak "s|\\$scrypt.*\\.\\.\\.|$hash|" users.toml',
        "sealgate users check users.toml",
    ]
    checks = [f"sealgate check-config {name}" for name in configurations]
    done = shell("\n".join([*secrets, *checks]), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z]+)\b", README))))
def test_every_make_target_it_names_exists(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"(?:^    |`)sealgate ([a-z-]+)", README, re.MULTILINE)))
)
def test_every_subcommand_it_names_exists(command: str, tmp_path: Path) -> None:
    done = shell(f"sealgate {command} --help", tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_metric_the_documents_name_is_served() -> None:
    store = open_store("memory", deployment="prod", max_age_s=300, clock_skew_s=30)
    served = {metric.name for metric in build_registry(Tally(), store, {}).collect()}
    served |= {metric.name for metric in FleetCollector(Fleet(2, [], lambda _: b"", 1.0)).collect()}
    served |= {metric.name for metric in KeyCollector(lambda: RingFacts("", ())).collect()}
    plan = ControlPlan(None, "memory", "prod", [], None)
    served |= {metric.name for metric in Controlling(plan, lambda _: None).collector().collect()}
    served |= {metric.name for metric in KeyCollector(lambda: RingFacts("", ())).collect()}
    known = served | {f"{name}_total" for name in served}
    named = {name for path in DOCUMENTS for name in re.findall(r"`(sealgate_[a-z_]+)[`{]", path.read_text())}
    assert named, "the pattern finds no metric"
    assert named <= known


def test_every_reason_and_key_the_documents_name_exists() -> None:
    reasons = {reason.value for reason in Reason}
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    keys = {
        f"{name}.{key}"
        for name, section in sections.items()
        if isinstance(section, type) and issubclass(section, BaseModel)
        for key in section.model_fields
    }
    firsts = "|".join(sorted({name.partition(".")[0] for name in reasons | keys}))
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(rf"`((?:{firsts})\.(?!toml|c`|py`)[a-z_0-9]+)[` ]", path.read_text())
    }
    assert "sig.missing" in named
    assert "replay.clock_skew" in named
    tasks = Celery("documented", set_as_current=False).tasks
    rules = {rule.id for rule in RULES}
    modules = {f"{path.parent.name}.{path.stem}" for path in (ROOT / "proxy" / "sealgate").glob("*/*.py")}
    assert named - reasons - keys - rules - modules <= METHODS | tasks.keys()


def test_its_exit_codes_are_the_programs() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert told == {
        exits.EXIT_OK,
        exits.EXIT_FAILED,
        exits.EXIT_USAGE,
        exits.EXIT_UNAVAILABLE,
        exits.EXIT_BUG,
        exits.EXIT_PERMISSION,
        exits.EXIT_CONFIG,
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
