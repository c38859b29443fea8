from __future__ import annotations

from pathlib import Path

import pytest

from sealgate.config.errors import ConfigError
from sealgate.config.loading import load
from sealgate.config.paths import env_name, leaves
from support.config_files import GOOD, write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "sealgate.toml", GOOD + 'deployment = "file"\n')


ENVIRON = {"SEALGATE__DEPLOYMENT": "environment"}
OPTION: dict[str, tuple[str, object]] = {"deployment": ("--deployment", "option")}


def test_command_line_over_environment_over_file_over_default(file: Path) -> None:
    assert load(None, environ={}).settings.deployment == "prod"
    assert load(file, environ={}).settings.deployment == "file"
    assert load(file, environ=ENVIRON).settings.deployment == "environment"
    assert load(file, OPTION, environ=ENVIRON).settings.deployment == "option"
    assert load(file, {}, ["deployment=set"], environ=ENVIRON).settings.deployment == "set"
    assert load(file, OPTION, ["deployment=set"], environ=ENVIRON).settings.deployment == "option"


def test_option_that_was_not_given_covers_nothing(file: Path) -> None:
    assert load(file, {"deployment": ("--deployment", None)}, environ={}).settings.deployment == "file"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SEALGATE__DEPLOYMENT", "7", "7"),
        ("SEALGATE__REPLAY__MAX_AGE", "2m", 120.0),
        ("SEALGATE__CELERY__PROTOCOL_1", "true", True),
        ("SEALGATE__LIMITS__CHANNEL_MAX", "100", 100),
        ("SEALGATE__LIMITS__MESSAGE_S", "2.5", 2.5),
        ("SEALGATE__LISTEN__ADDRESS", "[::1]:7", ("::1", 7)),
        ("SEALGATE__QUARANTINE__URL", "amqp://q", "amqp://q"),
        ("SEALGATE__UPSTREAM__URLS", "amqp://a,amqp://b", ("amqp://a", "amqp://b")),
        ("SEALGATE__UPSTREAM__URLS", '["amqp://a"]', ("amqp://a",)),
        ("SEALGATE__CONTENT__COMPRESSION", "", ()),
        ("SEALGATE__RATE", '{ "a.b" = "5/m", "*" = "1/s" }', {"a.b": "5/m", "*": "1/s"}),
        ("sealgate__log__level", "debug", "debug"),
    ],
)
def test_environment_sets_values_of_every_kind(name: str, text: str, value: object) -> None:
    loaded = load(None, environ={"SEALGATE__UPSTREAM__URLS": "amqp://h", name: text})
    found: object = loaded.require()
    for part in name.lower().split("__")[1:]:
        found = getattr(found, part)
    assert found == value


def test_every_setting_has_a_name_in_the_environment() -> None:
    loaded = load(None, environ={env_name(path): "\x00" for path in leaves()})
    assert not [problem for problem in loaded.problems if "not known" in problem.message]


def test_text_of_an_environment_variable_can_not_smuggle_in_other_keys() -> None:
    loaded = load(None, environ={"SEALGATE__LIMITS__CHANNEL_MAX": '5\n[publish]\naction = "pass"'})
    assert loaded.settings.publish.action == "verify"
    assert "SEALGATE__LIMITS__CHANNEL_MAX" in [problem.where for problem in loaded.problems]


def test_other_variables_of_ours_are_no_settings() -> None:
    environ = {"SEALGATE_KEYS": "x", "SEALGATE_K1": "y", "SEALGATE__UPSTREAM__URLS": "amqp://h"}
    assert load(None, environ=environ).problems == []


def test_layers_add_up_inside_a_section_and_lists_are_replaced(file: Path) -> None:
    write(file, '[upstream]\nurls = ["amqp://a", "amqp://b"]\n[rate]\n"*" = "9/s"\n[drain]\ndelay = "1s"\n')
    environ = {
        "SEALGATE__UPSTREAM__URLS": "amqp://c",
        "SEALGATE__RATE": '{ a = "1/s" }',
        "SEALGATE__DRAIN__TIMEOUT": "9s",
    }
    settings = load(file, environ=environ).require()
    assert settings.upstream.urls == ("amqp://c",)
    assert settings.rate == {"*": "9/s", "a": "1/s"}
    assert (settings.drain.delay, settings.drain.timeout) == (1.0, 9.0)


def test_variable_that_mends_what_is_wrong_in_the_file_is_enough(file: Path) -> None:
    write(file, GOOD + 'replay = "memory"\n[log]\nlevel = "loud"\n')
    environ = {"SEALGATE__LOG__LEVEL": "info", "SEALGATE__REPLAY__MAX_AGE": "1m"}
    assert load(file, environ=environ).require().replay.max_age == 60.0


def test_reference_gives_the_value_and_is_remembered(tmp_path: Path) -> None:
    secret = write(tmp_path / "url", "amqps://u:p@b\n")
    environ = {"URL": "amqp://u:p@a", "SEALGATE__UPSTREAM__URLS": f"env:URL,file:{secret},amqp://127.0.0.1"}
    loaded = load(None, environ=environ)
    assert loaded.require().upstream.urls == ("amqp://u:p@a", "amqps://u:p@b", "amqp://127.0.0.1")
    assert list(loaded.references.values()) == ["env:URL", f"file:{secret}"]


def test_settings_with_problems_are_not_given_out(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, {}, ["log.level=loud"], environ={}).require()
    assert str(caught.value).startswith("--set log.level: must be")
