"""Presets: each is whole with a broker and keys, says what its snapshot says, and anything goes over it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from sealgate.config.checking import check
from sealgate.config.loading import Loaded, load
from sealgate.config.paths import leaves
from sealgate.config.presets import PRESETS
from sealgate.config.printing import print_settings
from sealgate.config.settings import Preset
from sealgate.signing.material import generate_hmac
from support.config_files import RANDOM, SECRET, write

SNAPSHOTS = Path(__file__).with_name("presets")
URL = {"upstream.urls": ("--upstream", ["amqp://user@127.0.0.1:5672"])}
SECRETS = [SECRET, generate_hmac(RANDOM[::-1])]
ENVIRON = {"SEALGATE_KEYS": f"producer={SECRETS[0]},worker={SECRETS[1]}"}


def loaded_with(name: str, file: Path | None = None, **environ: str) -> Loaded:
    return load(file, {**URL, "preset": ("--preset", name)}, environ={**ENVIRON, **environ})


def said_by_the_preset(loaded: Loaded) -> list[str]:
    """The lines of `print-config --origin` that are the preset's, under the full name of their key."""
    section, lines = "", []
    for line in print_settings(loaded, origin=True):
        if line.startswith("["):
            section = line.strip("[]")
        elif "  # preset " in line:
            lines.append(f"{section}.{line}")
    return lines


def test_every_preset_of_the_contract_is_there() -> None:
    assert set(PRESETS) == set(get_args(Preset))


def test_presets_set_only_keys_there_are() -> None:
    sections = [item for tables in PRESETS.values() for item in tables.items()]
    assert {(section, key) for section, table in sections for key in table} <= set(leaves())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_is_whole_with_a_broker_and_keys(name: str) -> None:
    loaded = loaded_with(name)
    check(loaded, ENVIRON)
    assert [str(problem) for problem in loaded.problems] == []
    expected = ["preset celery-worker: quarantine.enabled"] if name == "celery-worker" else []
    assert [str(warning).partition(": is off")[0] for warning in loaded.warnings] == expected
    assert loaded.require().preset == name


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_says_what_its_snapshot_says(name: str) -> None:
    assert said_by_the_preset(loaded_with(name)) == (SNAPSHOTS / f"{name}.txt").read_text().splitlines()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_that_is_printed_gives_the_same_settings(name: str, tmp_path: Path) -> None:
    loaded = loaded_with(name)
    printed = write(tmp_path / "printed.toml", "\n".join(print_settings(loaded, redact=False)))
    assert load(printed, environ=ENVIRON).require() == loaded.settings


def test_file_environment_and_command_line_go_over_the_preset_in_this_order(tmp_path: Path) -> None:
    file = write(tmp_path / "sealgate.toml", '[content]\ntypes = ["application/x-msgpack"]\n')
    text = "content.types=application/json;v=1"
    named = {"SEALGATE__CONTENT__TYPES": "application/msgpack"}
    plain = loaded_with("celery-gateway")
    filed = loaded_with("celery-gateway", file)
    environed = loaded_with("celery-gateway", file, **named)
    options = {**URL, "preset": ("--preset", "celery-gateway")}
    optioned = load(file, options, [text], {**ENVIRON, **named})
    layers = (plain, filed, environed, optioned)
    assert [layer.require().content.types for layer in layers] == [
        ("application/json",),
        ("application/x-msgpack",),
        ("application/msgpack",),
        ("application/json;v=1",),
    ]
    assert [layer.layer.origin(("content", "types")) for layer in layers] == [
        "preset celery-gateway",
        str(file),
        "SEALGATE__CONTENT__TYPES",
        "--set content.types",
    ]


def test_every_key_of_a_preset_can_be_set_otherwise(tmp_path: Path) -> None:
    defaults = tomllib.loads("\n".join(print_settings(load(None, URL, environ={}))))
    for name, tables in PRESETS.items():
        for section, table in tables.items():
            for key in table:
                if key in defaults[section]:
                    options = {
                        **URL,
                        "preset": ("--preset", name),
                        f"{section}.{key}": ("--other", defaults[section][key]),
                    }
                    loaded = load(None, options, environ=ENVIRON)
                    assert loaded.layer.origin((section, key)) == "--other"
                    assert loaded.is_good((section, key))


def test_quarantine_of_a_sidecar_is_on_once_it_has_a_place() -> None:
    assert not loaded_with("celery-worker").require().quarantine.enabled
    kept = loaded_with("celery-worker", SEALGATE__QUARANTINE__URL="amqp://q@127.0.0.1")
    assert kept.require().quarantine.enabled
    assert kept.warnings == []
    off = load(
        None,
        {**URL, "preset": ("--preset", "celery-worker"), "quarantine.enabled": ("--set", False)},
        environ={**ENVIRON, "SEALGATE__QUARANTINE__URL": "amqp://q@127.0.0.1"},
    )
    assert not off.require().quarantine.enabled


@pytest.mark.parametrize("where", ["file", "environment", "option"])
def test_preset_is_one_line_anywhere(where: str, tmp_path: Path) -> None:
    file = write(tmp_path / "sealgate.toml", 'preset = "taskiq"\n' if where == "file" else "")
    environ = {"SEALGATE__PRESET": "taskiq"} if where == "environment" else {}
    options = {**URL, **({"preset": ("--preset", "taskiq")} if where == "option" else {})}
    assert load(file, options, environ=environ).require().content.profile == "taskiq"


def test_preset_of_the_command_line_replaces_the_files_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "sealgate.toml", 'preset = "celery-worker"\n')
    settings = loaded_with("celery-gateway", file).require()
    assert (settings.publish.action, settings.publish.sign_with) == ("verify", None)


def test_unknown_preset_is_told_with_those_there_are() -> None:
    (problem,) = loaded_with("celery").problems
    assert str(problem).startswith("--preset: must be 'celery-gateway', 'celery-producer'")


def test_key_that_a_preset_names_and_nobody_has_is_told_with_its_place() -> None:
    environ = {"SEALGATE_KEYS": f"k1={SECRET}"}
    loaded = load(None, {**URL, "preset": ("--preset", "celery-worker")}, environ=environ)
    check(loaded, environ)
    (problem,) = loaded.problems
    assert str(problem).startswith('preset celery-worker: publish.sign_with: "worker" can not sign')
